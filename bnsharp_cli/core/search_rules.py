"""The rules by which the sharpest direction is searched, Eq. (12), (16) and (17): one small class each.

A new rule is a class here and its entry in ``RULES``; the options, the commands and their help follow from the two.
Importing this module does not import torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from bnsharp_cli.core.ascent import Evaluation, Landscape, Question, SearchRule, SearchState, Step
from bnsharp_cli.core.point import Point, Vector, add_scaled, inner, norm, scaled
from bnsharp_cli.errors import named
from bnsharp_cli.option_records import option

if TYPE_CHECKING:
    from bnsharp_cli.core.spheres import Spheres

NEARLY_LINEAR = 0.1
"""The gap up to which a power step goes the whole way unseen."""

_ROUNDING_NOISE = 1e-13


@dataclass(frozen=True)
class Gradient(SearchRule):
    """Eq. (6): the start itself, v_i along ∇_i L. No steps."""

    name: ClassVar[str] = "gradient"
    summary: ClassVar[str] = "the gradient's direction, Eq. (6), without a search"
    iterations: ClassVar[int] = 0
    monotone: ClassVar[bool] = False
    questions: ClassVar[tuple[int, int]] = (0, 0)

    def step(self, state: SearchState, spheres: Spheres) -> Step:
        """Leave the state as it is."""
        del spheres
        return state
        yield


@dataclass(frozen=True)
class PowerMethod(SearchRule):
    """u_i ← ∇_{u_i}F / ‖∇_{u_i}F‖, the generalised power method (Journée et al., JMLR 2010), with a safeguard.

    For small δ F is a convex function of a linear form and the full step never loses. Far from linear it does: there
    one value at its end, beside value and slope at its beginning, tells by a parabola which part of it to take.
    Where that still loses, the next try goes from the best u half as far; each success doubles the part.
    """

    name: ClassVar[str] = "power"
    summary: ClassVar[str] = "the power method, with a safeguard"
    iterations: ClassVar[int] = 2
    restart_iterations: ClassVar[int] = 100
    monotone: ClassVar[bool] = True
    questions: ClassVar[tuple[int, int]] = (1, 1)
    adaptive: ClassVar[bool] = True

    def step(self, state: SearchState, spheres: Spheres) -> Step:
        """One gradient of F; then the whole way to its direction, or a part of it."""
        evaluation = yield Question("gradient", state.coordinates)
        if evaluation.value <= state.best_value:
            part = state.step / 2
            return replace(state.seen(evaluation), coordinates=self._towards(state, spheres, part), step=part)
        anchored = state.seen(evaluation).reached(_gap(spheres, state.coordinates, evaluation.gradient))
        target = spheres.normalise(evaluation.gradient, lambda: state.coordinates, _ROUNDING_NOISE)
        anchored = replace(anchored, target=target)
        part = min(1.0, 2 * state.step)
        trial = self._towards(anchored, spheres, part)
        if anchored.gap <= NEARLY_LINEAR and state.step == 1:
            return replace(anchored, coordinates=trial, step=part)
        chord = add_scaled(target, state.coordinates, -1.0)
        value, slope = evaluation.value, inner(evaluation.gradient, spheres.tangent(state.coordinates, chord))
        del evaluation, chord  # or they would live through the passes that answer the next question
        ahead = yield Question("value", trial)
        share = highest_of_parabola(value, part * slope, ahead.value)
        if share == 1:
            return replace(anchored, coordinates=trial, step=part, ahead=ahead)
        part *= share
        return replace(anchored, coordinates=self._towards(anchored, spheres, part), step=part)

    @staticmethod
    def _towards(state: SearchState, spheres: Spheres, part: float) -> Point:
        target = state.target or state.best
        if part == 1:
            return target
        return spheres.normalise(add_scaled(scaled(state.best, 1 - part), target, part), lambda: target)


@dataclass(frozen=True)
class Ascent(SearchRule):
    """Riemannian gradient ascent on the product of spheres with Armijo's backtracking."""

    name: ClassVar[str] = "ascent"
    summary: ClassVar[str] = "Riemannian gradient ascent with a line search"
    iterations: ClassVar[int] = 10
    monotone: ClassVar[bool] = True
    questions: ClassVar[tuple[int, int]] = (12, 1)
    slope: float = 0.1
    factor: float = 0.5
    longest: float = 4.0
    trials: int = 12

    def step(self, state: SearchState, spheres: Spheres) -> Step:
        """Shorten the step until the value grows by ``slope`` of what the gradient promises."""
        evaluation = yield Question("gradient", state.coordinates)
        state = state.seen(evaluation).reached(_gap(spheres, state.coordinates, evaluation.gradient))
        tangent = spheres.tangent(state.coordinates, evaluation.gradient)
        length = norm(tangent)
        if length == 0:
            return state
        direction = scaled(tangent, 1 / length)
        step = min(self.longest, state.step / self.factor)
        for _ in range(self.trials):
            trial = spheres.normalise(add_scaled(state.coordinates, direction, step), lambda: state.coordinates)
            tried = yield Question("value", trial)
            if tried.value >= evaluation.value + self.slope * step * length:
                return replace(state, coordinates=trial, step=step)
            step *= self.factor
        return replace(state, step=step)


