"""Search rules on an objective with a known supremum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
import torch

from bnsharp_cli.core.ascent import Evaluation, Question, SearchRule, SearchState, search
from bnsharp_cli.core.point import Point, norm
from bnsharp_cli.core.search_rules import (
    NEARLY_LINEAR,
    RULES,
    Ascent,
    Gradient,
    PowerMethod,
    PrintedRule,
    highest_of_parabola,
)
from bnsharp_cli.core.spheres import RowBlocks, Spheres

RADII = torch.tensor([0.5, 3.0, 1.0], dtype=torch.float64)
ROWS = {"w": RowBlocks(0, torch.tensor([0, 1])), "b": RowBlocks(0, torch.tensor([2, 2, 2]))}


@dataclass(frozen=True)
class Form:
    """⟨c, v⟩ + ½ vᵀ D v with a diagonal D."""

    spheres: Spheres
    slope: Point
    diagonal: Point
    delta: float = 1.0
    power: float = 1.0

    @property
    def gradient(self) -> Point:
        return self.slope

    def answers(self, questions: Sequence[Question]) -> list[Evaluation]:
        return [self.answer(question) for question in questions]

    def answer(self, question: Question) -> Evaluation:
        u = question.coordinates
        if callable(question.wanted):
            return question.wanted(self, u)
        return self.value(u) if question.wanted == "value" else self.value_and_gradient(u)

    def value(self, coordinates: Point) -> Evaluation:
        v = self.spheres.to_direction(coordinates)
        return Evaluation(sum(float((self.slope[k] * v[k] + self.diagonal[k] * v[k].square() / 2).sum()) for k in v))

    def value_and_gradient(self, coordinates: Point) -> Evaluation:
        v = self.spheres.to_direction(coordinates)
        gradient = self.spheres.to_coordinates_gradient(self.loss_gradient(v, 1.0))
        return Evaluation(self.value(coordinates).value, gradient=gradient)

    def loss_gradient(self, direction: Point, step: float) -> Point:
        """The form's own gradient on both sides: with p = 1 Eq. (16) is that."""
        return {k: self.slope[k] + self.diagonal[k] * direction[k] for k in direction}


def form(curvature: float, generator: torch.Generator, radii: torch.Tensor = RADII) -> Form:
    shapes = {"w": (2, 4), "b": (3,)}
    slope = {k: torch.randn(shape, generator=generator, dtype=torch.float64) for k, shape in shapes.items()}
    diagonal = {k: torch.full(shape, curvature, dtype=torch.float64) for k, shape in shapes.items()}
    return Form(Spheres(ROWS, radii), slope, diagonal)


def bent(curvature: float, generator: torch.Generator) -> Form:
    """A form whose curvature differs from parameter to parameter, so that it bends along the spheres."""
    straight = form(0.0, generator)
    diagonal = {
        k: curvature * torch.rand(c.shape, generator=generator, dtype=c.dtype) for k, c in straight.slope.items()
    }
    return Form(straight.spheres, straight.slope, diagonal)


def alone(rule: SearchRule, objective: Form, start: Point, *options: float) -> SearchState:
    """One search by itself."""
    (found,) = search(rule, objective, [start], *options)
    return found


@pytest.mark.parametrize("rule", [PowerMethod(), Ascent()])
@pytest.mark.parametrize("curvature", [0.0, 0.03, -0.03])
def test_linear_and_isotropic_forms_reach_their_supremum(
    rule: PowerMethod | Ascent, curvature: float, generator: torch.Generator
) -> None:
    """On a sphere an isotropic quadratic is constant, so the supremum is Σ r_i ‖c_i‖ + ½ D Σ r_i²."""
    objective = form(curvature, generator)
    start = objective.spheres.random(objective.slope, generator)
    found = alone(rule, objective, start, 500)
    expected = float((RADII * objective.spheres.norms(objective.slope)).sum() + curvature * RADII.square().sum() / 2)
    assert found.best_value == pytest.approx(expected, rel=1e-3)
    assert found.settled
    assert found.gap <= 1e-4


