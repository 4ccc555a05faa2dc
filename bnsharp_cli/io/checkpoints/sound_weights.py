"""Weights are dense, finite, and floating or complex; masks and observers may be whole numbers or infinite."""

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

_REFUSED_KINDS = "int8, float8 or quantised"
_WHOLE = (torch.int64, torch.int32, torch.uint8, torch.bool)
"""Types of the buffers beside the weights: how many batches a norm has seen, masks, switches of observers."""

_NEVER_MASKS = ("weight", "bias", "running_mean", "running_var")
"""Last parts of the names of tensors that are no masks or observers in any network."""

_FEWEST_BYTES = 2
_GATHER = "Gather the weights with the script that DeepSpeed wrote beside them: python zero_to_fp32.py FOLDER FOLDER2."


def verify_state_dict(path: Path, state_dict: Mapping[str, Tensor], *, outline: bool = False) -> None:
    """Refuse tensors that are no weights: not dense, not of a plain type, not finite, a negative variance.

    So are tensors most of which are empty, as DeepSpeed's ZeRO-3 leaves them, whose values are in other files.

    Only a network says which tensors are masks or observers. Until it is known, infinite values pass and so do 8-bit
    whole numbers, unless the name is that of a weight or statistic; :func:`verify_finite` is for its parameters. NaN
    never passes.

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
    only_whole = not any(map(_has_fractions, state_dict.values()))
    for name, tensor in state_dict.items():
        weight = only_whole or _never_mask(name)
        _require_plain(path, name, tensor, outline)
        if weight and tensor.dtype == torch.uint8:
            raise _no_floating(path, name, tensor)
        if _has_fractions(tensor) and not outline:
            _require_sound_values(path, name, tensor)
    _require_mostly_values(path, state_dict)


def verify_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse parameters with values that are not finite, whatever their names.

    Raises:
        CheckpointRefusedError: naming the first such tensor.
    """
    for name, tensor in tensors.items():
        if not all(map(math.isfinite, _extremes(tensor))):
            raise _not_finite(path, name, tensor)


def holds_infinity(tensor: Tensor) -> bool:
    """Whether a value is infinite, where none is NaN."""
    return _has_fractions(tensor) and any(map(math.isinf, _extremes(tensor)))


def _has_fractions(tensor: Tensor) -> bool:
    """Whether it holds floating numbers or complex ones, which are pairs of them."""
    return tensor.is_floating_point() or tensor.is_complex()


def _never_mask(name: str) -> bool:
    return name.rpartition(".")[2] in _NEVER_MASKS


def _require_mostly_values(path: Path, state_dict: Mapping[str, Tensor]) -> None:
    floating = {name: tensor for name, tensor in state_dict.items() if _has_fractions(tensor)}
    empty = [name for name, tensor in floating.items() if not tensor.numel()]
    if empty and 2 * len(empty) >= len(floating):
        problem = f"and {len(empty) - 1} more of {len(floating)} tensors are empty, as DeepSpeed's ZeRO-3 leaves them"
        found = f"{len(empty)} empty tensors"
        raise _refused(path, empty[0], problem, "weights with values", found, _GATHER)


def _require_plain(path: Path, name: str, tensor: Tensor, outline: bool) -> None:
    """Refuse what is not dense, has fewer bytes than it declares, or is of a type that no weight or count has."""
    refused = partial(_refused, path, name)
    if tensor.layout != torch.strided or (tensor.is_meta and not outline) or tensor.is_quantized:
        found = f"{tensor.layout}, {tensor.dtype}, on {tensor.device}"
        raise refused(f"is not a plain dense tensor ({_REFUSED_KINDS})", "a plain dense tensor", found)
    declared, owned = tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes()
    if declared > owned:
        raise refused("declares more values than the file holds", f"{declared} bytes", f"{owned} bytes")
    if not _has_fractions(tensor) and tensor.dtype not in _WHOLE:
        raise _no_floating(path, name, tensor)
    if tensor.is_floating_point() and tensor.element_size() < _FEWEST_BYTES:
        raise refused(f"is {tensor.dtype}, expected 16 bits or more", "16 bits or more", tensor.dtype)


def _no_floating(path: Path, name: str, tensor: Tensor) -> CheckpointRefusedError:
    return _refused(path, name, f"is {tensor.dtype}, expected floating weights", "floating weights", tensor.dtype)


def _require_sound_values(path: Path, name: str, tensor: Tensor) -> None:
    """Refuse NaN, infinite values of what is no mask, and a negative variance."""
    extremes = _extremes(tensor)
    if any(map(math.isnan, extremes)) or (_never_mask(name) and any(map(math.isinf, extremes))):
        raise _not_finite(path, name, tensor)
    if name.endswith("running_var") and bool((tensor.real < 0).any()):
        lowest, remedy = float(tensor.min()), "Use an undamaged checkpoint."
        raise _refused(path, name, "has a negative variance", "variances of at least 0", lowest, remedy)


def _not_finite(path: Path, name: str, tensor: Tensor) -> CheckpointRefusedError:
    broken = int((~torch.isfinite(tensor)).sum())
    problem, found = f"has {broken} NaN or infinite of {tensor.numel()} values", f"{broken} NaN or infinite values"
    return _refused(path, name, problem, "finite values", found, "Use a checkpoint from before training diverged.")


def _extremes(tensor: Tensor) -> tuple[float, ...]:
    """The least and the largest value, both NaN if any value is; none of an empty tensor."""
    numbers = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return tuple(map(float, torch.aminmax(numbers))) if tensor.numel() else ()


def _refused(
    path: Path, name: str, problem: str, expected: str, found: object, remedy: str = SAVE_WEIGHTS
) -> CheckpointRefusedError:
    reason = f"'{one_line(name)}' {problem}."
    return CheckpointRefusedError(reason, remedy, expected=expected, found=found, path=path)