@dataclass(frozen=True)
class PrintedRule(SearchRule):
    """Eq. (16) and (17) as printed: a step in v, whose length belongs to the copy T_a(θ).

    Under T_a the direction scales by a and its gradient by 1/a, so the iterates differ from copy to copy, and the
    value after a fixed number of steps is not invariant.
    """

    name: ClassVar[str] = "paper"
    summary: ClassVar[str] = "Eq. (16) and (17) as printed"
    iterations: ClassVar[int] = 5
    monotone: ClassVar[bool] = False
    finite_power_by: ClassVar[str] = "Eq. 16"
    copy_dependence: ClassVar[str] = (
        f"Eq. (17) as printed steps in v, whose length belongs to the copy; {named('search')} power is invariant."
    )
    step_size: float = option(
        1.0,
        f"Step of {named('search')} paper.",
        expected="a positive number",
        accept=lambda size: 0 < size < math.inf,
        example="For example 1.0.",
    )

    def step(self, state: SearchState, spheres: Spheres) -> Step:
        """v_i ← Retr_{v_i}(step · P_{v_i}(h2_i(θ, v)))."""
        printed = (yield Question(self._evaluated, state.coordinates)).gradient
        tangent = spheres.tangent(state.coordinates, printed)
        moved = add_scaled(spheres.to_direction(state.coordinates), tangent, self.step_size)
        return replace(state, coordinates=spheres.normalise(moved, lambda: state.coordinates))

    @staticmethod
    def _evaluated(landscape: Landscape, coordinates: Point) -> Evaluation:
        return Evaluation(gradient=equation_16(landscape, landscape.spheres.to_direction(coordinates)))


RULES: dict[str, type[SearchRule]] = {rule.name: rule for rule in (Gradient, PowerMethod, Ascent, PrintedRule)}
"""Every rule by its name."""


def equation_16(landscape: Landscape, direction: Point) -> Vector:
    """Eq. (16): p/(p+1) (∇L·v)^{p−1} [∇L(θ + rδv) + ∇L(θ − rδv)], r = (p+1)/(p+2), for every p > 1."""
    p = landscape.power
    slope = inner(landscape.gradient, direction)
    radius = (p + 1) / (p + 2) * landscape.delta
    ahead = landscape.loss_gradient(direction, radius)
    behind = landscape.loss_gradient(direction, -radius)
    factor = p / (p + 1) * math.copysign(abs(slope) ** (p - 1), slope)
    return scaled(add_scaled(ahead, behind, 1.0), factor)


def highest_of_parabola(value: float, slope: float, ahead: float) -> float:
    """The highest point in [0.1, 1] of the parabola with ``value`` and ``slope`` at 0 and the value ``ahead`` at 1."""
    bend = ahead - value - slope
    return min(1.0, max(0.1, -slope / (2 * bend))) if bend < 0 else 1.0


def _gap(spheres: Spheres, coordinates: Point, gradient: Point) -> float:
    reachable = float(spheres.norms(gradient).sum())
    return 1 - inner(coordinates, gradient) / reachable if reachable > 0 else 0.0
