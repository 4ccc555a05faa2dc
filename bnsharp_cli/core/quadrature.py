"""Integrals of |ΔL|^p along a segment, with an estimate of their error."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import cubature
from scipy.optimize import brentq, minimize_scalar
from scipy.special import roots_jacobi

Differences = Callable[[Sequence[float]], Sequence[float]]
"""From parameters t to ΔL(t) = L(θ + tv) − L(θ)."""

_ZERO_TOLERANCE = 1e-3


@dataclass(frozen=True)
class SegmentMean:
    """F^{1/p} of Definition 3.1 along one segment.

    Attributes:
        value: (δ⁻¹ ∫_{−δ}^{δ} |ΔL(t)/δ|^p dt)^{1/p}; for p = ∞ max |ΔL(t)|/δ.
        error: the quadrature's own estimate of the error of ``value``.
        nodes: all (t, ΔL(t)) that were evaluated, t increasing, (0, 0) among them.
    """

    value: float
    error: float
    nodes: tuple[tuple[float, float], ...]


class _Remembered:
    """ΔL that is evaluated once per node: the two rules of a nested pair share their nodes."""

    def __init__(self, differences: Differences, delta: float) -> None:
        self._differences = differences
        self._delta = delta
        self._known: dict[float, float] = {0.0: 0.0}

    def __call__(self, fractions: NDArray[np.float64]) -> NDArray[np.float64]:
        """ΔL(δ s) for every s in [−1, 1]."""
        keys = [round(float(s), 12) for s in fractions]
        missing = [key for key in dict.fromkeys(keys) if key not in self._known]
        if missing:
            values = self._differences([self._delta * key for key in missing])
            self._known.update(zip(missing, map(float, values), strict=True))
        return np.array([self._known[key] for key in keys])

    def nodes(self) -> tuple[tuple[float, float], ...]:
        """Everything evaluated so far as (s, ΔL)."""
        return tuple(sorted(self._known.items()))


def segment_mean(
    differences: Differences, delta: float, power: float, rtol: float = 1e-3, max_subdivisions: int = 20
) -> SegmentMean:
    """The p-mean of |ΔL|/δ on [−δ, δ] by the adaptive Gauss-Kronrod pair (7, 15) of scipy.

    For even p the integrand is as smooth as L and the whole interval is one piece; otherwise it is split at the
    zeros of ΔL, where |·|^p has a kink: at t = 0 and wherever a sign change is found.

    Args:
        differences: evaluates ΔL at a list of t; each t is asked for once.
        delta: half the length of the segment, positive.
        power: p ≥ 1, or ``math.inf``.
        rtol: wanted relative error of the value.
        max_subdivisions: cap on the adaptive bisection.
    """
    remembered = _Remembered(differences, delta)
    if math.isinf(power):
        value, error = _largest(remembered)
        value, error = value / delta, error / delta
    else:
        value, error = _mean(remembered, delta, power, rtol, max_subdivisions)
    return SegmentMean(value, error, tuple((delta * s, change) for s, change in remembered.nodes()))


def _mean(
    remembered: _Remembered, delta: float, power: float, rtol: float, max_subdivisions: int
) -> tuple[float, float]:
    def integrand(s: NDArray[np.float64]) -> NDArray[np.float64]:
        powered: NDArray[np.float64] = np.abs(remembered(s[:, 0]) / delta) ** power
        return powered

    def integrate(splits: Sequence[float], subdivisions: int) -> tuple[float, float]:
        result = cubature(
            integrand,
            [-1.0],
            [1.0],
            rule="gk15",
            rtol=power * rtol,
            atol=0.0,
            points=[[s] for s in splits],
            max_subdivisions=subdivisions,
        )
        return float(result.estimate), float(result.error)

    splits: list[float] = []
    if power % 2 != 0:
        integrate([0.0], 0)
        splits = [0.0, *_sign_changes(remembered)]
    mean, error = integrate(splits, max_subdivisions)
    if mean <= 0:
        return 0.0, max(error, 0.0) ** (1 / power)
    value = mean ** (1 / power)
    return value, value * error / (power * mean)


def _sign_changes(remembered: _Remembered) -> list[float]:
    """Zeros of ΔL other than t = 0, each bracketed by two neighbouring nodes of one side."""
    nodes = remembered.nodes()
    zeros = []
    for (left, before), (right, after) in pairwise(nodes):
        if before * after < 0:
            zero = brentq(lambda s: float(remembered(np.array([s]))[0]), left, right, xtol=_ZERO_TOLERANCE)
            zeros.append(round(float(zero), 12))
    return zeros


def _largest(remembered: _Remembered) -> tuple[float, float]:
    """Max |ΔL| on the segment from 17 nodes, refined between the neighbours of the best inner one."""
    grid = np.cos(np.linspace(math.pi, 0.0, 17))
    values = np.abs(remembered(grid))
    best = int(values.argmax())
    if best in (0, len(grid) - 1):
        return float(values[best]), 0.0
    refined = minimize_scalar(
        lambda s: -abs(float(remembered(np.array([s]))[0])),
        bounds=(grid[best - 1], grid[best + 1]),
        method="bounded",
        options={"xatol": 1e-3},
    )
    largest = max(float(values[best]), -float(refined.fun))
    return largest, largest - float(values[best])


def gradient_nodes(power: float, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes s in (−1, 1) and weights of the Gauss rule for ∫_{−1}^{1} |s|^p h(s) ds, h smooth.

    Near a point with a gradient |ΔL|^p = |t|^p h(t) with h smooth for every p, so two nodes integrate it with an
    error of order δ². By s² = x it is a Gauss-Jacobi rule on [0, 1], symmetric in s. p = ∞ has its maximum at the
    ends: equal weights at ±1.

    Args:
        power: p ≥ 1 or ``math.inf``.
        count: an even number of nodes.
    """
    if math.isinf(power):
        ends = np.array([-1.0, 1.0])
        return ends, np.ones(2)
    x, weights = roots_jacobi(count // 2, 0.0, (power - 1) / 2)
    positive = np.sqrt((1 + x) / 2)
    half = weights / 2 ** ((power - 1) / 2 + 1) / 2
    return np.concatenate([-positive[::-1], positive]), np.concatenate([half[::-1], half])
