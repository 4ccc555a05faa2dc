"""Labelled examples that a network learns from or is judged by: kept in memory, or read again in every epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from bnsharp_cli.measurement.surface.data_stream import Batch, Stream

_LARGEST_PART = 1000
_MOST_NUMBERS = 2**24


class Examples(Protocol):
    """Inputs and targets of a split, as the network sees them; each example has a number from 0 on."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example's input."""

    def __len__(self) -> int:
        """The number of examples."""

    def batches(self, parts: Sequence[Tensor]) -> Iterator[Batch]:
        """One batch after the other.

        Args:
            parts: for each batch the numbers of its examples.
        """


@dataclass(frozen=True)
class ExamplesInMemory:
    """Examples that are kept in memory.

    Attributes:
        inputs: (N, …).
        targets: (N, …).
    """

    inputs: Tensor
    targets: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """See :class:`Examples`."""
        return tuple(self.inputs.shape[1:])

    def __len__(self) -> int:
        return len(self.targets)

    def batches(self, parts: Sequence[Tensor]) -> Iterator[Batch]:
        """See :class:`Examples`."""
        return ((self.inputs[part], self.targets[part]) for part in parts)


@dataclass(frozen=True)
class StreamedExamples:
    """Examples that are read again in every epoch.

    Attributes:
        read: from the numbers of some examples to their batch.
        length: how many examples there are.
        shape: see :class:`Examples`.
        ahead: whether the next batch is read while the present one is used. It must be False where reading draws random
            numbers, which would then depend on timing.
    """

    read: Callable[[Tensor], Batch]
    length: int
    shape: tuple[int, ...]
    ahead: bool = True

    def __len__(self) -> int:
        return self.length

    def batches(self, parts: Sequence[Tensor]) -> Iterator[Batch]:
        """See :class:`Examples`."""
        if self.ahead:
            return iter(Stream(lambda index: self.read(parts[index]), len(parts)))
        return map(self.read, parts)


def evaluation_parts(examples: Examples) -> tuple[Tensor, ...]:
    """The numbers of all examples in their order, a thousand at a time, or fewer where each example is large."""
    size = max(1, min(_LARGEST_PART, _MOST_NUMBERS // max(1, math.prod(examples.shape))))
    return torch.split(torch.arange(len(examples)), size)
