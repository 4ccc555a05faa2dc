"""What a decision says: the number, where it lies on all the data, the limit, and what would decide if that did not."""

from __future__ import annotations

import math
from collections.abc import Callable

from bnsharp_cli.errors import named
from bnsharp_cli.measurement.comparison.samples_needed import samples_until
from bnsharp_cli.measurement.decision.estimate import IntervalEstimate, SampleCount
from bnsharp_cli.measurement.decision.outcome import Limit, Outcome
from bnsharp_cli.measurement.measures.measurement import Status

Shown = Callable[[float], str]
"""How a number is written: plain, as a share, or as a change."""

_NEARLY_ALL = 0.9
"""From this share of the data on, all of it is advised."""

_DRAWS = {"noise": "noise_draws", "pac-bayes-sigma": "sigma_draws", "delta-lp": "ball_samples"}
"""The argument that says how many random draws a measure takes."""

_FIXED_SEARCH = frozenset({"keskar"})
"""Measures whose search no argument prolongs."""


def plain(number: float) -> str:
    """A number of any size.

    >>> plain(0.123456789)
    '0.123457'
    """
    return f"{number:.6g}"


def percent(number: float) -> str:
    """A number as a share.

    >>> percent(0.98765)
    '98.77%'
    """
    return f"{number:.2%}"


def signed(number: float) -> str:
    """A number as a difference.

    >>> signed(0.3)
    '+0.3'
    """
    return f"{number + 0.0:+.4g}"  # and not -0


def signed_percent(number: float) -> str:
    """A number as a relative change.

    >>> signed_percent(-0.015)
    '-1.5%'
    """
    return f"{100 * number + 0.0:+.3g}%"  # and not -0


def sentence_of(
    estimate: IntervalEstimate, limit: Limit, samples: SampleCount, measure: str, shown: Shown = plain, what: str = ""
) -> str:
    """One sentence on a decision; arguments in it are marked.

    Args:
        estimate: the number.
        limit: what it may be.
        samples: how many were measured.
        measure: its name, by which a remedy is found.
        shown: how numbers are written.
        what: further figures behind the number.
    """
    allowed = f"{'at most' if limit.upper else 'at least'} {shown(limit.amount)} allowed"
    said = f"{_number(estimate, samples, shown, what)}, {allowed}"
    if limit.outcome(estimate) is not Outcome.INCONCLUSIVE:
        return said
    return f"{said}: {remedy_of(estimate, limit, samples, measure)}"


def remedy_of(estimate: IntervalEstimate, limit: Limit, samples: SampleCount, measure: str) -> str:
    """What would decide; arguments are marked."""
    if math.isnan(estimate.value):
        return "one of the two is not positive, so there is no ratio: give an absolute limit, such as 0.1abs"
    if estimate.lower_bound is not None and limit.keeps(estimate.value):
        return _further_search(estimate.lower_bound, measure)
    if samples.of_test_data:
        needed = samples_needed(estimate, limit, samples)
        return f"{'more' if needed is None else f'about {_rounded_up(needed):,}'} test samples would decide"
    if not estimate.sampled:
        return f"what other samples would change is not known: {named('samples')} all would decide"
    distance = abs(estimate.value - limit.amount)
    if distance <= estimate.computed or (estimate.whole and not estimate.drawn):
        return f"its error is too large: {named('precision')} float64 or a larger {named('delta')} may decide"
    if (distance <= estimate.computed + estimate.drawn or estimate.whole) and measure in _DRAWS:
        return f"other random draws would change it: a larger {named(_DRAWS[measure])} may decide"
    needed = samples_needed(estimate, limit, samples)
    if needed is None or (samples.available is not None and needed >= _NEARLY_ALL * samples.available):
        return f"{named('samples')} all would decide"
    return f"about {_rounded_up(needed):,} samples would decide"


def samples_needed(estimate: IntervalEstimate, limit: Limit, samples: SampleCount) -> int | None:
    """How many samples bring the interval to one side of the limit, if they go on as these; None for all or more."""
    low, high = estimate.low, estimate.high
    if low is None or high is None:
        return None
    low, high, aim = _on_its_scale(estimate, low, high, limit.amount)
    distance, reach = abs((low + high) / 2 - aim), (high - low) / 2
    return samples_until(distance / reach, samples.measured, samples.available) if reach > 0 else None


def _rounded_up(number: int) -> int:
    """A number with two digits that is not smaller."""
    unit = int(10 ** max(0, len(str(number)) - 2))
    return -(-number // unit) * unit


def _on_its_scale(estimate: IntervalEstimate, low: float, high: float, aim: float) -> tuple[float, float, float]:
    """The ends and the limit as the interval was made: of a number, of its logarithm, or of that of a ratio."""
    if not estimate.logarithmic:
        return low, high, aim
    one = 1.0 if estimate.paired is not None else 0.0  # a change is a ratio minus one
    if min(low, aim) + one <= 0:
        return low, high, aim
    return math.log(low + one), math.log(high + one), math.log(aim + one)


def _number(estimate: IntervalEstimate, samples: SampleCount, shown: Shown, what: str) -> str:
    number = ("unknown" if math.isnan(estimate.value) else shown(estimate.value)) + (f" {what}" if what else "")
    shorter = _shorter if shown is plain else shown
    if estimate.low is not None and estimate.high is not None and shorter(estimate.low) == shorter(estimate.high):
        return number
    ends = _ends(estimate, shorter)
    if estimate.whole:
        return f"{number} ({ends})"
    here = "on the test data" if samples.of_test_data else "on these samples"
    where = "on fresh data" if samples.available is None else "on the whole split"
    unpaired = " (unpaired)" if estimate.paired is False and estimate.sampled else ""
    return f"{number} {here}, {ends} {where}{unpaired}"


def _shorter(number: float) -> str:
    return f"{number:.4g}"


def _ends(estimate: IntervalEstimate, shown: Shown) -> str:
    low, high = estimate.low, estimate.high
    if low is None:
        return "unknown" if high is None else f"{shown(high)} or less"
    return f"{shown(low)} or more" if high is None else f"{shown(low)} … {shown(high)}"


def _further_search(status: Status, measure: str) -> str:
    if status is Status.AS_PRESCRIBED:
        return f"a lower bound, since its direction is prescribed: {named('search')} power may decide"
    if measure in _FIXED_SEARCH:
        return "a lower bound, since its search was still climbing, which no option prolongs: limit another measure"
    more = f"more {named('iterations')} or {named('restarts')}"
    return f"a lower bound, since its search was still climbing: {more} may decide"
