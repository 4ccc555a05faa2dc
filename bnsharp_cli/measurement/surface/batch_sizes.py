"""The numbers of examples in batches: what batches count for, and whether they hold all the data there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from bnsharp_cli.measurement.surface.data_stream import Batch


@dataclass(frozen=True)
class BatchSizes:
    """How many examples each batch of a surface has; targets count them.

    Attributes:
        each: the number of examples in each batch.
        available: the number of examples in the data that they were drawn from; None where it is not known.

    >>> sizes = BatchSizes((4, 4, 2))
    >>> sizes.examples, sizes.weights, sizes.part(0, 2).weights
    (10, (1.2, 1.2, 0.6), (1.0, 1.0))
    """

    each: tuple[int, ...]
    available: int | None = None

    @classmethod
    def of(cls, batches: Sequence[Batch]) -> BatchSizes:
        """The sizes of batches in memory."""
        return cls(tuple(len(targets) for _, targets in batches))

    @property
    def examples(self) -> int:
        """All of them."""
        return sum(self.each)

    @property
    def whole(self) -> bool:
        """Whether the batches hold all the data there is, so that no sample is left to ask about."""
        return self.available == self.examples

    @property
    def differ(self) -> bool:
        """Whether two batches have different sizes."""
        return len({*self.each}) > 1

    @property
    def weights(self) -> tuple[float, ...]:
        """What the loss of each batch is multiplied by, so that the plain mean over batches is that over examples."""
        return tuple(self._weight(size) for size in self.each)

    def part(self, start: int, stop: int) -> BatchSizes:
        """The batches ``start`` to ``stop`` − 1."""
        return BatchSizes(self.each[start:stop], self.available)

    def weight(self, targets: Tensor) -> float:
        """The weight of the batch that has these targets."""
        return self._weight(len(targets))

    def note(self, batch_statistics: bool) -> str:
        """What a reader must know of a value on all the data."""
        said = "measured on the whole split: no sampling error"
        if not batch_statistics or len(self.each) == 1:
            return said
        return f"{said}; another seed puts other samples together in a batch, which batch statistics see"

    def _weight(self, size: int) -> float:
        return size * len(self.each) / self.examples
