"""Batches that hold all the data there is: they count by their sizes, and no samples are left to ask about."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Population:
    """All data of a split, in batches.

    Attributes:
        sizes: the number of samples in each batch.

    >>> whole = Population((4, 4, 2))
    >>> whole.samples, whole.part(0, 2).sizes
    (10, (4, 4))
    """

    sizes: tuple[int, ...]

    @property
    def samples(self) -> int:
        """All of them."""
        return sum(self.sizes)

    def part(self, start: int, stop: int) -> Population:
        """The batches ``start`` to ``stop`` − 1."""
        return Population(self.sizes[start:stop])

    def weight(self, targets: Tensor) -> float:
        """What the loss of a batch is multiplied by, so that the plain mean over batches is the mean over samples."""
        return len(targets) * len(self.sizes) / self.samples

    def note(self, batch_statistics: bool) -> str:
        """What a reader must know of a value on all the data."""
        said = "measured on the whole split: no sampling error"
        if not batch_statistics or len(self.sizes) == 1:
            return said
        return f"{said}; another seed puts other samples together in a batch, which batch statistics see"
