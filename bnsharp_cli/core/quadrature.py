"""The p-mean of |ΔL| along a segment: few losses, one polynomial through them, and an error that follows from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import KroghInterpolator
from scipy.special import roots_jacobi

Differences = Callable[[Sequence[float]], Sequence[float]]
"""From parameters t to ΔL(t) = L(θ + tv) − L(θ)."""

Array = NDArray[np.float64]

MAX_NODES = 12
"""Losses along one segment, by default: then the whole measure stays within 21 forwards."""

STABLE_NODES = 28
"""Up to so many the polynomial is stable."""

_FIRST_NODES = 4
_CAUTION = 1.25
"""On networks with kinks the last change alone fell short of the error in 2 of 100 segments, by up to a quarter."""

_SUMMATION = 2e-6
"""Relative error of the sum on the fine grid."""

_GRID = np.concatenate([[-1.0], (np.arange(16384) + 0.5) / 8192 - 1, [1.0]])
_LEJA_CANDIDATES = np.linspace(0.0, 1.0, 1001)


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


def segment_mean(
    differences: Differences,
    delta: float,
    power: float,
    rtol: float = 1e-3,
    max_nodes: int = MAX_NODES,
    known: Mapping[float, float] | None = None,
    slope: float | None = None,
) -> SegmentMean:
    """The p-mean of |ΔL|/δ on [−δ, δ], by interpolating ΔL and not |ΔL|^p.

    ΔL is as smooth as the loss, |ΔL|^p has a kink at every zero of ΔL; so the losses go into a polynomial I through
    ΔL, whose p-mean is summed on a fine grid at no cost, zeros wherever they lie. Pairs of Leja points are added one
    by one. F^{1/p} is a norm of ΔL, so by Minkowski's inequality |F^{1/p} − ‖I‖| ≤ ‖ΔL − I‖; the error is the norm of
    what the last pair changed in I. For p < 2 the norm counts the middle of the segment more and one pair can agree
    by accident: there the pair before counts too, with the weight 2 − p.

    Args:
        differences: evaluates ΔL at a list of t; each t is asked for once.
        delta: half the length of the segment, positive.
        power: p ≥ 1, or ``math.inf``.
        rtol: wanted relative error of the value.
        max_nodes: stop after so many losses, whatever the error; at most ``STABLE_NODES``.
        known: ΔL at some t, from earlier evaluations.
        slope: ΔL′(0) = ∇L · v, where it is known.
    """
    segment = _Segment(differences, delta, power, slope, {0.0: 0.0})
    segment.known.update({round(t / delta, 12): change for t, change in (known or {}).items()})
    pairs = _pairs(power, segment.known)
    segment.evaluate([next(pairs) for _ in range((_FIRST_NODES + 2 - len(segment.known)) // 2)])
    coarse, fine = segment.interpolant(without=2), segment.interpolant()
    before = 0.0
    while True:
        changed = _CAUTION * segment.norm(fine - coarse)
        value = segment.norm(fine)
        error = max(changed, max(0.0, 2 - power) * before) + _SUMMATION * value
        if error <= rtol * value or len(segment.known) > max_nodes or not math.isfinite(value):
            return SegmentMean(value, error, segment.nodes())
        segment.evaluate([next(pairs)])
        coarse, fine, before = fine, segment.interpolant(), changed


@dataclass
class _Segment:
    """ΔL at fractions s = t/δ, evaluated once each, in the order in which they came."""

    differences: Differences
    delta: float
    power: float
    slope: float | None
    known: dict[float, float] = field(default_factory=dict)

    def evaluate(self, positive: Sequence[float]) -> None:
        """ΔL at ±s for every s."""
        fractions = [s for pair in positive for s in (-pair, pair)]
        if not fractions:
            return
        values = self.differences([self.delta * s for s in fractions])
        self.known.update(zip(fractions, map(float, values), strict=True))

    def interpolant(self, without: int = 0) -> Array:
        """The polynomial through ΔL/δ at all but the last known fractions, on the fine grid with both ends."""
        nodes = list(self.known)[: len(self.known) - without]
        values = [self.known[s] / self.delta for s in nodes]
        if self.slope is not None:
            nodes, values = [nodes[0], *nodes], [values[0], self.slope, *values[1:]]
        polynomial: Array = KroghInterpolator(nodes, values)(_GRID)
        return polynomial

    def norm(self, curve: Array) -> float:
        """(∫_{−1}^{1} |curve|^p ds)^{1/p} by the midpoint rule; the largest for p = ∞."""
        sizes = np.abs(curve)
        largest = float(sizes.max())
        if math.isinf(self.power) or largest == 0 or not math.isfinite(largest):
            return largest
        inner = sizes[1:-1] / largest
        return float(largest * (2 * np.mean(inner**self.power)) ** (1 / self.power))

    def nodes(self) -> tuple[tuple[float, float], ...]:
        """Everything evaluated, as (t, ΔL)."""
        return tuple((self.delta * s, change) for s, change in sorted(self.known.items()))


def _pairs(power: float, known: Mapping[float, float]) -> Iterator[float]:
    """Positive fractions: the node of the search's rule, the end, then Leja points of what there is, mirrored."""
    taken = {0.0, *(abs(s) for s in known)}
    first, _ = gradient_nodes(power, 2)
    for s in (round(float(first[-1]), 12), 1.0):
        if s not in taken:
            taken.add(s)
            yield s
    while True:
        distances = np.prod([np.abs(_LEJA_CANDIDATES**2 - s * s) for s in taken], axis=0)
        taken.add(float(_LEJA_CANDIDATES[distances.argmax()]))
        yield float(_LEJA_CANDIDATES[distances.argmax()])


def gradient_nodes(power: float, count: int) -> tuple[Array, Array]:
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
    half = weights / weights.sum() / (power + 1)
    return np.concatenate([-positive[::-1], positive]), np.concatenate([half[::-1], half])