def test_power_survives_where_the_full_step_cycles(generator: torch.Generator) -> None:
    """With strong negative curvature u ← ∇/‖∇‖ jumps from side to side; the safeguard does not lose."""
    objective = form(-6.0, generator)
    start = objective.spheres.random(objective.slope, generator)
    found = alone(PowerMethod(), objective, start, 80)
    expected = float((RADII * objective.spheres.norms(objective.slope)).sum() - 3.0 * RADII.square().sum())
    assert found.best_value == pytest.approx(expected, abs=2e-2 * abs(expected))
    assert found.best_value >= max(found.values[:2])


@dataclass(frozen=True)
class Listening:
    """Another objective, and what was asked of it."""

    form: Form
    asked: list[Question] = field(default_factory=list)

    @property
    def spheres(self) -> Spheres:
        return self.form.spheres

    def answers(self, questions: Sequence[Question]) -> list[Evaluation]:
        self.asked.extend(questions)
        return self.form.answers(questions)


def test_a_power_step_near_linear_does_not_look_ahead(generator: torch.Generator) -> None:
    objective = Listening(form(0.0, generator))
    start = objective.spheres.normalise({k: c + 0.1 for k, c in objective.form.slope.items()})
    (found,) = search(PowerMethod(), objective, [start], 1)
    assert found.gap <= NEARLY_LINEAR
    assert [question.wanted for question in objective.asked] == ["gradient", "value"]


@pytest.mark.parametrize("curvature", [-1.0, -2.0, 3.0])
def test_a_power_step_far_from_linear_gains_where_the_full_step_loses(
    curvature: float, generator: torch.Generator
) -> None:
    objective = Listening(bent(curvature, generator))
    start = objective.spheres.normalise(objective.spheres.to_coordinates_gradient(objective.form.slope))
    (found,) = search(PowerMethod(), objective, [start], 1)
    before = objective.form.value_and_gradient(start)
    full = objective.form.value(objective.spheres.normalise(before.gradient)).value
    assert (full < before.value) == (curvature < 0)
    assert found.best_value > before.value
    assert found.best_value >= full
    looked = ["gradient", "value", "value"] if curvature < 0 else ["gradient", "value"]
    assert [question.wanted for question in objective.asked] == looked


def test_what_the_look_ahead_told_is_not_asked_again(generator: torch.Generator) -> None:
    """From a random start of a linear form the gap is large and the full step right."""
    objective = Listening(form(0.0, generator))
    (found,) = search(PowerMethod(), objective, [objective.spheres.random(objective.form.slope, generator)], 1)
    assert [question.wanted for question in objective.asked] == ["gradient", "value"]
    assert found.best_value == objective.form.value(found.best).value
    assert found.best_value > found.values[0]


@pytest.mark.parametrize(
    ("slope", "ahead", "highest"),
    [(2.0, 0.0, 0.5), (2.0, 0.5, 2 / 3), (1.0, 1.0, 1.0), (1.0, 0.9, 1.0), (1.0, -40.0, 0.1)],
)
def test_the_part_of_a_step_is_the_top_of_a_parabola(slope: float, ahead: float, highest: float) -> None:
    """Slope · s + bend · s², with ``ahead`` at s = 1; kept within [0.1, 1]."""
    assert highest_of_parabola(5.0, slope, 5.0 + ahead) == pytest.approx(highest)


@pytest.mark.parametrize("name", sorted(RULES))
def test_no_step_leaves_the_start(name: str, generator: torch.Generator) -> None:
    objective = form(1.0, generator)
    start = objective.spheres.random(objective.slope, generator)
    found = alone(RULES[name](), objective, start, 0)
    assert all(torch.equal(found.best[k], start[k]) for k in start)
    assert found.values == (objective.value(start).value,)


