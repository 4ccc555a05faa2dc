"""How far long work is: named stages inside each other, planned in passes, told to whoever listens.

One :class:`Progress` goes down with a loss surface. The surface tells it of every pass; whoever does several things one
after the other opens a stage and says what each may cost. Where nobody listens, all of it is skipped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TypeVar

from bnsharp_cli.measurement.surface.cost import NO_PASSES, Cost

OfPass = TypeVar("OfPass")

_BACKWARD = 2.0
"""The time of a backward pass, in forward passes."""

_BETWEEN = 0.1
"""Seconds between two reports of passes; a stage or an item that begins is always reported."""


@dataclass(frozen=True)
class Standing:
    """How far long work is.

    Attributes:
        stages: what is being done, from the whole to the part.
        fraction: the share of the planned work that is done, in [0, 1].
        planned: the most passes that the whole may take, as far as is known by now; none where nothing is known.
        spent: passes so far.
        seconds: since the whole began.
        begins: whether it has only just begun.
        ended: whether it is over.

    >>> print(Standing(("bn, δ = 0.001", "start 3 of 9"), 0.25, Cost(400, 200), Cost(90, 40), 50))
    bn, δ = 0.001: start 3 of 9, 25 %, up to 2:30 left
    """

    stages: Sequence[str]
    fraction: float
    planned: Cost
    spent: Cost
    seconds: float
    begins: bool = False
    ended: bool = False

    @property
    def seconds_left(self) -> float | None:
        """Seconds to go if the rest takes as long as it may; None before anything is done."""
        return self.seconds * (1 - self.fraction) / self.fraction if self.fraction > 0 else None

    def __str__(self) -> str:
        """One line, without a line end."""
        parts = [": ".join(self.stages)]
        if self.fraction > 0:
            parts.append(f"{self.fraction:.0%}".replace("%", " %"))
        if self.seconds_left is not None:
            parts.append(f"up to {duration(self.seconds_left)} left")
        return ", ".join(parts)


Listener = Callable[[Standing], object]
"""Told how far long work is; what it returns is ignored."""


def duration(seconds: float) -> str:
    """Hours, minutes and seconds as a clock shows them.

    >>> duration(3600)
    '1:00:00'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Progress:
    """Follows long work; this one follows nothing."""

    def stage(self, name: str, most: Cost = NO_PASSES, items: int = 1) -> AbstractContextManager[None]:
        """A part of the work, or the whole of it where no other stage is open.

        Args:
            name: what is done in it.
            most: the most passes that an item may take; no passes where that is not known.
            items: how many things of about the same cost are done, one after the other.
        """
        del name, most, items
        return nullcontext()

    def reach(self, item: int, name: str = "") -> None:
        """The items before number ``item``, from 0, of the present stage are done; this one has a name or none."""

    def expect(self, more: Cost) -> None:
        """Each item of the present stage takes so many passes more than was planned."""

    def passed(self, cost: Cost) -> None:
        """Some passes were made."""

    def over(self, answers: Iterator[OfPass], cost: Cost) -> Iterator[OfPass]:
        """The answers, each of which took ``cost``."""
        del cost
        return answers


SILENT_PROGRESS = Progress()
"""For work that nobody follows."""


@dataclass
class _Stage:
    """A stage that is open.

    Attributes:
        each: the planned work of an item, in forward passes.
        item: how many items are done.
        label: what the present item is called.
        work: how much of the planned work of the present item is done.
    """

    name: str
    each: float
    items: int
    item: int = 0
    label: str = ""
    work: float = 0.0

    @property
    def planned(self) -> float:
        """The planned work of all items."""
        return self.each * self.items

    def make_room(self, inner: _Stage) -> None:
        """Plan at least the work of a stage inside, which may have been found out on the way."""
        if self.items == 1:
            self.each = max(self.each, self.work + inner.planned)

    def fraction(self, inside: float) -> float:
        """The share that is done, with so much work of a stage inside it."""
        part = min(1.0, (self.work + inside) / self.each) if self.each else 0.0
        return min(1.0, (self.item + part) / self.items)


@dataclass
class ToldProgress(Progress):
    """Follows long work and tells a listener.

    Args:
        listener: told of every stage and item that begins, and now and then between.
        clock: seconds.
    """

    listener: Listener
    clock: Callable[[], float] = time.monotonic
    _stages: list[_Stage] = field(default_factory=list)
    _begun: float = 0.0
    _last: float = 0.0
    _spent: Cost = NO_PASSES
    _planned: Cost = NO_PASSES

    @contextmanager
    def _open(self, name: str, most: Cost, items: int) -> Iterator[None]:
        whole = not self._stages
        if whole:
            self._begun, self._spent = self.clock(), NO_PASSES
            self._planned = items * most
        self._stages.append(_Stage(name, _work(most), max(1, items)))
        self._make_room()
        depth = len(self._stages)
        self._tell(begins=whole)
        try:
            yield
        except BaseException:
            del self._stages[depth - 1 :]  # whoever catches it may go on
            raise
        ended = self._stages.pop()
        if self._stages:
            self._stages[-1].work += ended.planned
        else:
            self._report((ended.name,), 1.0, ended=True)

    def stage(self, name: str, most: Cost = NO_PASSES, items: int = 1) -> AbstractContextManager[None]:
        """See :meth:`Progress.stage`."""
        return self._open(name, most, items)

    def reach(self, item: int, name: str = "") -> None:
        """See :meth:`Progress.reach`; an item that was reached before is passed over."""
        if not self._stages:
            return
        stage = self._stages[-1]
        if item > stage.item:
            stage.item, stage.work = item, 0.0
        if item == stage.item:
            stage.label = name
            self._tell()

    def expect(self, more: Cost) -> None:
        """See :meth:`Progress.expect`."""
        if self._stages:
            self._stages[-1].each += _work(more)
            self._planned += self._stages[-1].items * more
            self._make_room()

    def passed(self, cost: Cost) -> None:
        """See :meth:`Progress.passed`."""
        if not self._stages:
            return
        self._spent += cost
        self._stages[-1].work += _work(cost)
        if self.clock() - self._last >= _BETWEEN:
            self._tell()

    def over(self, answers: Iterator[OfPass], cost: Cost) -> Iterator[OfPass]:
        """See :meth:`Progress.over`; an answer is not kept longer than its user keeps it."""

        def told(answer: OfPass) -> OfPass:
            self.passed(cost)
            return answer

        return map(told, answers)

    def _make_room(self) -> None:
        for outer, inner in zip(self._stages[-2::-1], self._stages[:0:-1], strict=True):
            outer.make_room(inner)

    def _tell(self, begins: bool = False) -> None:
        inside = fraction = 0.0
        for stage in reversed(self._stages):
            fraction = stage.fraction(inside)
            inside = fraction * stage.planned
        names = [name for stage in self._stages for name in (stage.name, stage.label) if name]
        self._report(names, fraction, begins=begins)

    def _report(self, names: Sequence[str], fraction: float, *, begins: bool = False, ended: bool = False) -> None:
        self._last = self.clock()
        seconds = self._last - self._begun
        self.listener(Standing(tuple(names), fraction, self._planned, self._spent, seconds, begins, ended))


def _work(cost: Cost) -> float:
    """A cost in forward passes."""
    return cost.forward + _BACKWARD * cost.backward
