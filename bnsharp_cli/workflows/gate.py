"""Holds a result against limits, absolute ones and those relative to a baseline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bnsharp_cli.errors import spelt
from bnsharp_cli.measurement.decision.change import Quantity, absolute_change, relative_change, unchanged
from bnsharp_cli.measurement.decision.estimate import IntervalEstimate
from bnsharp_cli.measurement.decision.outcome import Limit, Outcome
from bnsharp_cli.measurement.decision.sentences import percent, plain, sentence_of, signed, signed_percent
from bnsharp_cli.workflows.limited_names import DEAD_ROWS, OF_CLASSES, SHARE, LimitedName
from bnsharp_cli.workflows.limited_quantities import JudgedResult
from bnsharp_cli.workflows.measured_network import Spelling
from bnsharp_cli.workflows.thresholds import Change, Thresholds

MAX, MIN, MAX_INCREASE, MAX_DECREASE = "max", "min", "max-increase", "max-decrease"


@dataclass(frozen=True)
class Check:
    """One check and how it ended.

    Attributes:
        name: of the check; with several radii it ends in ``@`` and the radius.
        outcome: how it ended.
        sentence: value, interval, limit, and what would decide; arguments are marked.
        kind: ``max``, ``min``, ``max-increase`` or ``max-decrease``; None of what has no limit.
        value: the number that was tested: for an increase or decrease the change, as a share of the baseline's or as a
            difference.
        low: the lower end of what it may be on all the data; None where it is open.
        high: the upper end.
        limit: the limit, in the same unit.
        measured: the value of the network itself.
        baseline: that of the baseline.
    """

    name: str
    outcome: Outcome
    sentence: str
    kind: str | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    measured: float | None = None
    baseline: float | None = None

    def to_dict(self, spelling: Spelling = str) -> dict[str, Any]:
        """Plain containers, as in the JSON schema ``bnsharp/1``."""
        return {**vars(self), "outcome": self.outcome.value, "sentence": spelt(self.sentence, spelling)}


@dataclass(frozen=True)
class Gate:
    """What a result is held against.

    Attributes:
        thresholds: the limits.
        radii: at which it is measured.
        rtol: what a search within its tolerance leaves, relative to the value.
        baseline: an earlier result; None where there is none yet.
        unreached: why something was not measured; None where all was.
    """

    thresholds: Thresholds
    radii: Sequence[float]
    rtol: float
    baseline: JudgedResult | None = None
    unreached: str = ""

    def checks(self, result: JudgedResult) -> Iterator[Check]:
        """Every limit, the absolute ones first.

        Raises:
            UsageError: the baseline does not hold what a limit is relative to.
        """
        wanted = self.thresholds
        for kind, limits in ((MAX, wanted.limits), (MIN, wanted.least)):
            for name, delta in self._each(limits):
                yield self._absolute(result, name, delta, kind, (limits or {})[str(name)])
        for kind, changes in ((MAX_INCREASE, wanted.max_increase), (MAX_DECREASE, wanted.max_decrease)):
            for name, delta in self._each(changes):
                yield self._relative(result, name, delta, kind, (changes or {})[str(name)])

    def require_baseline(self) -> None:
        """Refuse a baseline that does not hold what limits are relative to, before anything is measured.

        Raises:
            UsageError: naming what it lacks.
        """
        if self.baseline is None:
            return
        for changes in (self.thresholds.max_increase, self.thresholds.max_decrease):
            for name, delta in self._each(changes):
                self.baseline.required(name, delta, self.rtol)

    def _each(self, limits: Mapping[str, Any] | None) -> Iterator[tuple[LimitedName, float | None]]:
        """What is limited, at each radius for which that is meant."""
        for text in limits or ():
            name = LimitedName.read(text, "limits")
            radii = (None,) if not name.has_radius else self.radii if name.delta is None else (name.delta,)
            yield from ((name, delta) for delta in radii)

    def _absolute(
        self, result: JudgedResult, name: LimitedName, delta: float | None, kind: str, amount: float
    ) -> Check:
        title, quantity = self._title(name, delta), result.quantity(name, delta, self.rtol)
        if quantity is None:
            return self._not_reached(title, kind, amount)
        limit, shown = Limit(amount, kind == MAX), percent if _is_share(name) else plain
        words = sentence_of(quantity.estimate, limit, result.samples_of(name), name.measure or name.what, shown)
        if name.what == DEAD_ROWS and result.where_dead:
            words += f" ({result.where_dead})"
        return _decided(title, kind, quantity.estimate, limit, words, quantity)

    def _relative(
        self, result: JudgedResult, name: LimitedName, delta: float | None, kind: str, change: Change
    ) -> Check:
        title, amount = f"{self._title(name, delta)} vs baseline", change.amount
        if self.baseline is None:
            return Check(title, Outcome.SKIP, "there is no baseline yet", kind, limit=amount)
        new = result.quantity(name, delta, self.rtol)
        if new is None:
            return self._not_reached(title, kind, amount)
        old = self.baseline.required(name, delta, self.rtol)
        new, old = replace(new, parts=result.parts(name)), replace(old, parts=self.baseline.parts(name))
        compute, shown = (absolute_change, signed) if change.absolute else (relative_change, signed_percent)
        same = result.weights == self.baseline.weights and new.measurement.value == old.measurement.value
        samples = result.samples_of(name)
        estimate = unchanged(samples) if same else compute(new, old, samples, self.rtol)
        limit = Limit(amount, upper=True) if kind == MAX_INCREASE else Limit(-amount, upper=False)
        number = percent if _is_share(name) else plain
        what = f"from {number(old.measurement.value)} to {number(new.measurement.value)}"
        what += ", by the same weights" if same else ""
        words = sentence_of(estimate, limit, samples, name.measure or name.what, shown, what)
        return _decided(title, kind, estimate, limit, words, new, old)

    def _title(self, name: LimitedName, delta: float | None) -> str:
        several = delta is not None and len(self.radii) > 1
        return f"{name.what}{name.layer}" + (f"@{delta:g}" if several else "")

    def _not_reached(self, title: str, kind: str, amount: float) -> Check:
        return Check(title, Outcome.INCONCLUSIVE, self.unreached, kind, limit=amount)


def _is_share(name: LimitedName) -> bool:
    return name.what in {*OF_CLASSES, SHARE}


def _decided(
    title: str,
    kind: str,
    estimate: IntervalEstimate,
    limit: Limit,
    words: str,
    new: Quantity,
    old: Quantity | None = None,
) -> Check:
    return Check(
        name=title,
        outcome=limit.outcome(estimate),
        sentence=words,
        kind=kind,
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        limit=limit.amount,
        measured=new.measurement.value,
        baseline=None if old is None else old.measurement.value,
    )
