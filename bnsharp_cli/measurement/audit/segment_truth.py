"""F(v)^{1/p} along one direction from many losses, by quadratures that the measures do not use."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from statistics import median
from typing import NamedTuple

import numpy as np
from scipy.integrate import quad
from scipy.optimize import brentq

Changes = Callable[[float], float]
"""ΔL as a function of t."""

MOST_LOSSES = 700
"""More than :func:`true_mean` ever takes."""

_GRID = np.linspace(-1.0, 1.0, 33)
_MOST_PLACES, _BISECTIONS = 4, 8
_KINK = 8.0
"""A second difference of the grid that is so many times the usual one is a kink."""

_ACCURACY = (1e-13, 1e-2)
"""The best relative accuracy that is asked of ``quad``, and the worst."""

_SHARE = 0.1
_FINEST = 1e-4


class SegmentTruth(NamedTuple):
    """F^{1/p} along a segment.

    Attributes:
        value: F^{1/p}.
        error: how far it may be off, by its own estimate.
        losses: how many it took.
    """

    value: float
    error: float
    losses: int


def true_mean(changes: Changes, delta: float, power: float, wanted: float) -> SegmentTruth:
    """F^{1/p} by ``scipy.integrate.quad`` over losses; for p = ∞ the largest |ΔL|/δ of a grid and between its points.

    A grid finds where ΔL changes its sign and where its slope jumps; ``quad`` takes these places as ``points``.

    Args:
        changes: evaluates ΔL.
        delta: half the length of the segment.
        power: p ≥ 1 or ∞.
        wanted: the absolute error below which the value is precise enough.
    """
    known = cache(changes)

    def at(s: float) -> float:
        return known(delta * float(s))

    grid = [at(s) for s in _GRID]
    scale = max(map(abs, grid))
    if not scale:
        return SegmentTruth(0.0, 0.0, known.cache_info().misses)
    value, error = _highest(at, grid) if math.isinf(power) else _integrated(at, grid, scale, power, wanted * delta)
    return SegmentTruth(value / delta, error / delta, known.cache_info().misses)


def gauss_mean(changes: Changes, delta: float, power: float, nodes: int) -> float:
    """F^{1/p} by a plain Gauss-Legendre rule, with which two ways to compute losses can be compared."""
    places, weights = np.polynomial.legendre.leggauss(nodes)
    sizes = np.abs([changes(delta * float(s)) for s in places]) / delta
    largest = float(sizes.max())
    if math.isinf(power) or not largest:
        return largest
    return float(largest * (weights @ (sizes / largest) ** power) ** (1 / power))


def _integrated(at: Changes, grid: Sequence[float], scale: float, power: float, wanted: float) -> tuple[float, float]:
    """F^{1/p} δ and its error, from ∫|ΔL(δs)|^p ds over [−1, 1], which is kept in units of the largest ΔL."""
    points = _places(at, grid)
    rough = float(np.mean((np.abs(grid) / scale) ** power) * 2)
    accuracy = _SHARE * power * wanted / (scale * rough ** (1 / power))
    smallest, largest = _ACCURACY
    total, error, *_ = quad(
        lambda s: abs(at(s) / scale) ** power,
        -1.0,
        1.0,
        points=points,
        limit=len(points) + 1 + _BISECTIONS,
        epsabs=0.0,
        epsrel=min(largest, max(smallest, accuracy)),
        full_output=1,
    )
    value = scale * total ** (1 / power)
    return value, scale * (total + error) ** (1 / power) - value


def _highest(at: Changes, grid: Sequence[float]) -> tuple[float, float]:
    """The largest |ΔL| near the highest point of the grid, and what looking between its points added."""
    coarse = max(map(abs, grid))
    middle = int(np.argmax(np.abs(grid)))
    low, high = _GRID[max(0, middle - 1)], _GRID[min(len(grid) - 1, middle + 1)]
    while high - low > _FINEST:
        step = (high - low) / 3
        ahead = abs(at(low + step)) < abs(at(high - step))
        low, high = (low + step, high) if ahead else (low, high - step)
    return max(coarse, abs(at((low + high) / 2))), 0.0


def _places(at: Changes, grid: Sequence[float]) -> list[float]:
    """Places at which |ΔL|^p may have a kink: θ, zeros of ΔL, and jumps of its slope."""
    zeros = [
        float(brentq(at, a, b, xtol=1e-6))
        for (a, b, here, there) in zip(_GRID, _GRID[1:], grid, grid[1:], strict=False)
        if here * there < 0
    ]
    bends = np.abs(np.diff(grid, 2))
    usual = median(bends.tolist())
    jumps = [float(_GRID[1 + index]) for index in np.argsort(-bends) if bends[index] > _KINK * usual > 0]
    return sorted({0.0, *zeros[:_MOST_PLACES], *jumps[:_MOST_PLACES]})
