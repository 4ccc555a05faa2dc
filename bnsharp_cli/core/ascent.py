"""Search for the sharpest direction (Eq. 12): one small class per rule; several searches go on side by side.

A rule asks for what it needs of the objective, and is told; so the questions of several searches can be answered in
one go.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Protocol

from bnsharp_cli.core.point import Point, add_scaled, inner, norm, scaled
from bnsharp_cli.core.spheres import Spheres

CONVERGED = 1e-4
"""The gap below which a search stops."""

CONTRACTION = 0.1
"""A power step leaves about this share of the gap before it, near a linear objective: ``benchmarks/search.py``."""

PATIENCE = 10
"""Steps over which a search must gain something."""

_ROUNDING_NOISE = 1e-13


@dataclass(frozen=True)
class Question:
    """What a search wants to know of the objective.

    Attributes:
        wanted: ``value`` of F^{1/p} at u, its ``gradient`` in u beside it, or Eq. (16) as ``printed``, in v.
        coordinates: u.
    """

    wanted: Literal["value", "gradient", "printed"]
    coordinates: Point


@dataclass(frozen=True)
class Evaluation:
    """F(r u)^{1/p} at one u.

    Attributes:
        value: by the objective's rule; NaN where it was not asked for.
        changes: ΔL at the rule's nodes t, for whoever integrates along the same direction.
        gradient: where it was asked for.
    """

    value: float = math.nan
    changes: Mapping[float, float] = field(default_factory=dict)
    gradient: Point = field(default_factory=dict)


class Objective(Protocol):
    """F^{1/p} of Definition 3.1 as a function of normalised coordinates u."""

    @property
    def spheres(self) -> Spheres:
        """φ(θ)."""

    def answers(self, questions: Sequence[Question]) -> list[Evaluation]:
        """One evaluation for each question."""


@dataclass(frozen=True)
class SearchState:
    """Where a search stands.

    Attributes:
        coordinates: the present u.
        best: the best u that was evaluated.
        best_value: its value; −∞ before the first evaluation.
        values: the value of every u that was evaluated, in order.
        changes: ΔL at the nodes along ``best``.
        gap: Σ_i (‖g_i‖ − ⟨u_i, g_i⟩) / Σ_i ‖g_i‖ where the gradient g in u was last evaluated; ∞ before. It vanishes
            exactly where every block's Riemannian gradient does and points uphill, and for a linear objective it is
            the relative gain that is left.
        settled: the gap is that of ``best`` and at most ``CONVERGED``.
        step: the last accepted step of a line search.
        target: where the gradient at ``best`` points to, for rules that may come back to it.
    """

    coordinates: Point
    best: Point
    best_value: float = -math.inf
    values: tuple[float, ...] = ()
    changes: Mapping[float, float] = field(default_factory=dict)
    gap: float = math.inf
    settled: bool = False
    step: float = 1.0
    target: Point | None = None

    def seen(self, evaluation: Evaluation) -> SearchState:
        """The state after ``coordinates`` were evaluated."""
        values = (*self.values, evaluation.value)
        if evaluation.value <= self.best_value:
            return replace(self, values=values)
        return replace(
            self,
            best=self.coordinates,
            best_value=evaluation.value,
            changes=evaluation.changes,
            values=values,
            settled=False,
        )

    def expected_gain(self) -> float:
        """What further steps would add to the best value: the gains so far, continued as a geometric series.

        After a single step they are taken to fall by ``CONTRACTION``.
        """
        if len(self.values) < 2 or self.values[-1] < self.best_value:
            return math.inf
        *earlier, before, last = self.values
        ratio = (last - before) / (before - earlier[-1]) if earlier and before > earlier[-1] else CONTRACTION
        return (last - before) * ratio / (1 - ratio) if ratio < 1 else math.inf

    def reached(self, gap: float) -> SearchState:
        """The state with the gap at ``best``."""
        return replace(self, gap=gap, settled=gap <= CONVERGED)


Step = Generator[Question, Evaluation, SearchState]
"""One step of a search: asks, is told, and returns the next state."""


class SearchRule(Protocol):
    """``monotone`` rules return the best u they saw, others the last."""

    @property
    def monotone(self) -> bool:
        """Whether the best u is the answer, or the last."""

    def step(self, state: SearchState, spheres: Spheres) -> Step:
        """From one state to the next."""


@dataclass(frozen=True)
class Gradient:
    """Eq. (6): the start itself, v_i along ∇_i L. No steps."""

    monotone: ClassVar[bool] = False

    def step(self, state: SearchState, spheres: Spheres) -> Step:
        """Stay."""
        del spheres
        return state
        yield


@dataclass(frozen=True)
class Power:
    """u_i ← ∇_{u_i}F / ‖∇_{u_i}F‖, the generalised power method (Journée et al., JMLR 2010), with a safeguard.

    For small δ F is a convex function of a linear form and the full step never loses. Where it does lose, the next
    try goes from the best u only a part of the way, halved at each failure and doubled at each success.
    """

    monotone: ClassVar[bool] = True

    def step(self, state: SearchState, spheres: Spheres) -> Step:
        """One gradient of F; then the whole way to its direction, or a part of it."""
        evaluation = yield Question("gradient", state.coordinates)
        tried, part = state.seen(evaluation), state.step / 2
        if evaluation.value > state.best_value:
            tried = tried.reached(_gap(spheres, state.coordinates, evaluation.gradient))
            target = spheres.normalise(evaluation.gradient, state.coordinates, _ROUNDING_NOISE)
            tried, part = replace(tried, target=target), min(1.0, 2 * state.step)
        return replace(tried, coordinates=self._towards(tried, spheres, part), step=part)

    @staticmethod
    def _towards(state: SearchState, spheres: Spheres, part: float) -> Point:
        target = state.target or state.best
        if part == 1:
            return target
        return spheres.normalise(add_scaled(scaled(state.best, 1 - part), target, part), target)


@dataclass(frozen=True)
class Ascent:
    """Riemannian gradient ascent on the product of spheres with Armijo's backtracking."""

    slope: float = 0.1
    factor: float = 0.5
    longest: float = 4.0
    trials: int = 12
    monotone: ClassVar[bool] = True

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
            trial = spheres.normalise(add_scaled(state.coordinates, direction, step), state.coordinates)
            tried = yield Question("value", trial)
            if tried.value >= evaluation.value + self.slope * step * length:
                return replace(state, coordinates=trial, step=step)
            step *= self.factor
        return replace(state, step=step)


