"""The interval for the whole split against the whole split, and against fresh draws with intervals of their own.

A 95 % interval misses once in twenty draws, so a single miss says nothing. What would be improbable is a number of
misses that true 95 % intervals have in less than one audit of a hundred, by the binomial distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Protocol

from scipy.stats import binom

from bnsharp_cli.measurement.audit.audited_value import AuditedValue, measured_value
from bnsharp_cli.measurement.audit.finding import CannotSayError, Finding
from bnsharp_cli.measurement.measures.measurement import Measurement, Status
from bnsharp_cli.measurement.measures.population import CONFIDENCE
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

DRAWS = 5
AFFORDABLE = 16
"""The whole split is measured where it is at most so many times the samples."""

_IMPROBABLE = 0.01


class Draws(Protocol):
    """A source of other samples of the same data."""

    def fresh(self, number: int) -> LossSurface:
        """The same network on as many samples, drawn by another seed for every ``number`` from 1 on."""

    def whole(self) -> LossSurface:
        """The same network on the whole split."""


@dataclass(frozen=True)
class _Told:
    """What one draw says of the whole split."""

    low: float | None
    high: float | None
    estimate: float

    @classmethod
    def by(cls, measured: Measurement) -> _Told | None:
        told = measured.details["population"]
        if told is None or measured.status is Status.BELOW_RESOLUTION:
            return None
        return cls(told["low"], told["high"], told["value"])

    def misses(self, truth: float) -> bool:
        """Whether the interval, which must be given, does not hold the truth."""
        assert self.low is not None
        assert self.high is not None
        return not self.low <= truth <= self.high


def audit_population(audited: AuditedValue, draws: Draws) -> Finding:
    """How many of the intervals of ``DRAWS`` fresh draws and the measured one miss the value of the whole split."""
    _require_interval(audited)
    every = [audited.measured, *(measured_value(draws.fresh(n), audited.blocks, audited.options) for n in _numbers())]
    told = [one for one in map(_Told.by, every) if one is not None]
    if is_affordable(audited.surface):
        truth = measured_value(draws.whole(), audited.blocks, audited.options).value
        what = f"the whole split, which was measured: {truth:.5g}"
    else:
        truth = fmean(one.estimate for one in told)
        what = f"the mean of all draws' estimates: {truth:.5g}; the whole split is too large to measure"
    return judged(told, truth, what)


def judged(told: Sequence[_Told], truth: float, what: str) -> Finding:
    """The number of misses against the number that would be improbable."""
    given = [one for one in told if one.low is not None and one.high is not None]
    missed = sum(one.misses(truth) for one in given)
    sentence = f"{len(given) - missed} of {len(given)} intervals of separate draws hold {what}"
    allowed = most_misses(len(given))
    if allowed >= len(given):
        raise CannotSayError(f"{sentence}; so few intervals cannot be judged, as a 95 % interval may miss")
    chance = float(binom.sf(allowed, len(given), 1 - CONFIDENCE))
    sentence += f"; true 95 % intervals miss more than {allowed} times in {chance:.1%} of audits"
    return Finding.compared("population", allowed, missed, sentence)


def most_misses(intervals: int) -> int:
    """The largest number of misses that is not improbable.

    >>> most_misses(6)
    2
    """
    return next(m for m in range(intervals + 1) if binom.sf(m, intervals, 1 - CONFIDENCE) < _IMPROBABLE)


def is_affordable(surface: LossSurface) -> bool:
    """Whether the whole split is small enough to be measured."""
    sizes = surface.sizes
    return sizes is not None and sizes.available is not None and sizes.available <= AFFORDABLE * sizes.examples


def _numbers() -> range:
    return range(1, DRAWS + 1)


def _require_interval(audited: AuditedValue) -> None:
    """Refuse to judge where nothing is stated.

    Raises:
        CannotSayError: why.
    """
    if audited.surface.holds_all_data:
        raise CannotSayError("the samples are the whole split")
    if audited.surface.count < 2:
        raise CannotSayError("no interval is stated, as all samples are in one batch")
    told = _Told.by(audited.measured)
    if told is None:
        raise CannotSayError("no interval is stated, as the value is not nearly a gradient norm")
    if told.low is None:
        raise CannotSayError("no interval is stated, as a few batches carry the gradient")
    if audited.measured.details["population"]["of"] != "split":
        raise CannotSayError("how many samples the data has is not known")
