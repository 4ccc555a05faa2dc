"""What batches count for, by their examples or tokens, and whether they hold all the data there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from bnsharp_cli.errors import DataRefusedError
from bnsharp_cli.measurement.surface.data_stream import Batch
from bnsharp_cli.measurement.surface.token_loss import IGNORED, counted_tokens


@dataclass(frozen=True)
class BatchSizes:
    """How many examples each batch of a surface has; targets count them.

    Attributes:
        each: the number of examples in each batch.
        available: the number of examples in the data that they were drawn from; None where it is not known.
        tokens: how many tokens of each batch count, where the loss is a mean over tokens; empty where it is one over
            examples.

    >>> sizes = BatchSizes((4, 4, 2))
    >>> sizes.examples, sizes.weights, sizes.part(0, 2).weights
    (10, (1.2, 1.2, 0.6), (1.0, 1.0))
    >>> BatchSizes((2, 2), tokens=(30, 10)).weights
    (1.5, 0.5)
    """

    each: tuple[int, ...]
    available: int | None = None
    tokens: tuple[int, ...] = ()

    @classmethod
    def of(cls, batches: Sequence[Batch], *, by_tokens: bool = False) -> BatchSizes:
        """The sizes of batches in memory, which count by their tokens if ``by_tokens``.

        Raises:
            DataRefusedError: a batch has no token that counts, so that its mean is that of nothing.
        """
        counted = [targets for _, targets in batches if by_tokens and isinstance(targets, Tensor)]
        tokens = tuple(int(counted_tokens(targets)) for targets in counted)
        if 0 in tokens:
            raise DataRefusedError(
                f"All targets of batch {tokens.index(0) + 1} are {IGNORED}, so that the loss is a mean of nothing.",
                "Leave such batches out.",
                argument="batches",
                expected="a token that counts in each batch",
                found=f"all {IGNORED}",
            )
        return cls(tuple(len(targets) for _, targets in batches), tokens=tokens)

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
        """Whether two batches count differently."""
        return len({*self.counted}) > 1

    @property
    def counted(self) -> tuple[int, ...]:
        """The weight of each batch before it is scaled: its tokens, or its examples."""
        return self.tokens or self.each

    @property
    def unit(self) -> str:
        """What :attr:`counted` counts."""
        return "tokens" if self.tokens else "examples"

    @property
    def weights(self) -> tuple[float, ...]:
        """What the loss of each batch is multiplied by, so that the plain mean over batches is that over all.

        All are the examples, or the tokens.
        """
        return tuple(count * self._share for count in self.counted)

    def in_order(self, order: Sequence[int]) -> BatchSizes:
        """The batches one after the other as ``order`` has their numbers."""
        each, tokens = (tuple(counts[number] for number in order if counts) for counts in (self.each, self.tokens))
        return BatchSizes(each, self.available, tokens)

    def part(self, start: int, stop: int) -> BatchSizes:
        """The batches ``start`` to ``stop`` − 1."""
        return BatchSizes(self.each[start:stop], self.available, self.tokens[start:stop])

    def weight(self, targets: Tensor) -> float | Tensor:
        """The weight of the batch that has these targets; of tokens a scalar beside them, as nobody waits for."""
        if self.tokens:
            return counted_tokens(targets).double() * self._share
        return len(targets) * self._share

    def note(self, batch_statistics: bool) -> str:
        """What a reader must know of a value on all the data."""
        said = "measured on the whole split: no sampling error"
        if not batch_statistics or len(self.each) == 1:
            return said
        return f"{said}; another seed puts other samples together in a batch, which batch statistics see"

    @property
    def _share(self) -> float:
        return len(self.each) / sum(self.counted)
