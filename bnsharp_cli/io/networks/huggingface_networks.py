"""Networks that transformers builds from a directory's ``config.json``: offline, and only kinds on an allow-list."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bnsharp_cli.errors import UsageError
from bnsharp_cli.io.checkpoints.model_directory import refusal
from bnsharp_cli.io.checkpoints.state_dicts import NamedTensors, widest_precision
from bnsharp_cli.io.files.importing import importing_libraries
from bnsharp_cli.io.files.printable_text import one_line
from bnsharp_cli.io.networks.constructors import NothingDrawn
from bnsharp_cli.io.networks.declared_settings import ForbiddenSettingError, declared, require_derived
from bnsharp_cli.io.networks.known_networks import Head, alone, head_of
from bnsharp_cli.io.networks.outline_limits import CallLimit, OutlineLimits, TooLargeError
from bnsharp_cli.io.networks.weights_comparison import BATCH_COUNT, WeightsComparison, misfit, other_shape

_FLOAT32_ONLY = "reorder_and_upcast_attn"
"""GPT-2's other order of the same products, in float32 whatever the precision is; only half precision needs it."""


def build_network(
    directory: Path, configuration: Mapping[str, Any], weights: NamedTensors, *, outline: bool = False
) -> nn.Module:
    """The network that a configuration describes, built by transformers alone; it returns its logits.

    Args:
        directory: that it was read from, for the messages.
        configuration: from :func:`~bnsharp_cli.io.checkpoints.model_directory.read_configuration`.
        weights: for it; a configuration of a far larger network is refused before any memory is taken.
        outline: the network is built on the meta device alone.

    Raises:
        UsageError: transformers is not installed.
        CheckpointRefusedError: no network that transformers builds by itself, or not one of these weights.
    """
    head = head_of(directory, configuration)
    try:
        with importing_libraries():
            import transformers
    except ImportError as error:
        raise UsageError(
            "transformers is not installed.",
            "Install it: pip install 'bnsharp[huggingface]'.",
            argument="checkpoint",
            expected="a checkpoint of a library that is installed",
            found=f"a model directory of the kind '{configuration['model_type']}'",
        ) from error
    try:
        with importing_libraries(), alone():
            network, settings = class_and_settings(transformers, configuration, head)
            with torch.device("meta"), CallLimit(), OutlineLimits(weights.values()) as limits:
                module: nn.Module = network(copy.deepcopy(settings))
                limits.require(sum(tensor.numel() for tensor in (*module.parameters(), *module.buffers())))
            if not outline:
                with NothingDrawn():
                    module = network(settings)
    except TooLargeError as error:
        raise refusal(directory, f"its configuration is not of a network of these weights: {error}") from error
    except Exception as error:  # transformers raises whatever a configuration makes it stumble over
        raise refusal(directory, f"its configuration cannot be built: {one_line(error)}") from error
    module.register_forward_hook(_logits)
    return module


def of_transformers(module: nn.Module) -> bool:
    """Whether a network is one of transformers' own classes."""
    transformers = sys.modules.get("transformers")
    return transformers is not None and isinstance(module, transformers.PreTrainedModel)


def renamed(module: nn.Module, tensors: NamedTensors) -> bool:
    """Whether transformers gives weights other names when it loads them, so that only it can compare them."""
    return of_transformers(module) and set(tensors) != set(module.state_dict())


def under_own_names(module: nn.Module, tensors: NamedTensors, path: Path) -> NamedTensors:
    """Weights as ``module`` names them: transformers keeps the names that earlier versions of a network had in files.

    Args:
        module: any network; the weights of one that transformers does not have come back as they are.
        tensors: as the file names them.
        path: of the file, for the messages.

    Raises:
        CheckpointRefusedError: they are not the weights of ``module``.
    """
    if not renamed(module, tensors):
        return tensors
    with alone(), torch.random.fork_rng(devices=[]):
        loaded, report = type(module).from_pretrained(  # type: ignore[attr-defined]  # it is transformers'
            None,
            config=module.config,
            state_dict=dict(tensors),
            dtype=widest_precision(tensors.values()),
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    comparison = WeightsComparison(
        tuple(name for name in sorted(report["missing_keys"]) if not name.endswith(BATCH_COUNT)),
        tuple(sorted(report["unexpected_keys"])),
        tuple(sorted(other_shape(*mismatch) for mismatch in report["mismatched_keys"])),
    )
    if comparison.differences:
        raise misfit(path, comparison)
    own: dict[str, Tensor] = loaded.state_dict()
    return own


def class_and_settings(transformers: Any, configuration: Mapping[str, Any], head: Head) -> tuple[Any, Any]:
    """The class of a network, and what it is built from: those settings of a configuration that its class declares.

    The class is looked up in transformers' own tables. Its ``Auto`` classes, which can reach files, code and the
    network, are not asked. A network of texts keeps no keys and values for a next call.

    Raises:
        ForbiddenSettingError: a setting, or the name of the class, is not what a file may say.
    """
    kind = transformers.CONFIG_MAPPING[configuration["model_type"]]
    settings = kind.from_dict({**declared(kind, configuration), "attn_implementation": "eager"})
    require_derived(settings, configuration)
    known = getattr(transformers, head.table)[kind]
    classes = known if isinstance(known, tuple) else (known,)
    stated = settings.architectures or ()
    named = next((one for one in classes if one.__name__ in stated), classes[0])
    if head.takes_text:
        if named.__name__ not in stated:
            raise ForbiddenSettingError(f"architectures names no {named.__name__}, which its model_type has")
        settings.use_cache = False
        if hasattr(settings, _FLOAT32_ONLY):
            setattr(settings, _FLOAT32_ONLY, False)
    return named, settings


def _logits(_module: nn.Module, _inputs: object, outputs: Any) -> Tensor:
    logits: Tensor = outputs.logits
    return logits
