r"""The ratio of a measure of two networks on more samples than were measured, from the same batches of both.

Batches that are hard for one network are mostly hard for the other, so the ratio is known better than either value.
With numbers a_b and b_b of the batches whose means are the values, the logarithm of the ratio has the standard error

.. math:: \sqrt{1 - f}\; \mathrm{sd}_b(a_b / \bar a - b_b / \bar b) / \sqrt{B}

for B batches that are a fraction f of the data. That alone holds the ratio of the whole split too rarely: near
interpolation a few hard samples carry the value, and a draw that misses them does not know it. And a gradient norm is
too high in the sample by an amount that differs between the networks. So the interval begins at the lower and ends at
the upper of two estimates, in the sample and for the population, and is widened; ``benchmarks/paired.py`` shows how
often it covers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import stdev

from scipy.stats import t as students_t

from bnsharp_cli.measurement.measures.measurement import Measurement, Status
from bnsharp_cli.measurement.measures.population import CONFIDENCE

WIDENED = 1.7
"""The error in units of Student's, as at the upper end of a single value's interval."""

_WIDEST = math.log(100.0)
"""No interval is given whose ends differ by more than this factor."""

_MOST_SAMPLES = 1e12
_FARTHEST = 500.0
"""No ratio is given beyond the exponential of this, which no float is made for."""


@dataclass(frozen=True)
class PairedRatio:
    """The value of a first network over that of a second one.

    Attributes:
        ratio: on the population of which the samples are a part, as far as it can be estimated; None where one of the
            values is not positive.
        low: the lower end of its interval; None where none can be given.
        high: the upper end.
        climbing: whether a search was still climbing, so that a value is a lower bound alone.
        samples_needed: about how many samples would tell the two apart; None where they are told apart, or where no
            number is known.
    """

    ratio: float | None
    low: float | None = None
    high: float | None = None
    samples_needed: int | None = None
    climbing: bool = False

    @property
    def larger(self) -> bool | None:
        """Whether the first value is the larger one; None where the interval leaves that open."""
        if self.low is not None and self.low > 1:
            return True
        if self.high is not None and self.high < 1:
            return False
        return None


def paired_ratio(
    first: Measurement, second: Measurement, samples: int, available: int | None, rtol: float = 1e-3
) -> PairedRatio:
    """The ratio of two measurements by the same measure on the same batches.

    A search that was still climbing leaves a lower bound at an unknown distance, so there is no interval then.

    Args:
        first: of one network.
        second: of the other.
        samples: in all batches.
        available: in the data that they were drawn from; None where that is not known.
        rtol: what a search within its tolerance leaves, relative to the value.
    """
    statuses = {first.status, second.status}
    if min(first.value, second.value) <= 0 or Status.BELOW_RESOLUTION in statuses:
        return PairedRatio(None)
    measured = math.log(first.value) - math.log(second.value)
    estimates = [_on_population(one) for one in (first, second)]
    estimated = math.log(estimates[0]) - math.log(estimates[1]) if min(estimates) > 0 else measured
    computed = sum(map(_relative_error, (first, second)))
    computed += rtol * [first.status, second.status].count(Status.WITHIN_TOLERANCE)
    if max(abs(measured), abs(estimated)) > _FARTHEST:
        return PairedRatio(None)
    if Status.ITERATION_LIMIT in statuses:
        return PairedRatio(math.exp(estimated), climbing=True)
    fraction = samples / available if available else 0.0
    if fraction >= 1:
        return _within(measured, measured, computed)
    if len(first.by_batch) < 2 or len(first.by_batch) != len(second.by_batch):
        return PairedRatio(math.exp(estimated))
    spread = _paired_spread(first.by_batch, second.by_batch)
    batches = len(first.by_batch)
    error = _quantile(batches) * spread * math.sqrt((1 - fraction) / batches) + computed
    found = _within(estimated, measured, error)
    if found.larger is not None:
        return found
    needed = _samples_needed(abs(estimated) - computed, spread, batches, samples / batches, available)
    return PairedRatio(found.ratio, found.low, found.high, needed)


def _within(estimated: float, measured: float, error: float) -> PairedRatio:
    """The interval around both estimates of the logarithm."""
    low, high = min(estimated, measured) - error, max(estimated, measured) + error
    if not high - low <= _WIDEST:
        return PairedRatio(math.exp(estimated))
    return PairedRatio(math.exp(estimated), math.exp(low), math.exp(high))


def _on_population(measurement: Measurement) -> float:
    """The estimate for more samples, where there is one beside the value itself."""
    population = measurement.details.get("population")
    return float(population["value"]) if population else measurement.value


def _relative_error(measurement: Measurement) -> float:
    """What the computation of the value leaves open, relative to it; the choice of samples is not among it."""
    errors = measurement.uncertainty
    drawn = errors.sampling if measurement.status in {Status.SAMPLED, Status.BRACKETED} else None
    known = (errors.quadrature, errors.rounding, errors.bracket, drawn)
    return sum(abs(error) for error in known if error) / measurement.value


def _paired_spread(first: Sequence[float], second: Sequence[float]) -> float:
    """The standard deviation of what a batch adds to the logarithm of the ratio."""
    means = [sum(each) / len(each) for each in (first, second)]  # math.fsum fails where this overflows
    if not all(means):
        return math.inf
    parts = [a / means[0] - b / means[1] for a, b in zip(first, second, strict=True)]
    return stdev(parts) if all(map(math.isfinite, parts)) else math.inf


def _samples_needed(distance: float, spread: float, batches: int, batch: float, available: int | None) -> int | None:
    """The fewest samples, in more batches than there are, whose error is below the distance of the ratio from one.

    Args:
        distance: of the logarithm of the ratio from 0, without the errors of the computation.
        spread: the standard deviation of what a batch adds; it is taken to stay what it is.
        batches: that there are.
        batch: samples in each.
        available: in the data; None where that is not known.
    """
    if not distance > 0 or not math.isfinite(spread / distance):
        return None
    most = math.ceil((available or _MOST_SAMPLES) / batch)

    def decides(count: int) -> bool:
        left = max(0.0, 1 - count * batch / available) if available else 1.0
        return _quantile(count) * spread * math.sqrt(left / count) < distance

    if batches >= most or not decides(most):
        return available
    few, many = batches, most
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if decides(middle) else (middle, many)
    needed = math.ceil(many * batch)
    return min(needed, available) if available else needed


def _quantile(batches: int) -> float:
    """The half width of an interval in standard errors of a mean over batches."""
    return WIDENED * float(students_t.ppf((1 + CONFIDENCE) / 2, batches - 1))
