"""What a network returned: its tensors, its prediction, how many classes it got right, and what it would not take."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor

from bnsharp_cli.errors import NotMeasurableError

PREDICTIONS = ("logits", "out")
"""What networks call their prediction among other outputs: transformers, and torchvision's segmentation networks."""

REFUSALS = (RuntimeError, ValueError, IndexError, TypeError, AttributeError)
"""What torch raises over tensors that it cannot take."""


def prediction(outputs: Any) -> Tensor | None:
    """The one tensor that a loss compares with targets, or None where it is not clear which that is."""
    if isinstance(outputs, Tensor):
        return outputs
    named = outputs if isinstance(outputs, Mapping) else getattr(outputs, "__dict__", {})
    for name in PREDICTIONS:
        if isinstance(named.get(name), Tensor):
            return cast(Tensor, named[name])
    found = floating(outputs)
    return found[0] if len(found) == 1 or (found and isinstance(outputs, list | tuple)) else None


def correct(outputs: Any, targets: Tensor) -> tuple[Tensor, Tensor]:
    """How many classes are right, among how many; none where targets are not numbers of two or more classes."""
    guess = prediction(outputs)
    classes = guess.shape[1] if guess is not None and guess.ndim == targets.ndim + 1 else 0
    if guess is None or classes < 2 or targets.is_floating_point():
        none = torch.zeros((), dtype=torch.int64, device=targets.device)
        return none, none
    counted = (targets >= 0) & (targets < classes)
    return ((guess.argmax(1) == targets) & counted).sum(), counted.sum()


def floating(outputs: Any) -> list[Tensor]:
    """All floating tensors of nested mappings, lists, tuples and plain records."""
    return [tensor for tensor in tensors(outputs) if tensor.is_floating_point()]


def tensors(value: Any) -> Iterator[Tensor]:
    """All tensors of nested mappings, lists, tuples and plain records, in their order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from tensors(entry)
    else:
        for entry in (value if isinstance(value, Mapping) else _fields(value)).values():
            yield from tensors(entry)


def converted(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """``value`` with ``function`` of each tensor in nested mappings, lists, tuples and plain records."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        entries = {key: converted(function, entry) for key, entry in value.items()}
        if not isinstance(value, MutableMapping):
            return entries
        changed = copy.copy(value)
        for key, entry in entries.items():
            changed[key] = entry
        return changed
    if isinstance(value, list | tuple):
        parts = [converted(function, entry) for entry in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    fields = _fields(value)
    changed = copy.copy(value) if fields else value
    for name, entry in fields.items():
        object.__setattr__(changed, name, converted(function, entry))  # a frozen dataclass's own way
    return changed


def as_double(tensor: Tensor) -> Tensor:
    """``tensor`` in float64 where it is floating."""
    return tensor.double() if tensor.is_floating_point() else tensor


def _fields(record: Any) -> dict[str, Any]:
    """The attributes of an object that are tensors or containers; what else it refers to is left alone."""
    attributes = getattr(record, "__dict__", {}).items()
    return {name: value for name, value in attributes if isinstance(value, (Tensor, Mapping, list, tuple))}


def row(losses: Sequence[Tensor]) -> Tensor:
    """Scalars as one float64 vector on the CPU, fetched at once."""
    return torch.stack([*losses]).double().cpu() if losses else torch.zeros(0, dtype=torch.float64)


@contextmanager
def accepting(what: str, remedy: str) -> Iterator[None]:
    """What a stranger's function says to what it cannot take, as one of our errors.

    Args:
        what: the start of the sentence, as in "The network does not accept a batch of (8, 3)".
        remedy: what to do.

    Raises:
        NotMeasurableError: with the function's own reason.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except REFUSALS as error:
        raise NotMeasurableError(f"{what}: {(str(error).splitlines() or [''])[0]}", remedy) from error
