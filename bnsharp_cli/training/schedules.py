"""Learning rates as functions of the epoch alone, so that a run that goes on has nothing to remember of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Protocol


class Scheduled(Protocol):
    """What a schedule asks of the options; see :class:`~bnsharp_cli.training.options.TrainingOptions`."""

    @property
    def epochs(self) -> int:
        """Of the whole run."""

    @property
    def milestones(self) -> tuple[int, ...]:
        """Epochs at whose start the learning rate falls."""

    @property
    def decay(self) -> float:
        """Factor at each milestone."""


def step(options: Scheduled, epoch: int) -> float:
    """``decay`` to the number of milestones that have passed, as ``torch.optim.lr_scheduler.MultiStepLR``."""
    return options.decay ** sum(epoch >= milestone for milestone in options.milestones)


def cosine(options: Scheduled, epoch: int) -> float:
    """(1 + cos(π epoch / epochs)) / 2, as ``CosineAnnealingLR`` (Loshchilov & Hutter 2017, Eq. 5, without restarts)."""
    return (1 + math.cos(math.pi * epoch / options.epochs)) / 2


SCHEDULES: Mapping[str, Callable[[Scheduled, int], float]] = {"step": step, "cosine": cosine}
"""From the options and the number of the epoch, from 0, to the factor of the learning rate."""
