r"""A number with the interval that it lies in on all the data, of which some samples were measured.

Three kinds of error are kept apart, because different things lower them: that of the computation, that of random draws,
and that of the choice of samples. For the last there is, in this order,

- none, where all samples were measured, or the measure asks none;
- the interval of the population that the measure itself states, if it states one;
- with numbers a_b of B batches whose mean is the value, :math:`e = t\, \sqrt{1 - f}\, \mathrm{sd}_b(a_b) / \sqrt{B}`
  for a fraction f of the data, t of Student and 95 %. The ends are 1.7 e away, as in ``comparison/paired_ratio.py``.
  Where no number is negative, e is relative to the value and counts in its logarithm, 1.3 e down and 3 e up: near
  interpolation few samples carry a loss, and draws without them do not know it (``benchmarks/limits.py``);
- the standard error that the measure states, times Gauss's quantile, 1.7 times down and 3 times up;
- else nothing is known, and both ends are open.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist, stdev

from scipy.stats import t as students_t

from bnsharp_cli.measurement.comparison.paired_ratio import WIDENED
from bnsharp_cli.measurement.measures.measurement import Measurement, Status
from bnsharp_cli.measurement.measures.population import CONFIDENCE
from bnsharp_cli.measurement.surface.cost import NO_PASSES

_DOWN, _UP = 1.3, 3.0
"""How far the ends of what is never negative are from the value in its logarithm, in units of Student's error."""

_LARGEST = 50.0
"""No end is farther from the value than by this power of e."""

_LOWER_BOUNDS = frozenset({Status.ITERATION_LIMIT, Status.AS_PRESCRIBED})
_DRAWN = frozenset({Status.SAMPLED, Status.BRACKETED})
"""Where the stated sampling error is that of random draws and not that of the samples."""

_GAUSS = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


@dataclass(frozen=True)
class IntervalEstimate:
    """A number and what it may be.

    Attributes:
        value: on the samples.
        low: the lower end on all the data; None where it is open.
        high: the upper end; None where it is open.
        computed: the absolute error of the computation, part of both ends.
        drawn: that of random draws.
        sampled: whether the error by the choice of samples is known.
        whole: whether there are no other samples to ask about.
        lower_bound: why the value is no more than a lower bound; None where it is more.
        logarithmic: whether the ends lie evenly around the value in its logarithm.
        paired: of a change: whether both networks were held against each other batch by batch; None of no change.
    """

    value: float
    low: float | None
    high: float | None
    computed: float = 0.0
    drawn: float = 0.0
    sampled: bool = True
    whole: bool = False
    lower_bound: Status | None = None
    logarithmic: bool = False
    paired: bool | None = None


@dataclass(frozen=True)
class SampleCount:
    """How many samples were measured.

    Attributes:
        measured: that many.
        available: of how many; None where that is not known.
        of_test_data: whether they are of test data, whose like is asked about on new data.
    """

    measured: int
    available: int | None = None
    of_test_data: bool = False

    @property
    def fraction(self) -> float:
        """The share of the data that was measured; 0 where that is not known."""
        return min(1.0, self.measured / self.available) if self.available else 0.0

    @property
    def whole(self) -> bool:
        """Whether all samples were measured."""
        return self.fraction == 1


def estimate_of(measurement: Measurement, samples: SampleCount, rtol: float = 1e-3) -> IntervalEstimate:
    """What a measurement says of all the data.

    Args:
        measurement: on some samples.
        samples: how many.
        rtol: what a search within its tolerance leaves, relative to the value.
    """
    value, status = measurement.value, measurement.status
    computed, drawn = computing_error(measurement), drawing_error(measurement)
    ends, logarithmic = _over_samples(measurement, samples)
    low, high = (None, None) if ends is None else ends
    gain = rtol * abs(value) if status is Status.WITHIN_TOLERANCE else 0.0
    bound = status if status in _LOWER_BOUNDS else None
    return IntervalEstimate(
        value=value,
        low=None if low is None else low - computed - drawn,
        high=None if high is None or bound is not None else high + computed + drawn + gain,
        computed=computed,
        drawn=drawn,
        sampled=ends is not None,
        whole=samples.whole or measurement.cost == NO_PASSES,
        lower_bound=bound,
        logarithmic=logarithmic,
    )


