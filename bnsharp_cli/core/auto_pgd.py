"""Auto-PGD (Croce and Hein, ICML 2020, Algorithm 1): the largest loss in a ball, by an ascent with steps of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from bnsharp_cli.core.point import Point, Vector, add_scaled, inner, norm, numbers, random_normal, scaled

_MOMENTUM, _SUCCESSES = 0.75, 0.75
"""As published."""


class CoordinateBall(Protocol):
    """A ball around the origin, in coordinates in which it is one."""

    @property
    def radius(self) -> float:
        """How far it reaches."""

    def steepest(self, slope: Point) -> Vector:
        """The vector of norm 1 along which a linear function of this slope grows fastest; 0 for none."""

    def steepness(self, slope: Point) -> float:
        """How fast it grows there: the dual norm of the slope."""

    def project(self, vector: Vector) -> Vector:
        """The nearest point of the ball."""

    def random(self, like: Point, generator: torch.Generator) -> Vector:
        """A random start in the ball."""


@dataclass(frozen=True)
class EuclideanBall:
    """‖z‖₂ ≤ radius; random starts lie on its surface."""

    radius: float

    def steepest(self, slope: Point) -> Vector:
        """See :meth:`CoordinateBall.steepest`."""
        size = norm(slope)
        return scaled(slope, 1 / size if size else 0.0)

    def steepness(self, slope: Point) -> float:
        """The Euclidean norm ‖slope‖₂."""
        return norm(slope)

    def project(self, vector: Vector) -> Vector:
        """See :meth:`CoordinateBall.project`."""
        size = norm(vector)
        return vector if size <= self.radius else scaled(vector, self.radius / size)

    def random(self, like: Point, generator: torch.Generator) -> Vector:
        """See :meth:`CoordinateBall.random`."""
        direction = random_normal(like, generator)
        return scaled(direction, self.radius / norm(direction))


@dataclass(frozen=True)
class Cube:
    """max |z_j| ≤ radius; random starts are uniform in it."""

    radius: float

    def steepest(self, slope: Point) -> Vector:
        """See :meth:`CoordinateBall.steepest`."""
        return {name: tensor.sign() for name, tensor in slope.items()}

    def steepness(self, slope: Point) -> float:
        """The sum of moduli, ‖slope‖₁."""
        return math.fsum(numbers(tensor.abs().sum() for tensor in slope.values()))

    def project(self, vector: Vector) -> Vector:
        """See :meth:`CoordinateBall.project`."""
        return {name: tensor.clamp(-self.radius, self.radius) for name, tensor in vector.items()}

    def random(self, like: Point, generator: torch.Generator) -> Vector:
        """See :meth:`CoordinateBall.random`."""
        drawn = {
            name: torch.rand(tensor.shape, generator=generator, dtype=torch.float64) for name, tensor in like.items()
        }
        return {name: tensor.mul_(2).sub_(1).mul_(self.radius).to(like[name].device) for name, tensor in drawn.items()}


BALLS: dict[str, type[EuclideanBall | Cube]] = {"l2": EuclideanBall, "linf": Cube}
"""By the name of the norm."""


@dataclass(frozen=True)
class PgdMaximum:
    """The largest loss that an ascent met.

    Attributes:
        loss: the largest; that at the origin where no other is larger.
        coordinates: where.
        gap: 1 − ⟨slope, z⟩ / (radius · dual norm of the slope) there, which vanishes at the maximum of a linear
            function; ∞ where the slope is not known.
        history: the largest loss after each step.
    """

    loss: float
    coordinates: Vector
    gap: float
    history: tuple[float, ...]

    def gained_lately(self) -> float:
        """What the last quarter of the steps gained."""
        return self.loss - self.history[len(self.history) - max(1, len(self.history) // 4) - 1]


def auto_pgd(
    value: Callable[[Point], float],
    value_and_slope: Callable[[Point], tuple[float, Vector]],
    ball: CoordinateBall,
    start: Vector,
    at_origin: float,
    steps: int,
) -> PgdMaximum:
    """The largest loss that an ascent from ``start`` meets in ``ball``.

    The step is twice the radius at first. At checkpoints that come closer together it is halved, and the ascent goes
    on from the best point, if the loss rose in fewer than three quarters of the steps since the last one, or if neither
    the step nor the largest loss has changed. The loss of a new point comes with its slope, which the next step needs,
    so that a step takes one gradient; the last point needs none.

    Args:
        value: the loss at coordinates z.
        value_and_slope: the same with its gradient in z.
        ball: which z are allowed.
        start: one of them.
        at_origin: the loss at z = 0.
        steps: how many.
    """
    ascent = _Ascent(ball, start, *value_and_slope(start), at_origin)
    checkpoints = _checkpoints(steps)
    for step in range(1, steps + 1):
        ascent.move(step == 1)
        if step < steps:
            ascent.see(*value_and_slope(ascent.current))
        else:
            ascent.see(value(ascent.current), None)
        if not math.isfinite(ascent.latest):
            break
        if step in checkpoints:
            ascent.check(step)
    return ascent.maximum()


class _Ascent:
    """An ascent that is under way."""

    def __init__(self, ball: CoordinateBall, start: Vector, loss: float, slope: Vector, at_origin: float) -> None:
        self.current = self._previous = start
        self.latest = loss
        self._ball, self._slope, self._step = ball, slope, 2 * ball.radius
        self._best: tuple[float, Vector, Vector | None] = (at_origin, scaled(start, 0.0), None)
        self._remember(loss, slope)
        self._history = [self._best[0]]
        self._successes, self._checked = 0, 0
        self._before = (math.nan, math.nan)

    def move(self, first: bool) -> None:
        """To the next point: along the steepest direction, with momentum after the first step."""
        ahead = self._ball.project(add_scaled(self.current, self._ball.steepest(self._slope), self._step))
        if not first:
            drift = add_scaled(self.current, self._previous, -1.0)
            mixed = scaled(self.current, 1 - _MOMENTUM)
            mixed = add_scaled(add_scaled(mixed, ahead, _MOMENTUM), drift, 1 - _MOMENTUM)
            ahead = self._ball.project(mixed)
        self._previous, self.current = self.current, ahead

    def see(self, loss: float, slope: Vector | None) -> None:
        """Take the loss and the slope of the new point."""
        self._successes += loss > self.latest
        self.latest = loss
        if slope is not None:
            self._slope = slope
        self._remember(loss, slope)
        self._history.append(self._best[0])

    def check(self, step: int) -> None:
        """Halve the step and return to the best point, where the ascent is stuck."""
        largest, place, slope = self._best
        few = self._successes < _SUCCESSES * (step - self._checked)
        unchanged = self._before == (self._step, largest)
        self._before, self._successes, self._checked = (self._step, largest), 0, step
        if not few and not unchanged:
            return
        self._step /= 2
        if slope is not None:  # nothing is known of the slope at the origin
            self._slope, self.latest = slope, largest
            self._previous = self.current = place

    def maximum(self) -> PgdMaximum:
        """The largest loss so far, or one that is not finite."""
        loss, place, slope = self._best
        gap = math.inf
        if slope is not None:
            steepest = self._ball.radius * self._ball.steepness(slope)
            gap = 1 - inner(slope, place) / steepest if steepest else 0.0
        return PgdMaximum(loss if math.isfinite(self.latest) else self.latest, place, gap, tuple(self._history))

    def _remember(self, loss: float, slope: Vector | None) -> None:
        if loss > self._best[0]:
            self._best = loss, self.current, slope


def _checkpoints(steps: int) -> set[int]:
    """⌈p_j · steps⌉ with p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j − p_{j−1} − 0.03, 0.06)."""
    fractions = [0.0, 0.22]
    while fractions[-1] < 1:
        fractions.append(fractions[-1] + max(fractions[-1] - fractions[-2] - 0.03, 0.06))
    return {math.ceil(fraction * steps) for fraction in fractions[1:]}
