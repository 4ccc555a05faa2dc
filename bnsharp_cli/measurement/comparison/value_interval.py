r"""The interval of one value of one network on more samples than were measured, as far as one is known.

It is that of ``population`` where the measure has one. Else it is Student's of the numbers of the batches, as a factor
where the value is positive, widened as that of a ratio is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import t as students_t

from bnsharp_cli.measurement.comparison.comparison import COMPARED_FIRST, Subject
from bnsharp_cli.measurement.comparison.paired_difference import MeanPart, paired_difference
from bnsharp_cli.measurement.comparison.paired_ratio import WIDENED, relative_error, relative_spread
from bnsharp_cli.measurement.measures.measurement import Measurement, Status
from bnsharp_cli.measurement.measures.population import CONFIDENCE

_WIDEST = math.log(100.0)


@dataclass(frozen=True)
class ValueInterval:
    """One value of one network.

    Attributes:
        measure: its name.
        delta: δ; None for a measure without.
        value: on the samples.
        low: the lower end of its interval; None where none is known.
        high: the upper end.
    """

    measure: str
    delta: float | None
    value: float
    low: float | None = None
    high: float | None = None


def value_intervals(subject: Subject) -> list[ValueInterval]:
    """Losses, accuracies and gaps of a network, then every measure at every radius."""
    known: dict[str, list[ValueInterval]] = {}
    for name, profile in subject.measured.profiles.items():
        known[name] = [_of_measurement(name, one, *subject.drawn(name)) for one in profile]
    for name, parts in subject.means.items():
        known[name] = [_of_parts(name, parts)]
    names = [
        *(name for name in COMPARED_FIRST if name in known),
        *(name for name in known if name not in COMPARED_FIRST),
    ]
    return [one for name in names for one in known[name]]


def _of_measurement(name: str, measured: Measurement, samples: int, available: int | None) -> ValueInterval:
    delta = measured.details.get("delta")
    low, high = _ends(measured, samples / available if available else 0.0)
    return ValueInterval(name, None if delta is None else float(delta), measured.value, low, high)


def _ends(measured: Measurement, fraction: float) -> tuple[float | None, float | None]:
    population = measured.details.get("population")
    if population and fraction < 1:
        return population["low"], population["high"]
    if not measured.value > 0 or measured.status in {Status.BELOW_RESOLUTION, Status.ITERATION_LIMIT}:
        return None, None
    error, batches = relative_error(measured), len(measured.by_batch)
    if fraction < 1:
        if batches < 2:
            return None, None
        quantile = float(students_t.ppf((1 + CONFIDENCE) / 2, batches - 1))
        spread = relative_spread(measured.by_batch)
        error += WIDENED * quantile * spread * math.sqrt((1 - fraction) / batches)
    if not 2 * error <= _WIDEST:
        return None, None
    return measured.value * math.exp(-error), measured.value * math.exp(error)


def _of_parts(name: str, parts: Sequence[MeanPart]) -> ValueInterval:
    nothing = [MeanPart((0.0,) * len(one.figures), one.sizes, one.fraction, one.sign, one.share) for one in parts]
    found = paired_difference(parts, nothing)
    low, high = found.low, found.high
    if low is not None and high is not None and len(parts) == 1:  # an accuracy, and no gap
        low, high = max(0.0, low), min(1.0, high)
    return ValueInterval(name, None, found.difference, low, high)
