"""How much a value depends on its seed: on which samples are drawn, where searches start, and on random points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bnsharp_cli.measurement.measures.measurement import Measurement, Status
from bnsharp_cli.measurement.measures.measurements import Measurements


@dataclass(frozen=True)
class SeedSpread:
    """One measure at one radius of one network, measured with several seeds.

    Attributes:
        name: of the measure, as it was asked for.
        measured: with each seed; less than there are seeds where some have no value.

    >>> from bnsharp_cli import Cost, Measurement, Status, Uncertainty
    >>> own = {"cost": Cost(7, 3), "uncertainty": Uncertainty(), "status": Status.CONVERGED}
    >>> spread = SeedSpread("bn", tuple(Measurement("bn", value, **own) for value in (1.0, 2.0, 3.0)))
    >>> spread.mean, spread.deviation, spread.lowest, spread.highest
    (2.0, 1.0, 1.0, 3.0)
    """

    name: str
    measured: tuple[Measurement, ...]

    @property
    def delta(self) -> float | None:
        """The radius; None for a measure without."""
        radius: float | None = self.measured[0].details.get("delta")
        return radius

    @property
    def values(self) -> tuple[float, ...]:
        """The value of each seed; NaN for one that a stored result does not give."""
        return tuple(math.nan if one.value is None else one.value for one in self.measured)

    @property
    def status(self) -> Status:
        """How the values came about: the worst way of all seeds, or else that of the first."""
        statuses = [one.status for one in self.measured]
        return next((one for one in (Status.BELOW_RESOLUTION, Status.ITERATION_LIMIT) if one in statuses), statuses[0])

    @property
    def mean(self) -> float:
        """The mean over the seeds; NaN where some value is not finite."""
        return mean_of(self.values)

    @property
    def deviation(self) -> float | None:
        """The standard deviation of a single seed's value, (Σ (value − mean)² / (N − 1))^½; None for one seed."""
        return deviation_of(self.values)

    @property
    def lowest(self) -> float:
        """The smallest value."""
        return min(self.values) if _are_finite(self.values) else math.nan

    @property
    def highest(self) -> float:
        """The largest value."""
        return max(self.values) if _are_finite(self.values) else math.nan

    @property
    def largest_error(self) -> tuple[str, float] | None:
        """The largest error of a single seed's value, behind its kind; None where none is known."""
        known = [one.largest_error for one in self.measured if one.largest_error is not None]
        return max(known, key=lambda each: each[1], default=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, as in the JSON schema ``bnsharp/1``."""
        return {
            "delta": self.delta,
            "seeds": len(self.measured),
            "mean": self.mean,
            "deviation": self.deviation,
            "lowest": self.lowest,
            "highest": self.highest,
        }


def spreads_over_seeds(every: Sequence[Measurements]) -> list[SeedSpread]:
    """The spread of every measure at every radius.

    Args:
        every: what was measured with each seed, with the same options otherwise.
    """
    found: dict[tuple[str, int], list[Measurement]] = {}
    for measurements in every:
        for name, profile in measurements.profiles.items():
            for number, one in enumerate(profile):
                found.setdefault((name, number), []).append(one)
    return [SeedSpread(name, tuple(each)) for (name, _), each in found.items()]


def mean_of(values: Sequence[float]) -> float:
    """The mean of some numbers, without an overflow on the way; NaN where one is not finite.

    >>> mean_of([1e308, 1e308]), mean_of([math.inf, 1.0])
    (1e+308, nan)
    """
    if not _are_finite(values):
        return math.nan
    scale = _scale(values)
    return scale * (math.fsum(value / scale for value in values) / len(values))


def deviation_of(values: Sequence[float]) -> float | None:
    """The standard deviation of some numbers, with N − 1; None for fewer than two, NaN where one is not finite.

    >>> deviation_of([1e-300, 3e-300]) == 2**0.5 * 1e-300, deviation_of([1.0])
    (True, None)
    """
    if len(values) < 2:
        return None
    if not _are_finite(values):
        return math.nan
    scale = _scale(values)
    small = [value / scale for value in values]
    mean = math.fsum(small) / len(small)
    return scale * math.sqrt(math.fsum((value - mean) * (value - mean) for value in small) / (len(small) - 1))


def _are_finite(values: Sequence[float]) -> bool:
    return all(map(math.isfinite, values))


def _scale(values: Sequence[float]) -> float:
    """The largest size, by which numbers are divided so that no square of them is out of range."""
    return max(map(abs, values)) or 1.0
