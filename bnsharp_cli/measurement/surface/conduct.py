"""What a network does in eval mode that decides how it is run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Conduct:
    """What a network does in eval mode that decides how it is run; see :mod:`examination`.

    Attributes:
        draws: whether it draws random numbers. Then each batch has its own, the same in every pass, batches and points
            run one after the other, and everything is in float64, because other precisions draw other numbers.
        own_norms: modules with normalisation code of their own, which their ``training`` switches to batch statistics.
        notes: what a reader of the result should know.
        unseen: parameters without a gradient in the first batch: the loss does not use them, or autograd cannot tell.
        parts: whether a part of a batch means some of its examples, see :mod:`examples`; else whole batches are used.
    """

    draws: bool = False
    own_norms: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    parts: bool = True


UNREMARKABLE = Conduct()
"""That of a network that does nothing of the kind."""
