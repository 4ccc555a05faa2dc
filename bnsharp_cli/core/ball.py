"""Balls and boxes of the classical sharpness: volume, sampling, projected ascent."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import Bounds, minimize
from scipy.special import gammaln

from bnsharp_cli.core.point import Point, add_scaled, inner_by_tensor, inner_products, norm, random_normal, scaled

_SETTLED = 1e-3

LossAndGradient = Callable[[Point], tuple[float, Point]]


def log_volume(dimension: int, radius: float) -> float:
    """Log V_n(δ) = (n/2) log π + n log δ − log Γ(n/2 + 1); V itself under- or overflows for any real network."""
    n = dimension
    return n / 2 * math.log(math.pi) + n * math.log(radius) - float(gammaln(n / 2 + 1))


def random_in_ball(like: Point, radius: float, generator: torch.Generator) -> Point:
    """A displacement uniform in the Euclidean ball: a Gaussian direction times δ U^{1/n}."""
    direction = random_normal(like, generator)
    dimension = sum(tensor.numel() for tensor in like.values())
    uniform = float(torch.rand((), generator=generator, dtype=torch.float64))
    factor = radius * uniform ** (1 / dimension) / inner_by_tensor(direction, direction).sum().sqrt()
    return {name: tensor.mul_(factor) for name, tensor in direction.items()}


@dataclass(frozen=True)
class BallMaximum:
    """The largest |ΔL| that an ascent met.

    Attributes:
        value: max |ΔL|.
        displacement: where, of norm at most the radius.
        values: |ΔL| after each iteration, the best so far.
        gap: 1 − ⟨± g, z⟩ / (δ ‖g‖) with the gradient g at the displacement z and the sign of ΔL; it vanishes where no
            other direction is steeper.
        settled: the last iteration gained less than one thousandth, and was not below the best by more than that.
    """

    value: float
    displacement: Point
    values: tuple[float, ...] = ()
    gap: float = 0.0
    settled: bool = False

    def seen(self, change: float, displacement: Point, gap: float = 0.0) -> BallMaximum:
        """The maximum after ``change`` was met at ``displacement``; ``gap`` is zero where no search found it."""
        if abs(change) <= self.value:
            return self
        return replace(self, value=abs(change), displacement=displacement, gap=gap)


def ascend_on_sphere(
    evaluate: LossAndGradient, theta: Point, loss: float, start: Point, radius: float, iterations: int
) -> BallMaximum:
    """Largest |ΔL| on the sphere of radius δ by w ← ± ∇L(θ + δw)/‖∇L(θ + δw)‖, the sign being that of ΔL.

    On a quadratic this is the power method for the eigenvalue of largest modulus. The best point is kept, so the
    answer never falls from one iteration to the next.
    """
    best = BallMaximum(0.0, scaled(start, 0.0))
    direction, length = start, norm(start)
    history: list[float] = []
    latest = 0.0
    for _ in range(iterations):
        displacement = scaled(direction, radius / length)
        value, gradient = evaluate(add_scaled(theta, displacement, 1.0))
        direction = scaled(gradient, math.copysign(1.0, value - loss))
        rise, square = inner_products((direction, displacement), (gradient, gradient))
        length = math.sqrt(square)
        steep, steepest = 0 < length < math.inf, radius * length
        gap = 1 - rise / steepest if steep and steepest else 0.0
        best = best.seen(value - loss, displacement, gap)
        history.append(best.value)
        latest = abs(value - loss)
        if not steep or not math.isfinite(value):
            break
    gained = history[-1] - history[-2] if len(history) > 1 else math.inf
    settled = gained <= _SETTLED * best.value and best.value - latest <= _SETTLED * best.value
    return replace(best, values=tuple(history), settled=settled)


@dataclass(frozen=True)
class BoxMaximum:
    """The largest loss that a solver met in a box.

    Attributes:
        loss: the largest.
        displacement: where, in the box.
        gap: 1 − ⟨g, z⟩ / Σ_i |g_i| b_i with the gradient g at the displacement z and the bounds b; it vanishes at the
            corner that g points to.
        evaluations: of loss and gradient.
        converged: the solver says so, and it is the point at which it ended.
    """

    loss: float
    displacement: Point
    gap: float
    evaluations: int
    converged: bool


def maximise_in_box(evaluate: LossAndGradient, theta: Point, epsilon: float, iterations: int) -> BoxMaximum:
    """Max L(θ + z) over the box |z_i| ≤ ε(|θ_i| + 1) by scipy's L-BFGS-B, from z = 0 (Keskar et al. 2017).

    The solver sees the box as [−1, 1]^n and the loss in units in which its slopes at θ have a root mean square of one.
    Its first step is as long as the slope, so it reaches the corner. (In units of the whole increase that the gradient
    promises, its steps were tiny, and rounding decided how far it came.) Its absolute tolerances treat a loss of 1e-9
    like one of 1. The corner that the gradient at θ points to, where a linear loss is largest, is evaluated too.

    Args:
        evaluate: L and its gradient at a point.
        theta: θ.
        epsilon: ε.
        iterations: the largest number of steps of the solver.
    """
    box = _Box(evaluate, theta, epsilon)
    box.negative_loss(np.sign(box.first_slopes))
    result = minimize(
        box.negative_loss,
        np.zeros_like(box.bound),
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(-np.ones_like(box.bound), np.ones_like(box.bound)),
        options={"maxiter": iterations},
    )
    ended = math.isclose(box.loss - box.unit * float(result.fun), box.best.loss, rel_tol=1e-9)
    return replace(box.best, converged=bool(result.success) and ended)


class _Box:
    """The box as a solver sees it, and the best point at which the solver has been.

    Attributes:
        bound: half the length of each edge.
        loss: L(θ).
        first_slopes: of the loss at θ, per unit of the solver.
        unit: the root mean square of ``first_slopes``.
        best: the largest loss so far.
    """

    def __init__(self, evaluate: LossAndGradient, theta: Point, epsilon: float) -> None:
        self._evaluate, self._theta = evaluate, theta
        self._shapes = {name: tensor.shape for name, tensor in theta.items()}
        self._device = next(iter(theta.values())).device
        flat = _flatten(theta)
        self.bound = epsilon * (np.abs(flat) + 1)
        self.loss, gradient = evaluate(theta)
        self.first_slopes = _flatten(gradient) * self.bound
        self.unit = float(np.linalg.norm(self.first_slopes)) / math.sqrt(len(flat)) or 1.0
        self.best = BoxMaximum(self.loss, scaled(theta, 0.0), 0.0, 1, False)

    def negative_loss(self, x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """−(L(θ + z) − L(θ)) and its slopes at z = bound · x, in units of the solver."""
        displacement = self._displacement(x)
        reached, slopes = self.loss, self.first_slopes
        if x.any():
            reached, gradient = self._evaluate(add_scaled(self._theta, displacement, 1.0))
            slopes = _flatten(gradient) * self.bound
            self.best = replace(self.best, evaluations=self.best.evaluations + 1)
        self._remember(reached, slopes, x, displacement)
        return (self.loss - reached) / self.unit, -slopes / self.unit

    def _remember(self, reached: float, slopes: NDArray[np.float64], x: NDArray[np.float64], z: Point) -> None:
        """Keep the point if its loss is the largest so far, or not finite."""
        if reached > self.best.loss or not math.isfinite(reached):
            with np.errstate(invalid="ignore"):  # the gap of a loss that is not finite is not used
                gap = 1 - float(slopes @ x) / (float(np.abs(slopes).sum()) or 1.0)
            self.best = replace(self.best, loss=reached, displacement=z, gap=gap)

    def _displacement(self, x: NDArray[np.float64]) -> Point:
        """Z = bound · x, tensor by tensor."""
        flat = torch.from_numpy(self.bound * x).to(self._device)
        parts = torch.split(flat, [math.prod(shape) for shape in self._shapes.values()])
        return {name: part.reshape(shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)}


def _flatten(point: Point) -> NDArray[np.float64]:
    flat: NDArray[np.float64] = torch.cat([tensor.reshape(-1) for tensor in point.values()]).cpu().numpy()
    return flat