@dataclass(frozen=True)
class Printed:
    """Eq. (16) and (17) as printed: a step in v, whose length belongs to the copy T_a(θ).

    Under T_a the direction scales by a and its gradient by 1/a, so the iterates differ from copy to copy, and the
    value after a fixed number of steps is not invariant.
    """

    step_size: float = 1.0
    monotone: ClassVar[bool] = False

    def step(self, state: SearchState, spheres: Spheres) -> Step:
        """v_i ← Retr_{v_i}(step · P_{v_i}(h2_i(θ, v)))."""
        printed = (yield Question("printed", state.coordinates)).gradient
        tangent = spheres.tangent(state.coordinates, printed)
        moved = add_scaled(spheres.to_direction(state.coordinates), tangent, self.step_size)
        return replace(state, coordinates=spheres.normalise(moved, state.coordinates))


RULES: dict[str, type[Gradient | Power | Ascent | Printed]] = {
    "gradient": Gradient,
    "power": Power,
    "ascent": Ascent,
    "paper": Printed,
}


def search(
    rule: SearchRule,
    objective: Objective,
    starts: Iterable[Point],
    iterations: int,
    enough: float = CONVERGED,
    least: float = 0.0,
) -> list[SearchState]:
    """Run ``rule`` from each of ``starts``, for at most ``iterations`` steps, side by side.

    A monotone rule stops after the step at which the gap is at most ``enough``, or when ``PATIENCE`` steps gained no
    more than the share ``least``, and answers with the best u it saw; the others answer with their last iterate.
    Unless the search settled, its last iterate is evaluated.
    """
    climbs = [_climb(rule, objective.spheres, SearchState(start, start), iterations, enough, least) for start in starts]
    outcomes: dict[int, SearchState] = {}
    questions = {index: next(climb) for index, climb in enumerate(climbs)}
    while questions:
        questions = _told(climbs, [*questions], objective.answers([*questions.values()]), outcomes)
    return [outcomes[index] for index in range(len(climbs))]


def _told(
    climbs: Sequence[Step], asking: Sequence[int], answers: list[Evaluation], outcomes: dict[int, SearchState]
) -> dict[int, Question]:
    """What those who asked want to know next; who asks nothing more has an outcome. Answers are let go one by one."""
    questions = {}
    answers.reverse()
    for index in asking:
        try:
            questions[index] = climbs[index].send(answers.pop())
        except StopIteration as end:
            outcomes[index] = end.value
    return questions


def _climb(
    rule: SearchRule, spheres: Spheres, state: SearchState, iterations: int, enough: float, least: float
) -> Step:
    """One search; it asks at least once."""
    for _ in range(iterations):
        state = yield from rule.step(state, spheres)
        if rule.monotone and (state.gap <= enough or _stalled(state.values, least)):
            break
    if state.settled:
        return state
    return state.seen((yield Question("value", state.coordinates)))


def _stalled(values: tuple[float, ...], least: float) -> bool:
    earlier = values[:-PATIENCE]
    return bool(earlier) and max(values) < (1 + least) * max(earlier)


def _gap(spheres: Spheres, coordinates: Point, gradient: Point) -> float:
    reachable = float(spheres.norms(gradient).sum())
    return 1 - inner(coordinates, gradient) / reachable if reachable > 0 else 0.0
