"""Keys and values that networks of transformers return for a next call: a measurement has none."""

from __future__ import annotations

from torch import nn


def return_no_cache(module: nn.Module) -> None:
    """Let every network of transformers in ``module`` answer without keys and values.

    They are no part of what a loss compares, but they would count as outputs: values change with weights that a norm
    behind the attention makes scale-invariant.

    Args:
        module: a private copy, with settings of its own.
    """
    for part in module.modules():
        settings = vars(part).get("config")
        if settings is not None and getattr(settings, "use_cache", None) is True:
            settings.use_cache = False
