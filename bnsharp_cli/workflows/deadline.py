"""A time after which nothing more is measured."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch

from bnsharp_cli.measurement.surface.cost import NO_PASSES, Cost
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.progress import OfPass, Progress


class OutOfTimeError(Exception):
    """The time is over, in the middle of a measure. Whoever sets a deadline catches it."""


@dataclass(frozen=True)
class Deadline:
    """A time on the clock.

    Attributes:
        seconds: that were allowed; None for any.
        began: when they began, by :func:`time.monotonic`.
    """

    seconds: float | None
    began: float

    @property
    def passed(self) -> bool:
        """Whether it is over."""
        return self.seconds is not None and time.monotonic() - self.began >= self.seconds

    def passed_for(self, surface: LossSurface) -> bool:
        """Whether it is over for one of the processes that share a surface; all of them answer the same."""
        if self.seconds is None:
            return False
        processes = surface.processes
        return bool(processes.in_order(torch.tensor([float(self.passed)]), processes.count).any())

    def watched(self, surface: LossSurface) -> LossSurface:
        """The surface, on which a pass ends in :class:`OutOfTimeError` once it is over.

        Several processes have to do the same, whatever their clocks say, so for them it ends no pass.
        """
        if self.seconds is None or surface.processes.count > 1:
            return surface
        return replace(surface, progress=_WatchedProgress(surface.progress, self))


@dataclass(frozen=True)
class _WatchedProgress(Progress):
    """Hands everything on, and looks at the clock at every pass."""

    inner: Progress
    deadline: Deadline

    def stage(self, name: str, most: Cost = NO_PASSES, items: int = 1) -> AbstractContextManager[None]:
        """See :meth:`Progress.stage`."""
        return self.inner.stage(name, most, items)

    def reach(self, item: int, name: str = "") -> None:
        """See :meth:`Progress.reach`."""
        self.inner.reach(item, name)

    def expect(self, more: Cost) -> None:
        """See :meth:`Progress.expect`."""
        self.inner.expect(more)

    def passed(self, cost: Cost) -> None:
        """See :meth:`Progress.passed`.

        Raises:
            OutOfTimeError: the time is over.
        """
        self.inner.passed(cost)
        self._look()

    def over(self, answers: Iterator[OfPass], cost: Cost) -> Iterator[OfPass]:
        """See :meth:`Progress.over`.

        Raises:
            OutOfTimeError: the time is over.
        """

        def looked(answer: OfPass) -> OfPass:
            self._look()
            return answer

        return map(looked, self.inner.over(answers, cost))

    def _look(self) -> None:
        if self.deadline.passed:
            raise OutOfTimeError
