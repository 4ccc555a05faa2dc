"""Search for the sharpest direction (Eq. 12), several searches side by side; the rules are in ``core.search_rules``.

A rule is a generator: it asks a question about the objective and is sent the answer. So the driver can collect the
questions of several searches and have them answered in one go.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from bnsharp_cli.core.point import Point
from bnsharp_cli.option_records import OptionRecord

if TYPE_CHECKING:
    from bnsharp_cli.core.spheres import Spheres

CONVERGED = 1e-4
"""The gap below which a search stops."""

CONTRACTION = 0.1
"""A power step leaves about this share of the gap before it, near a linear objective: ``benchmarks/search.py``."""

PATIENCE = 10
"""Steps over which a search must gain something."""


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


class Landscape(Protocol):
    """The loss around θ, for a rule that evaluates something of its own instead of F^{1/p}."""

    @property
    def spheres(self) -> Spheres:
        """The product of spheres φ(θ)."""

    @property
    def gradient(self) -> Point:
        """The gradient ∇L(θ) at the point."""

    @property
    def delta(self) -> float:
        """The radius δ of the segment."""

    @property
    def power(self) -> float:
        """The p of the p-mean."""

    def loss_gradient(self, direction: Point, step: float) -> Point:
        """∇L(θ + step · v)."""


@dataclass(frozen=True)
class Question:
    """A question of a search about the objective at u.

    Attributes:
        wanted: the ``value`` of F^{1/p}; its ``gradient`` in u with the value; or a function of the rule's own.
        coordinates: u.
    """

    wanted: Literal["value", "gradient"] | Callable[[Landscape, Point], Evaluation]
    coordinates: Point


class Objective(Protocol):
    """F^{1/p} of Definition 3.1 as a function of normalised coordinates u."""

    @property
    def spheres(self) -> Spheres:
        """The product of spheres φ(θ)."""

    def answers(self, questions: Sequence[Question]) -> list[Evaluation]:
        """One evaluation for each question."""


@dataclass(frozen=True)
class SearchState:
    """The state of a search between two steps.

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
        ahead: what is known at ``coordinates`` already.
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
    ahead: Evaluation | None = None

    def seen(self, evaluation: Evaluation) -> SearchState:
        """The state after ``coordinates`` were evaluated."""
        told = replace(self, values=(*self.values, evaluation.value), ahead=None)
        if evaluation.value <= self.best_value:
            return told
        return replace(
            told,
            best=self.coordinates,
            best_value=evaluation.value,
            changes=evaluation.changes,
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
        """The state after the gap at ``best`` was found to be ``gap``."""
        return replace(self, gap=gap, settled=gap <= CONVERGED)


Step = Generator[Question, Evaluation, SearchState]
"""One step of a search: it yields questions, is sent their answers, and returns the next state."""


class SearchRule(OptionRecord, ABC):
    """A rule that takes a search from one state to the next; its fields are its own options.

    A monotone rule answers with the best u that it saw, any other with its last u.

    Attributes:
        name: the rule's name among the options.
        summary: one line for a list of rules.
        iterations: the number of steps, unless the user gives another.
        restart_iterations: the same where there are several starts; None for ``iterations``.
        monotone: whether the answer is the best u, or the last.
        questions: how many values and how many gradients of F a step asks for at most.
        adaptive: whether the search ends once further steps no longer matter; not if the user gives a number of steps.
        finite_power_by: the equation by which p = ∞ has no meaning for it; empty where every p has.
        copy_dependence: why its answer differs between copies T_a(θ) of a network; empty where it does not.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    iterations: ClassVar[int]
    restart_iterations: ClassVar[int | None] = None
    monotone: ClassVar[bool]
    questions: ClassVar[tuple[int, int]] = (0, 1)
    adaptive: ClassVar[bool] = False
    finite_power_by: ClassVar[str] = ""
    copy_dependence: ClassVar[str] = ""

    @abstractmethod
    def step(self, state: SearchState, spheres: Spheres) -> Step:
        """From one state to the next."""


def search(
    rule: SearchRule,
    objective: Objective,
    starts: Iterable[Point],
    iterations: int,
    gap_tolerance: float = CONVERGED,
    least_gain: float = 0.0,
) -> list[SearchState]:
    """Run ``rule`` from each of ``starts``, side by side.

    A monotone rule answers with the best u that it saw, any other with its last u. The last u is evaluated too, unless
    the search settled before.

    Args:
        rule: takes a search from one state to the next.
        objective: answers the questions of the rule.
        starts: u, one for each search.
        iterations: the largest number of steps.
        gap_tolerance: a monotone rule takes its last step where the gap is at most this.
        least_gain: a monotone rule stops when ``PATIENCE`` steps gained no more than this share of the value.

    Returns:
        Where each search ended, in the order of the starts.
    """
    climbs = [
        _climb(rule, objective.spheres, SearchState(start, start), iterations, gap_tolerance, least_gain)
        for start in starts
    ]
    outcomes: dict[int, SearchState] = {}
    questions = {index: next(climb) for index, climb in enumerate(climbs)}
    while questions:
        questions = _next_questions(climbs, [*questions], objective.answers([*questions.values()]), outcomes)
    return [outcomes[index] for index in range(len(climbs))]


def _next_questions(
    climbs: Sequence[Step], asking: Sequence[int], answers: list[Evaluation], outcomes: dict[int, SearchState]
) -> dict[int, Question]:
    """Send each search in ``asking`` its answer and collect its next question, or its outcome where it ends.

    Each answer is freed once it is sent.
    """
    questions = {}
    answers.reverse()
    for index in asking:
        try:
            questions[index] = climbs[index].send(answers.pop())
        except StopIteration as end:
            outcomes[index] = end.value
    return questions


def _climb(
    rule: SearchRule, spheres: Spheres, state: SearchState, iterations: int, gap_tolerance: float, least_gain: float
) -> Step:
    """One search from start to end; it asks at least one question."""
    for _ in range(iterations):
        state = yield from rule.step(state, spheres)
        if rule.monotone and (state.gap <= gap_tolerance or _stalled(state.values, least_gain)):
            break
    if state.settled:
        return state
    return state.seen(state.ahead or (yield Question("value", state.coordinates)))


def _stalled(values: tuple[float, ...], least_gain: float) -> bool:
    earlier = values[:-PATIENCE]
    return bool(earlier) and max(values) < (1 + least_gain) * max(earlier)
