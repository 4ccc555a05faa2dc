"""The p-mean of |ΔL| along a segment: few losses, an interpolant through them, and an error that follows from it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import roots_jacobi

from bnsharp_cli.core.interpolants import Differences, Estimate, FloatArray, Losses, Piecewise, Polynomial

MAX_NODES = 12
"""Losses along one segment, by default: then the whole measure stays within 21 forwards."""

STABLE_NODES = 28
"""Up to so many a polynomial is stable."""

_FIRST_NODES = 4
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

    ΔL is as smooth as the loss, |ΔL|^p has a kink at every zero of ΔL; so the losses go into an interpolant I of ΔL,
    whose p-mean is summed on a fine grid at no cost, zeros wherever they lie. F^{1/p} is a norm of ΔL, so by
    Minkowski's inequality |F^{1/p} − ‖I‖| ≤ ‖ΔL − I‖. I is a polynomial, to which pairs of Leja points are added one
    by one. Where kinks keep that from converging, I becomes piecewise as soon as that has the smaller error, and the
    losses go where it misses them most.

    Args:
        differences: evaluates ΔL at a list of t; each t is asked for once.
        delta: half the length of the segment, positive.
        power: p ≥ 1, or ``math.inf``.
        rtol: wanted relative error of the value.
        max_nodes: no more losses than these, at least 5; a polynomial stops at ``STABLE_NODES``.
        known: ΔL at some t, from earlier evaluations. Of more than ``STABLE_NODES`` no polynomial is made, and the ends
            are added.
        slope: ΔL′(0) = ∇L · v, where it is known.
    """
    losses = Losses(differences, delta, known or {})
    if len(losses) > STABLE_NODES:
        losses.evaluate([end for end in (-1.0, 1.0) if end not in losses.fractions])
        piecewise = Piecewise(losses, power)
        best = _refined(piecewise, piecewise.estimate(), losses, rtol, max_nodes)
    else:
        best = _interpolated(losses, power, slope, rtol, max_nodes)
    return SegmentMean(best.value, best.error, losses.nodes())


def _interpolated(losses: Losses, power: float, slope: float | None, rtol: float, max_nodes: int) -> Estimate:
    """The estimate by a polynomial, or by a piecewise interpolant where that has the smaller error."""
    pairs = symmetric_pairs(power, losses.fractions)
    losses.evaluate([s for _ in range((_FIRST_NODES + 1 - len(losses)) // 2) for s in next(pairs)])
    polynomial, piecewise = Polynomial(losses, power, slope), Piecewise(losses, power)
    best = polynomial.estimate()
    while not best.within(rtol):
        capped = len(losses) + 2 > min(max_nodes, STABLE_NODES)
        rough = piecewise.estimate() if capped or not polynomial.converging else None
        if rough and rough.error < best.error:
            return _refined(piecewise, rough, losses, rtol, max_nodes)
        if capped:
            break
        losses.evaluate(next(pairs))
        best = polynomial.estimate()
    return best


def _refined(piecewise: Piecewise, estimate: Estimate, losses: Losses, rtol: float, max_nodes: int) -> Estimate:
    """The estimate by the piecewise interpolant, with more losses until it is accurate or ``max_nodes`` are used."""
    while not estimate.within(rtol) and len(losses) < max_nodes:
        losses.evaluate(piecewise.doubtful(min(2, max_nodes - len(losses))))
        estimate = piecewise.estimate()
    return estimate


def symmetric_pairs(power: float, known: Sequence[float]) -> Iterator[tuple[float, float]]:
    """Pairs ±s of new places: the node of the search's Gauss rule, the ends, then Leja points beside all others."""
    taken = {0.0, *map(abs, known)}
    first, _ = gradient_nodes(power, 2)
    for s in (round(float(first[-1]), 12), 1.0):
        if s not in taken:
            taken.add(s)
            yield -s, s
    while True:
        distances = np.prod([np.abs(_LEJA_CANDIDATES**2 - s * s) for s in taken], axis=0)
        s = float(_LEJA_CANDIDATES[distances.argmax()])
        taken.add(s)
        yield -s, s


def gradient_nodes(power: float, count: int) -> tuple[FloatArray, FloatArray]:
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
