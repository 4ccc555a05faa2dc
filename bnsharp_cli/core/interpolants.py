"""ΔL along a segment from a few losses: one polynomial where it is smooth, a piecewise cubic where it is not."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import KroghInterpolator, PchipInterpolator

Differences = Callable[[Sequence[float]], Sequence[float]]
"""From parameters t to ΔL(t) = L(θ + tv) − L(θ)."""

FloatArray = NDArray[np.float64]

_GRID, _COARSE_GRID = (
    np.concatenate([[-1.0], (2 * np.arange(cells) + 1) / cells - 1, [1.0]]) for cells in (16384, 1024)
)
"""Ends and midpoints of equal cells: for values, and for errors."""

_SUMMATION = 2e-6
"""Relative error of the sum on the fine grid."""

_CAUTION, _BEFORE, _LEFT_OUT = 1.25, 0.25, 0.75
"""Of the last change of a polynomial, of the one before it, and of what leaving a loss out changes: with these the
errors hold on segments of networks with kinks, see ``benchmarks/quadrature.py``."""

_FALL = 0.25
"""A pair of losses changes a polynomial that converges by less than this share of what the pair before did."""

_HIGHEST = 100.0
"""The power by which places are ranked at most: the highest is all that counts then."""


class Estimate(NamedTuple):
    """The p-mean of an interpolant of ΔL, and an estimate of its distance from the p-mean of ΔL."""

    value: float
    error: float

    def within(self, rtol: float) -> bool:
        """Whether to stop adding losses: the error is small enough, or the value is not finite."""
        return self.error <= rtol * self.value or not math.isfinite(self.value)


class Losses:
    """ΔL/δ at fractions s = t/δ, each evaluated once. They keep their order of evaluation; s = 0 is the first."""

    def __init__(self, differences: Differences, delta: float, known: Mapping[float, float]) -> None:
        self._differences, self._delta = differences, delta
        self._changes = {0.0: 0.0, **{round(t / delta, 12): change for t, change in known.items()}}

    def __len__(self) -> int:
        """The number of losses, without s = 0."""
        return len(self._changes) - 1

    @property
    def fractions(self) -> list[float]:
        """Every s, in the order of evaluation."""
        return list(self._changes)

    def at(self, fractions: Sequence[float]) -> list[float]:
        """ΔL/δ at known fractions."""
        return [self._changes[s] / self._delta for s in fractions]

    def evaluate(self, fractions: Sequence[float]) -> None:
        """Evaluate and store ΔL at each fraction."""
        values = self._differences([self._delta * s for s in fractions]) if fractions else []
        self._changes.update(zip(fractions, map(float, values), strict=True))

    def mean(self, curve: FloatArray, power: float) -> float:
        """The p-mean of a curve through the losses on the fine grid; for p = ∞ the losses themselves count too."""
        value = curve_norm(curve, power)
        return max(value, *map(abs, self.at(self.fractions))) if math.isinf(power) else value

    def nodes(self) -> tuple[tuple[float, float], ...]:
        """All losses as (t, ΔL), t increasing."""
        return tuple((self._delta * s, change) for s, change in sorted(self._changes.items()))


class Polynomial:
    """The polynomial through all losses and, where it is known, the slope at 0.

    Its error is what the last pair of losses changed. One pair can agree by accident, so the pair before counts too;
    for p < 2 the norm counts the middle of the segment more, and the weight of the pair before is 2 − p there.
    """

    def __init__(self, losses: Losses, power: float, slope: float | None) -> None:
        self._losses, self._power, self._slope = losses, power, slope
        self._curve = self._through(losses.fractions[:-2])
        self._before = self._changed = 0.0

    @property
    def converging(self) -> bool:
        """Whether the last pair of losses changed the curve much less than the pair before; True while unknown."""
        return self._before == 0 or self._changed < _FALL * self._before

    def estimate(self) -> Estimate:
        """The estimate after one more pair of losses."""
        coarse, self._curve = self._curve, self._through(self._losses.fractions)
        self._before, self._changed = self._changed, _CAUTION * curve_norm(self._curve - coarse, self._power)
        value, memory = self._losses.mean(self._curve, self._power), max(_BEFORE, 2 - self._power)
        return Estimate(value, max(self._changed, memory * self._before) + _SUMMATION * value)

    def _through(self, fractions: list[float]) -> FloatArray:
        values = self._losses.at(fractions)
        if self._slope is not None:
            fractions, values = [0.0, *fractions], [0.0, self._slope, *values[1:]]
        curve: FloatArray = KroghInterpolator(fractions, values)(_GRID)
        return curve


class Piecewise:
    """The monotone cubic through each pair of neighbours (Fritsch and Butland, 1984), which no kink far away disturbs.

    The distance of ΔL from the curve is estimated at every place by leaving out one loss at a time: it is a share of
    the largest change there. (Without a loss the others are half as dense, so that the error at a kink is twice as
    large.) The error of the p-mean is what raising or lowering |ΔL| by that distance changes.
    """

    def __init__(self, losses: Losses, power: float) -> None:
        self._losses, self._power = losses, power
        self._fractions = self._size = self._highest = np.zeros(0)

    def estimate(self) -> Estimate:
        """The estimate from all losses so far."""
        self._fractions = np.sort(self._losses.fractions)
        values = np.array(self._losses.at(self._fractions.tolist()))
        if not np.isfinite(values).all():
            return Estimate(math.nan, math.nan)
        curve = self._through(values, _COARSE_GRID)
        without = [self._through(values, _COARSE_GRID, left_out) for left_out in range(1, len(values) - 1)]
        doubt = max(_LEFT_OUT, 2 - self._power) * np.max(np.abs(np.array(without) - curve), axis=0)
        self._size, self._highest = np.abs(curve), np.abs(curve) + doubt
        lowest, middle, highest = (
            curve_norm(each, self._power) for each in (np.maximum(self._size - doubt, 0), self._size, self._highest)
        )
        value = self._losses.mean(self._through(values, _GRID), self._power)
        return Estimate(value, max(highest - middle, middle - lowest) + _SUMMATION * value)

    def doubtful(self, count: int) -> list[float]:
        """The midpoints of the intervals that contribute most to the last error."""
        power, largest = min(self._power, _HIGHEST), float(self._highest.max()) or 1.0
        shares = (self._highest / largest) ** power - (self._size / largest) ** power
        parts = np.bincount(np.searchsorted(self._fractions[1:-1], _COARSE_GRID), shares, len(self._fractions) - 1)
        middles = (self._fractions[1:] + self._fractions[:-1]) / 2
        return [float(middles[index]) for index in np.argsort(-parts, kind="stable")[:count]]

    def _through(self, values: FloatArray, grid: FloatArray, left_out: int | None = None) -> FloatArray:
        kept = np.arange(len(values)) != left_out
        curve: FloatArray = PchipInterpolator(self._fractions[kept], values[kept])(grid)
        return curve


def curve_norm(curve: FloatArray, power: float) -> float:
    """(∫_{−1}^{1} |curve|^p ds)^{1/p} by the midpoint rule; the largest for p = ∞."""
    sizes = np.abs(curve)
    largest = float(sizes.max())
    if math.isinf(power) or largest == 0 or not math.isfinite(largest):
        return largest
    inner = sizes[1:-1] / largest
    return float(largest * (2 * np.mean(inner**power)) ** (1 / power))
