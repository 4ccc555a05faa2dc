"""Learning rates as functions of the epoch alone, so that a resumed run needs no state of a scheduler."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from bnsharp_cli.training.options import TrainingOptions


def step(options: TrainingOptions, epoch: int) -> float:
    """``decay`` to the power of the number of milestones that have passed, as ``torch.optim.lr_scheduler.MultiStepLR``.

    >>> options = TrainingOptions(milestones=(2, 4), decay=0.5)
    >>> [step(options, epoch) for epoch in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    return options.decay ** sum(epoch >= milestone for milestone in options.milestones)


def cosine(options: TrainingOptions, epoch: int) -> float:
    """(1 + cos(π epoch / epochs)) / 2, as ``CosineAnnealingLR`` (Loshchilov & Hutter 2017, Eq. 5, without restarts).

    >>> [round(cosine(TrainingOptions(epochs=4, schedule="cosine"), epoch), 3) for epoch in range(4)]
    [1.0, 0.854, 0.5, 0.146]
    """
    return (1 + math.cos(math.pi * epoch / options.epochs)) / 2


SCHEDULES: Mapping[str, Callable[[TrainingOptions, int], float]] = {"step": step, "cosine": cosine}
"""From the options and the number of the epoch, from 0, to the factor of the learning rate."""


def learning_rate_in(options: TrainingOptions, epoch: int) -> float:
    """The learning rate of an epoch, counted from 0."""
    return options.learning_rate * SCHEDULES[options.schedule](options, epoch)
