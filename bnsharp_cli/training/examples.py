"""What is trained on: labelled examples by their numbers, in memory or read when they are wanted."""

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
    """Inputs and targets of a split, as the network sees them."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example's input."""

    def __len__(self) -> int:
        """The number of examples."""

    def batches(self, parts: Sequence[Tensor]) -> Iterator[Batch]:
        """One batch after the other, each of the examples with the numbers in its part."""


@dataclass(frozen=True)
class Resident:
    """Examples in memory.

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
class Streamed:
    """Examples that are read anew in every epoch.

    Attributes:
        read: the examples with given numbers.
        length: how many there are.
        shape: see :class:`Examples`.
        ahead: read a batch while the last one is used; not where reading draws random numbers.
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


def in_parts(examples: Examples) -> tuple[Tensor, ...]:
    """The numbers of all examples in their order, a thousand at a time, or fewer where each is large."""
    size = max(1, min(_LARGEST_PART, _MOST_NUMBERS // max(1, math.prod(examples.shape))))
    return torch.split(torch.arange(len(examples)), size)
