"""What a network returned: its floating tensors, how many classes it got right, and what it would not take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from bnsharp_cli.errors import NotMeasurableError


def correct(outputs: Any, targets: Tensor) -> tuple[Tensor, Tensor]:
    """How many classes are right, among how many; none where targets are not class indices."""
    classes = isinstance(outputs, Tensor) and outputs.ndim == targets.ndim + 1 and not targets.is_floating_point()
    right = outputs.argmax(1) == targets if classes else torch.zeros(0, device=targets.device)
    return right.sum(), torch.tensor(right.numel(), device=targets.device)


def floating(outputs: Any) -> list[Tensor]:
    """All floating tensors of nested mappings, lists and tuples."""
    if isinstance(outputs, Tensor):
        return [outputs] if outputs.is_floating_point() else []
    if isinstance(outputs, Mapping):
        return [tensor for value in outputs.values() for tensor in floating(value)]
    if isinstance(outputs, list | tuple):
        return [tensor for value in outputs for tensor in floating(value)]
    return []


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
    except (RuntimeError, ValueError, IndexError, TypeError, AttributeError) as error:
        raise NotMeasurableError(f"{what}: {(str(error).splitlines() or [''])[0]}", remedy) from error
