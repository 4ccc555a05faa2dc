"""Batches as people have them, read once into a list of (inputs, targets)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from bnsharp_cli.errors import BnsharpError, UsageError, indefinite, named
from bnsharp_cli.measurement.surface.data_stream import Batch
from bnsharp_cli.measurement.surface.foreign_errors import OUT_OF_MEMORY, kind_and_first_line
from bnsharp_cli.measurement.surface.tensor_trees import TensorTree, map_tensors, tensors_in

BatchesLike = Iterable[Any]
"""Batches of (inputs, targets), or mappings that hold the targets under one of ``LABELS``."""

LABELS = ("labels", "label", "targets", "target")

_PAIRS = "Pass a list of (inputs, targets), such as [(inputs, targets)]."


def fixed_batches(batches: BatchesLike) -> list[Batch]:
    """All batches, read once.

    Raises:
        UsageError: none, not pairs of inputs and targets, or the loader itself failed.
    """
    if isinstance(batches, Mapping | Tensor) or not isinstance(batches, Iterable):
        raise UsageError.of_type("batches", "a list or a loader", batches, _PAIRS)
    fixed = [_pair(batch) for batch in _read(batches)]
    if not fixed:
        raise _unexpected("at least one (inputs, targets) pair", "none", "Pass a list.")
    return fixed


def _read(batches: Iterable[Any]) -> Iterator[Any]:
    """The batches; what the user's loader raises is told as one of our errors."""
    number = 1
    try:
        for number, batch in enumerate(batches, 2):  # noqa: B007  the batch to be read next, for the error
            yield batch
    except (BnsharpError, *OUT_OF_MEMORY):
        raise
    except (Exception, SystemExit) as error:  # a user's loader raises whatever it likes
        found = kind_and_first_line(error)
        raise UsageError(
            f"{named('batches')}: reading batch {number} failed: {found}",
            "Mend the loader or its data set.",
            argument="batches",
            expected="batches that can be read",
            found=found,
        ) from error


def _pair(batch: Any) -> Batch:
    if isinstance(batch, Mapping):
        label = next((name for name in LABELS if name in batch), None)
        if label is None:
            names = ", ".join(map(str, batch))
            raise UsageError(
                f"{named('batches')}: no targets in {{{names}}}, expected one of {', '.join(LABELS)}.",
                _PAIRS,
                argument="batches",
                expected="targets",
                found=list(batch),
            )
        batch = ({key: value for key, value in batch.items() if key != label}, batch[label])
    if not isinstance(batch, list | tuple) or len(batch) != 2:
        found = f"{len(batch)} entries" if isinstance(batch, list | tuple) else indefinite(type(batch).__name__)
        raise _unexpected("(inputs, targets) in each batch", found, _PAIRS)
    inputs, targets = (_tensors(part) for part in batch)
    for part in (inputs, targets):
        _require_dense(part)
    if not inputs.shape or not targets.shape:
        raise _unexpected("a batch of examples", "a single number", _PAIRS)
    if not len(inputs) or not len(targets):
        raise _unexpected("at least one example in each batch", "none", _PAIRS)
    return inputs, targets


def _tensors(value: Any) -> Tensor:
    """A tensor that autograd may use, or tensors in containers that look like one."""
    if isinstance(value, TensorTree):
        return cast(Tensor, value)
    if isinstance(value, np.ndarray):
        return _from_numpy(value)
    usable = map_tensors(lambda tensor: tensor.clone() if tensor.is_inference() else tensor.detach(), value)
    return usable if isinstance(usable, Tensor) else cast(Tensor, TensorTree.of(usable))


def _require_dense(value: Tensor | TensorTree) -> None:
    """Refuse tensors without values, and those that hold their values in another way than as one array.

    Raises:
        UsageError: naming the first of them.
    """
    for tensor in [value] if isinstance(value, Tensor) else tensors_in(value.value):
        found = "a meta tensor" if tensor.is_meta else None
        if tensor.is_nested:
            found = "a nested tensor"
        elif tensor.is_quantized:
            found = "a quantized tensor"
        elif tensor.layout is not torch.strided:
            found = "a sparse tensor"
        if found:
            raise _unexpected("dense tensors that hold values", found, "Convert it, for example with to_dense().")


def _from_numpy(array: np.ndarray[Any, Any]) -> Tensor:
    try:
        return torch.as_tensor(array)
    except TypeError as error:  # what torch raises for an array of texts or objects
        raise _unexpected("arrays of numbers", f"one of {array.dtype}", "Convert it.") from error


def _unexpected(expected: str, found: str, remedy: str) -> UsageError:
    reason = f"{named('batches')}: expected {expected}, found {found}."
    return UsageError(reason, remedy, argument="batches", expected=expected, found=found)
