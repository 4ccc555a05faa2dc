r"""How far a number is from that of a baseline, with the interval that this lies in on all the data.

Two networks on the same batches share what is hard in them, so the change is held against each batch: for a ratio as
``comparison/paired_ratio.py`` does, for a difference by the numbers a_b − b_b of the batches, for accuracies and gaps
as ``comparison/paired_difference.py`` does. Where a measure has no numbers of single batches the two intervals are put
together as if they were independent, which is wider (Newcombe 1998; Zou and Donner 2008 for ratios): with ends l and u

.. math:: a - b - \sqrt{(a - l_a)^2 + (u_b - b)^2} \;…\; a - b + \sqrt{(u_a - a)^2 + (b - l_b)^2}
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from bnsharp_cli.measurement.comparison.paired_difference import MeanPart, paired_difference
from bnsharp_cli.measurement.comparison.paired_ratio import paired_ratio
from bnsharp_cli.measurement.decision.estimate import IntervalEstimate, SampleCount, reach_of_batches
from bnsharp_cli.measurement.measures.measurement import Measurement, Status

Ends = tuple[float | None, float | None]


@dataclass(frozen=True)
class Quantity:
    """A number of one network.

    Attributes:
        measurement: with its numbers of the batches.
        estimate: what it says of all the data.
        parts: of what is a mean over groups of samples, or a sum of such means; else empty.
    """

    measurement: Measurement
    estimate: IntervalEstimate
    parts: tuple[MeanPart, ...] = ()

    @property
    def climbing(self) -> bool:
        """Whether the true value may be larger by an amount that is not known."""
        return self.estimate.lower_bound is not None


def relative_change(new: Quantity, old: Quantity, samples: SampleCount, rtol: float) -> IntervalEstimate:
    """The ratio of a number to that of the baseline, minus one.

    Args:
        new: of the network.
        old: of the baseline, on the same batches.
        samples: in these batches.
        rtol: what a search within its tolerance leaves, relative to the value.
    """
    if new.parts and old.parts and old.measurement.value > 0:
        return _share_of(absolute_change(new, old, samples, rtol), old)
    if min(new.measurement.value, old.measurement.value) <= 0:
        return IntervalEstimate(math.nan, None, None, sampled=False, whole=samples.whole)
    settled = [replace(one.measurement, status=_settled(one.measurement)) for one in (new, old)]
    found = paired_ratio(settled[0], settled[1], samples.measured, samples.available, rtol)
    paired = samples.whole or _have_batches(new, old)
    ends: Ends = (found.low, found.high) if paired else _unpaired(new, old, logarithmic=True)
    value = new.measurement.value / old.measurement.value - 1
    errors = [sum(each(one.estimate) / one.measurement.value for one in (new, old)) for each in (_computed, _drawn)]
    return _change(value, _less_one(ends), new, old, samples, (errors[0], errors[1]), paired, logarithmic=True)


def absolute_change(new: Quantity, old: Quantity, samples: SampleCount, rtol: float) -> IntervalEstimate:
    """A number minus that of the baseline; arguments as for :func:`relative_change`."""
    if new.parts and old.parts:
        return _of_parts(new, old)
    difference = new.measurement.value - old.measurement.value
    error = computed = sum(one.estimate.computed for one in (new, old))
    drawn = sum(one.estimate.drawn for one in (new, old))
    error += drawn + sum(
        rtol * abs(one.measurement.value) for one in (new, old) if one.measurement.status is Status.WITHIN_TOLERANCE
    )
    paired = samples.whole or _have_batches(new, old)
    if not paired:
        return _change(difference, _unpaired(new, old, logarithmic=False), new, old, samples, (computed, drawn))
    if not samples.whole:
        pairs = zip(new.measurement.by_batch, old.measurement.by_batch, strict=True)
        error += reach_of_batches(tuple(own - their for own, their in pairs), samples.fraction)
    estimates = (difference, _on_population(new.measurement) - _on_population(old.measurement))
    ends = (min(estimates) - error, max(estimates) + error) if math.isfinite(error) else (None, None)
    return _change(difference, ends, new, old, samples, (computed, drawn), paired=True)


def _change(
    value: float,
    ends: Ends,
    new: Quantity,
    old: Quantity,
    samples: SampleCount,
    errors: tuple[float, float],
    paired: bool = False,
    logarithmic: bool = False,
) -> IntervalEstimate:
    """The change, with the end open to which a search that was still climbing would move it.

    The errors are those of the computation and of random draws, which are part of the ends.
    """
    low, high = ends
    bound = next((one.estimate.lower_bound for one in (new, old) if one.climbing), None)
    return IntervalEstimate(
        value=value,
        low=None if old.climbing else low,
        high=None if new.climbing else high,
        computed=errors[0],
        drawn=errors[1],
        sampled=ends != (None, None),
        whole=samples.whole,
        lower_bound=bound,
        logarithmic=logarithmic,
        paired=paired,
    )


def _of_parts(new: Quantity, old: Quantity) -> IntervalEstimate:
    """The difference of two means over the same samples, or of two sums of such means."""
    found = paired_difference(new.parts, old.parts)
    whole = new.estimate.whole and old.estimate.whole
    return IntervalEstimate(
        value=new.measurement.value - old.measurement.value,
        low=found.low,
        high=found.high,
        sampled=found.low is not None,
        whole=whole,
        paired=True,
    )


def _share_of(change: IntervalEstimate, old: Quantity) -> IntervalEstimate:
    """A difference as a share of the baseline's number, of which that end is taken that makes the interval wider."""
    divisors = [end for end in (old.estimate.low, old.estimate.high) if end is not None and end > 0]
    if change.low is None or change.high is None or len(divisors) < 2:
        return replace(change, value=change.value / old.measurement.value, low=None, high=None, sampled=False)
    return replace(
        change,
        value=change.value / old.measurement.value,
        low=min(change.low / one for one in divisors),
        high=max(change.high / one for one in divisors),
    )


