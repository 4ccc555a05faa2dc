"""Notices norms that do not take the statistics that are asked for, such as those of compiled code.

Norms in Python code are computed by our own code, see :mod:`norms`. What a scripted or traced part computes cannot be
changed, only seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_NORM = "batch_norm"
_RUNNING = ("_no_training", "_no_update")
"""Operators that take running statistics, whatever else they are told."""


class RunningNorms(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's class is not typed
    """While it is active, watches for norms with running statistics that use them, or that do not.

    Args:
        batch_statistics: what is asked for: the statistics of the batch, or running ones.

    Attributes:
        seen: the running means of norms that do otherwise.
    """

    def __init__(self, batch_statistics: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # nor is its constructor
        self._asked = batch_statistics
        self.seen: list[Tensor] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the operator; note a norm that does not do what is asked for."""
        del types
        name = func.overloadpacket.__name__
        if _NORM in name and "backward" not in name:
            given = dict(zip((one.name for one in func._schema.arguments), args, strict=False)) | (kwargs or {})
            mean = given.get("running_mean")
            trains = bool(given.get("training", not name.endswith(_RUNNING)))
            if isinstance(mean, Tensor) and mean.numel() and trains is not self._asked:
                self.seen.append(mean.detach().clone())
        return func(*args, **(kwargs or {}))

    def modules(self, buffers: Mapping[str, Tensor]) -> list[str]:
        """The modules that have the running means which were seen, or an empty name for one that is nobody's.

        Args:
            buffers: of the network, by name.
        """
        names = [next((name for name, own in buffers.items() if _equal(own, mean)), "") for mean in self.seen]
        return [*dict.fromkeys(name.rpartition(".")[0] for name in names)]


def _equal(buffer: Tensor, mean: Tensor) -> bool:
    return buffer.shape == mean.shape and torch.equal(buffer.to(mean), mean)
