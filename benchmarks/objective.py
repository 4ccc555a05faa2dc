"""The objective that the solvers share, in one place: F^{1/p} on the product of spheres of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.networks import Problem
from bnsharp_cli.core.ascent import Evaluation, Question, search
from bnsharp_cli.core.point import Point
from bnsharp_cli.core.search_rules import RULES
from bnsharp_cli.core.spheres import RowBlocks, Spheres
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.measures.objective import SegmentObjective, objective_at
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

__all__ = ["RULES", "BudgetSpentError", "Layout", "Objective", "Point", "Recorder", "search"]

Objective = SegmentObjective


class BudgetSpentError(Exception):
    """A solver asked for one more point than it may."""


def bn_objective(problem: Problem, delta: float) -> Objective:
    """The search's objective, p = 2, the network in float32, two quadrature nodes."""
    surface = LossSurface.of(problem.module, problem.batches, dtype=torch.float32)
    point = surface.point()
    return objective_at(surface, point, find_blocks(surface, point), MeasureOptions(delta=delta))


def starting_point(objective: Objective, start: str) -> Point:
    """``gradient`` for Eq. (6), or ``random SEED``."""
    kind, _, seed = start.partition(" ")
    drawn = objective.spheres.random(objective.theta, torch.Generator().manual_seed(int(seed or 0)))
    if kind == "random":
        return drawn
    return objective.spheres.normalise(objective.spheres.to_coordinates_gradient(objective.gradient), drawn)


class Recorder:
    """An objective that remembers the best value after each point it was asked about, and stops at a budget.

    A point counts once, whether its value, its gradient or both are asked for.
    """

    def __init__(self, objective: Objective, budget: int) -> None:
        self._objective, self._budget = objective, budget
        self._seen: set[bytes] = set()
        self.best: list[float] = []

    @property
    def spheres(self) -> Spheres:
        """φ(θ)."""
        return self._objective.spheres

    def answers(self, questions: Sequence[Question]) -> list[Evaluation]:
        """One after the other."""
        return [self._answer(question) for question in questions]

    def value(self, coordinates: Point) -> Evaluation:
        """F(r u)^{1/p}."""
        self._ask(coordinates)
        return self._told(self._objective.value(coordinates))

    def value_and_gradient(self, coordinates: Point) -> Evaluation:
        """F(r u)^{1/p} and its gradient in u."""
        self._ask(coordinates)
        return self._told(self._objective.value_and_gradient(coordinates))

    def _answer(self, question: Question) -> Evaluation:
        if question.wanted == "value":
            return self.value(question.coordinates)
        if question.wanted == "gradient":
            return self.value_and_gradient(question.coordinates)
        self.value(question.coordinates)  # recorded; what a rule evaluates itself says nothing of F
        return question.wanted(self._objective, question.coordinates)

    def _ask(self, coordinates: Point) -> None:
        self._seen.add(b"".join(tensor.numpy().tobytes() for tensor in coordinates.values()))
        if len(self._seen) > self._budget:
            raise BudgetSpentError

    def _told(self, evaluation: Evaluation) -> Evaluation:
        best = max(evaluation.value, self.best[-1]) if self.best else evaluation.value
        self.best += [best] * (len(self._seen) - len(self.best))
        self.best[-1] = best
        return evaluation


@dataclass(frozen=True)
class Layout:
    """How other libraries see u: one (rows, entries) matrix per normalised weight, and θ_* as one row.

    Attributes:
        shapes: of every tensor.
        weights: tensors whose every row is a block.
        free: tensors that belong to θ_*.
    """

    shapes: dict[str, torch.Size]
    weights: tuple[str, ...]
    free: tuple[str, ...]

    @classmethod
    def of(cls, point: Point, spheres: Spheres) -> Layout:
        """The layout of a network whose blocks are rows along the first dimension.

        Raises:
            ValueError: a tensor has rows in θ_* beside others, or blocks of several rows.
        """
        last = len(spheres.radii) - 1
        weights = tuple(name for name, rows in spheres.rows.items() if _is_weight(rows, last))
        free = tuple(name for name, rows in spheres.rows.items() if bool((rows.block == last).all()))
        if len(weights) + len(free) < len(point):
            raise ValueError("expected tensors that are normalised row by row or not at all")
        return cls({name: tensor.shape for name, tensor in point.items()}, weights, free)

    def matrices(self, point: Point) -> list[Tensor]:
        """The matrices of a point; all rows of a unit direction have norm 1."""
        rest = torch.cat([point[name].flatten() for name in self.free])
        return [*(point[name].flatten(1) for name in self.weights), rest[None]]

    def point(self, matrices: Sequence[Tensor]) -> Point:
        """The inverse of :meth:`matrices`."""
        sizes = [self.shapes[name].numel() for name in self.free]
        parts = [*matrices[:-1], *matrices[-1].flatten().split(sizes)]
        by_name = dict(zip((*self.weights, *self.free), parts, strict=True))
        return {name: by_name[name].reshape(shape) for name, shape in self.shapes.items()}


def _is_weight(rows: RowBlocks, last: int) -> bool:
    blocks = rows.block.tolist()
    return rows.axis == 0 and last not in blocks and len(set(blocks)) == len(blocks)