def difference(own: IntervalEstimate, other: IntervalEstimate) -> IntervalEstimate:
    """A number minus another one of other samples, both with known ends, or else with open ones."""
    value, whole = own.value - other.value, own.whole and other.whole
    ends = [one.low is not None and one.high is not None for one in (own, other)]
    if not all(ends):
        return IntervalEstimate(value, None, None, sampled=False, whole=whole)
    low, high = _apart(*((one.low or 0.0, one.value, one.high or 0.0) for one in (own, other)))
    return IntervalEstimate(value, low, high, whole=whole)


def unchanged(samples: SampleCount) -> IntervalEstimate:
    """The change between two networks with the same weights, on any data."""
    return IntervalEstimate(0.0, 0.0, 0.0, whole=samples.whole, paired=True)


def _computed(estimate: IntervalEstimate) -> float:
    return estimate.computed


def _drawn(estimate: IntervalEstimate) -> float:
    return estimate.drawn


def _settled(measurement: Measurement) -> Status:
    """A status that gives an interval; what a search that was climbing leaves open is seen to afterwards."""
    return Status.CONVERGED if measurement.status is Status.ITERATION_LIMIT else measurement.status


def _have_batches(new: Quantity, old: Quantity) -> bool:
    own, their = new.measurement.by_batch, old.measurement.by_batch
    return len(own) == len(their) and len(own) > 1


def _on_population(measurement: Measurement) -> float:
    population = measurement.details.get("population")
    return float(population["value"]) if population else measurement.value


def _unpaired(new: Quantity, old: Quantity, logarithmic: bool) -> Ends:
    """The ends of a − b, or of a/b, from those of each; None where one of them is not known."""
    own, their = _known_ends(new), _known_ends(old)
    if own is None or their is None or (logarithmic and min(*own, *their) <= 0):
        return None, None
    if logarithmic:
        low, high = _apart(*(tuple(map(math.log, each)) for each in (own, their)))
        return math.exp(low), math.exp(high)
    return _apart(own, their)


def _apart(own: tuple[float, ...], their: tuple[float, ...]) -> tuple[float, float]:
    """Square-and-add, from lower end, value and upper end of each."""
    (low, value, high), (their_low, their_value, their_high) = own, their
    middle = value - their_value
    below, above = math.hypot(value - low, their_high - their_value), math.hypot(high - value, their_value - their_low)
    return middle - below, middle + above


def _known_ends(one: Quantity) -> tuple[float, float, float] | None:
    """Lower end, value and upper end; that which a search leaves open is taken as far, and opened afterwards."""
    low, value, high = one.estimate.low, one.estimate.value, one.estimate.high
    if low is None:
        return None
    if high is None and one.climbing:
        high = 2 * value - low
    return None if high is None else (low, value, high)


def _less_one(ends: Ends) -> Ends:
    low, high = ends
    return (None if low is None else low - 1, None if high is None else high - 1)
