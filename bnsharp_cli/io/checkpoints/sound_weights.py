"""Weights are tensors that are dense, floating and finite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.containers.remedies import SAVE_WEIGHTS
from bnsharp_cli.io.files.printable_text import one_line

_REFUSED_KINDS = "int8, float8, complex or quantised"
_COUNTS = (torch.int64, torch.int32, torch.bool)
"""Types of the buffers beside the weights, such as how many batches a norm has seen."""

_FEWEST_BYTES = 2


def verify_state_dict(path: Path, state_dict: Mapping[str, Tensor], *, outline: bool = False) -> None:
    """Refuse tensors that are no weights: not dense, not of a plain floating type, not finite, a negative variance.

    Args:
        path: of the file, for the message.
        state_dict: parameters and buffers by name.
        outline: they are on the meta device; only their types are looked at.

    Raises:
        CheckpointRefusedError: naming the first such tensor.

    >>> verify_state_dict(Path("net.pt"), {"0.weight": torch.tensor([0.5, torch.nan])})
    Traceback (most recent call last):
    bnsharp_cli.errors.CheckpointRefusedError: net.pt: '0.weight' has 1 NaN or infinite of 2 values. Use a checkpoint \
from before training diverged.
    """
    for name, tensor in state_dict.items():
        _require_plain(path, name, tensor, outline)
        if tensor.is_floating_point() and not outline:
            _require_sound_values(path, name, tensor)


def _require_plain(path: Path, name: str, tensor: Tensor, outline: bool) -> None:
    """Refuse what is not dense, has fewer bytes than it declares, or is of a type that no weight or count has."""
    refused = partial(_refused, path, name)
    if tensor.layout != torch.strided or (tensor.is_meta and not outline) or tensor.is_quantized or tensor.is_complex():
        found = f"{tensor.layout}, {tensor.dtype}, on {tensor.device}"
        raise refused(f"is not a plain dense tensor ({_REFUSED_KINDS})", "a plain dense tensor", found)
    declared, owned = tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes()
    if declared > owned:
        raise refused("declares more values than the file holds", f"{declared} bytes", f"{owned} bytes")
    if not tensor.is_floating_point() and tensor.dtype not in _COUNTS:
        raise refused(f"is {tensor.dtype}, expected floating weights", "floating weights", tensor.dtype)
    if tensor.is_floating_point() and tensor.element_size() < _FEWEST_BYTES:
        raise refused(f"is {tensor.dtype}, expected 16 bits or more", "16 bits or more", tensor.dtype)


def _require_sound_values(path: Path, name: str, tensor: Tensor) -> None:
    """Refuse values that are not finite, and a negative variance."""
    if not _all_finite(tensor):
        broken = int((~torch.isfinite(tensor)).sum())
        problem, found = f"has {broken} NaN or infinite of {tensor.numel()} values", f"{broken} NaN or infinite values"
        remedy = "Use a checkpoint from before training diverged."
        raise _refused(path, name, problem, "finite values", found, remedy)
    if name.endswith("running_var") and bool((tensor < 0).any()):
        lowest, remedy = float(tensor.min()), "Use an undamaged checkpoint."
        raise _refused(path, name, "has a negative variance", "variances of at least 0", lowest, remedy)


def _all_finite(tensor: Tensor) -> bool:
    """Whether there is neither NaN nor an infinite value: then the least and the largest are finite, and only then."""
    return tensor.numel() == 0 or all(math.isfinite(extreme) for extreme in torch.aminmax(tensor))


def _refused(
    path: Path, name: str, problem: str, expected: str, found: object, remedy: str = SAVE_WEIGHTS
) -> CheckpointRefusedError:
    reason = f"'{one_line(name)}' {problem}."
    return CheckpointRefusedError(reason, remedy, expected=expected, found=found, path=path)