def share_estimate(share: float, samples: SampleCount) -> IntervalEstimate:
    """A share of all examples, such as the accuracy, by Wilson's interval with the correction for a finite population.

    >>> estimate = share_estimate(0.9, SampleCount(100))
    >>> round(estimate.low, 4), round(estimate.high, 4)
    (0.8256, 0.9448)
    """
    if samples.whole:
        return IntervalEstimate(share, share, share, whole=True)
    square = _GAUSS**2 * (1 - samples.fraction) / samples.measured
    middle = (share + square / 2) / (1 + square)
    reach = math.sqrt(square * share * (1 - share) + square**2 / 4) / (1 + square)
    low, high = (min(1.0, max(0.0, end)) for end in (middle - reach, middle + reach))
    return IntervalEstimate(share, min(low, share), max(high, share))  # at 0 and 1 but for rounding the ends


def computing_error(measurement: Measurement) -> float:
    """What quadrature, rounding and a search by halves leave open, absolutely."""
    errors = measurement.uncertainty
    return sum(abs(error) for error in (errors.quadrature, errors.rounding, errors.bracket) if error)


def drawing_error(measurement: Measurement) -> float:
    """What other random draws may change, at 95 %; none for measures without draws."""
    error = measurement.uncertainty.sampling
    if measurement.status not in _DRAWN or error is None:
        return 0.0
    draws = measurement.details.get("draws")
    return abs(error) * (float(students_t.ppf((1 + CONFIDENCE) / 2, draws - 1)) if draws and draws > 1 else _GAUSS)


def reach_of_batches(by_batch: tuple[float, ...], fraction: float) -> float:
    """Half the interval of a mean over batches, of which a fraction of all was measured."""
    return WIDENED * _error_of_batches(by_batch, fraction)


def _error_of_batches(by_batch: tuple[float, ...], fraction: float) -> float:
    """The same by Student, not widened."""
    quantile = float(students_t.ppf((1 + CONFIDENCE) / 2, len(by_batch) - 1))
    try:
        spread = stdev(by_batch) if all(map(math.isfinite, by_batch)) else math.inf
    except OverflowError:  # numbers of a stranger's document
        return math.inf
    return quantile * spread * math.sqrt((1 - fraction) / len(by_batch))


def _over_samples(measurement: Measurement, samples: SampleCount) -> tuple[tuple[float, float] | None, bool]:
    """The ends that the choice of samples alone leaves, None where it is not known; and whether in the logarithm."""
    value, error = measurement.value, measurement.uncertainty.sampling
    if samples.whole or measurement.cost == NO_PASSES:
        return (value, value), False
    population = measurement.details.get("population")
    if population is not None and population["low"] is not None and population["high"] is not None:
        return (population["low"], population["high"]), True
    if len(measurement.by_batch) > 1:
        own_error = _error_of_batches(measurement.by_batch, samples.fraction)
        positive = value > 0 and min(measurement.by_batch) >= 0
        ends = _logarithmic_ends(value, own_error) if positive else _ends(value, WIDENED * own_error)
        return ends, positive
    if error is not None and measurement.status not in _DRAWN and "population" not in measurement.details:
        own_error = _GAUSS * abs(error)
        return (value - WIDENED * own_error, value + _UP * own_error), False
    return None, False


def _ends(value: float, reach: float) -> tuple[float, float] | None:
    return (value - reach, value + reach) if math.isfinite(reach) else None


def _logarithmic_ends(value: float, error: float) -> tuple[float, float] | None:
    """The ends of what is never negative."""
    if not math.isfinite(error):
        return None
    down, up = (math.exp(min(_LARGEST, factor * error / value)) for factor in (_DOWN, _UP))
    return value / down, value * up