@pytest.mark.parametrize("name", sorted(RULES))
def test_iterates_stay_on_the_spheres(name: str, generator: torch.Generator) -> None:
    objective = form(1.0, generator)
    start = objective.spheres.random(objective.slope, generator)
    found = alone(RULES[name](), objective, start, 3)
    torch.testing.assert_close(objective.spheres.norms(found.best), torch.ones(3, dtype=torch.float64))


def test_monotone_rules_answer_the_best_they_saw_and_others_their_last(generator: torch.Generator) -> None:
    objective = form(2.0, generator)
    start = objective.spheres.random(objective.slope, generator)
    for rule in (PowerMethod(), Ascent()):
        found = alone(rule, objective, start, 4)
        assert found.best_value == max(found.values) == pytest.approx(objective.value(found.best).value, rel=1e-12)
    moved = alone(PrintedRule(), objective, start, 4)
    assert torch.equal(moved.best["w"], moved.coordinates["w"])
    assert alone(Gradient(), objective, start, 4).best is start


def test_the_search_takes_its_last_step_where_the_gap_is_small_enough(generator: torch.Generator) -> None:
    objective = form(0.3, generator)
    start = objective.spheres.random(objective.slope, generator)
    enough = alone(PowerMethod(), objective, start, 3).gap
    found = alone(PowerMethod(), objective, start, 7, enough)
    assert len(found.values) == 4
    assert not found.settled


def test_a_search_that_starts_at_the_minimum_is_not_settled(generator: torch.Generator) -> None:
    """The gradient is radial there too, but points the other way."""
    objective = form(0.0, generator)
    lowest = objective.spheres.normalise({k: -c for k, c in objective.slope.items()})
    assert not alone(Ascent(), objective, lowest, 3).settled


def test_the_printed_step_depends_on_the_copy_and_the_power_step_does_not(generator: torch.Generator) -> None:
    """Eq. (7): on T_a(θ) radii scale by a, slopes by 1/a; in u nothing else changes."""
    objective = form(0.0, generator)
    factors = torch.tensor([0.01, 30.0, 1.0], dtype=torch.float64)
    slope = objective.spheres.scale(objective.slope, 1 / factors)
    copy = Form(Spheres(ROWS, RADII * factors), slope, objective.diagonal)
    start = objective.spheres.random(objective.slope, generator)
    for rule, same in ((PowerMethod(), True), (Ascent(), True), (PrintedRule(), False)):
        first, second = (alone(rule, at, start, 2).best for at in (objective, copy))
        distance = norm({k: first[k] - second[k] for k in first})
        assert (distance < 1e-12) == same, type(rule).__name__


def test_the_gain_to_expect_continues_the_series_of_gains(generator: torch.Generator) -> None:
    start = form(1.0, generator).spheres.random(form(1.0, generator).slope, generator)

    def after(*values: float) -> SearchState:
        return SearchState(start, start, best_value=max(values), values=values)

    assert after(1.0, 1.5, 1.75).expected_gain() == pytest.approx(0.25)
    assert after(1.0, 1.09).expected_gain() == pytest.approx(0.01)
    assert after(1.0, 1.1, 1.25).expected_gain() == float("inf")
    assert after(1.0, 1.2, 1.1).expected_gain() == float("inf")
    assert after(1.0).expected_gain() == float("inf")


@pytest.mark.parametrize("name", sorted(RULES))
def test_searches_side_by_side_find_what_each_finds_alone(name: str, generator: torch.Generator) -> None:
    objective = form(-2.0, generator)
    starts = [objective.spheres.random(objective.slope, generator) for _ in range(3)]
    starts[1] = objective.spheres.normalise(objective.slope)
    together = search(RULES[name](), objective, starts, 6)
    for found, start in zip(together, starts, strict=True):
        one = alone(RULES[name](), objective, start, 6)
        assert found.values == one.values
        assert all(torch.equal(found.best[k], one.best[k]) for k in start)
    assert len({found.values for found in together}) == len(starts)
