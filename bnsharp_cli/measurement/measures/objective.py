"""F^{1/p} of Definition 3.1 and its gradient, as what a search climbs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from bnsharp_cli.core.ascent import Evaluation, Question
from bnsharp_cli.core.point import Point, numbers, on_segment
from bnsharp_cli.core.quadrature import gradient_nodes
from bnsharp_cli.core.spheres import Spheres
from bnsharp_cli.errors import NotMeasurableError, named
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.finite_loss import not_finite
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.passes import BatchObserver


@dataclass(frozen=True)
class SegmentObjective:
    r"""F^{1/p} as a function of u, by a Gauss rule with few nodes for the weight |t|^p.

    .. math:: F(v) = δ^{-1} ∫_{-δ}^{δ} |ΔL(t)/δ|^p dt, \quad ∇_v F = (p/δ^2) ∫ |ΔL/δ|^{p-1} sign(ΔL) t ∇L(θ+tv) dt

    Writing |ΔL|^p = |t|^p |ΔL/t|^p leaves a smooth factor, so two nodes give both with an error of order δ².

    Attributes:
        surface: L.
        theta: θ.
        spheres: φ(θ).
        loss: L(θ).
        gradient: ∇L(θ).
        delta: δ.
        power: p.
        nodes: of the rule, an even number.
    """

    surface: LossSurface
    theta: Point
    spheres: Spheres
    loss: float
    gradient: Point
    delta: float
    power: float
    nodes: int = 2

    def answers(self, questions: Sequence[Question]) -> list[Evaluation]:
        """Several questions; the points of all that ask for the same are handed to the surface together."""
        found: dict[int, Evaluation] = {}
        for wanted, answer in (("value", self._values), ("gradient", self._gradients)):
            asked = [index for index, question in enumerate(questions) if question.wanted == wanted]
            if asked:
                found.update(zip(asked, answer([questions[index].coordinates for index in asked]), strict=True))
        for index, question in enumerate(questions):
            if callable(question.wanted):
                found[index] = question.wanted(self, question.coordinates)
        return [found[index] for index in range(len(questions))]

    def loss_gradient(self, direction: Point, step: float) -> Point:
        """∇L(θ + step · v)."""
        return self.surface.value_and_gradient(on_segment(self.theta, direction, step))[1]

    def value(self, coordinates: Point) -> Evaluation:
        """The objective's value F(r u)^{1/p}."""
        return self._values([coordinates])[0]

    def value_and_gradient(self, coordinates: Point) -> Evaluation:
        """F(r u)^{1/p} and its gradient in u."""
        return self._gradients([coordinates])[0]

    @cached_property
    def limit(self) -> float:
        """What the supremum tends to for δ → 0: (2/(p+1))^{1/p} (Σ_i ‖∇_iL‖‖θ_i‖ + ‖∇_*L‖)."""
        p, spheres = self.power, self.spheres
        slope = float(spheres.norms(spheres.to_coordinates_gradient(self.gradient)).sum())
        return slope if math.isinf(p) else float((2 / (p + 1)) ** (1 / p) * slope)

    @property
    def searches_at_once(self) -> int:
        """How many searches the surface answers in one go."""
        return max(1, self.surface.stack_size() // self.nodes)

    def _values(self, coordinates: Sequence[Point]) -> list[Evaluation]:
        steps, weights = self._rule()
        values = self.surface.values([self.spheres.on_segment(self.theta, u, t) for u in coordinates for t in steps])
        found = []
        for start in range(0, len(values), len(steps)):
            changes = [value - self.loss for value in values[start : start + len(steps)]]
            slopes = [change / t for change, t in zip(changes, steps, strict=True)]
            found.append(Evaluation(self._mean(slopes, weights), dict(zip(steps, changes, strict=True))))
        return found

    def _gradients(self, coordinates: Sequence[Point]) -> list[Evaluation]:
        steps, weights = self._rule()
        points = [self.spheres.on_segment(self.theta, u, t) for u in coordinates for t in steps]
        told = self.surface.values_and_gradients(points)
        found = []
        for _ in coordinates:
            changes: dict[float, float] = {}
            total = _PowerSum(self.power)
            for t, weight, (value, gradient) in zip(steps, weights, told, strict=False):
                changes[t] = value - self.loss
                total.add(changes[t] / t, weight, gradient)
            mean = self._mean([change / t for t, change in changes.items()], weights)
            gradient = self.spheres.to_coordinates_gradient(total.gradient(mean))
            found.append(Evaluation(mean, changes, gradient))
        return found

    def _rule(self) -> tuple[list[float], list[float]]:
        """Nodes t in (−δ, δ) and their weights."""
        fractions, weights = gradient_nodes(self.power, self.nodes)
        return [self.delta * float(s) for s in fractions], weights.tolist()

    def _mean(self, slopes: Sequence[float], weights: Sequence[float]) -> float:
        """F^{1/p} from the secant slopes ΔL/t."""
        if not all(math.isfinite(slope) for slope in slopes):
            raise NotMeasurableError(
                f"The loss is not finite within δ = {self.delta:g} of the network.",
                f"Lower {named('delta')}.",
                argument="delta",
            )
        if math.isinf(self.power):
            return max(abs(slope) for slope in slopes)
        largest = max(abs(slope) for slope in slopes) or 1.0
        total = sum(w * abs(slope / largest) ** self.power for w, slope in zip(weights, slopes, strict=True))
        return float(largest * total ** (1 / self.power))


class _PowerSum:
    """Σ_j w_j |slope_j|^{p−1} sign(slope_j) g_j, one node after the other, in the memory of a single gradient.

    It is kept relative to the largest slope so far, so that no power leaves the range of float64.
    """

    def __init__(self, power: float) -> None:
        self._power, self._largest = power, 0.0
        self._sum: Point = {}

    def add(self, slope: float, weight: float, gradient: Point) -> None:
        """Take a node in; ``gradient`` is overwritten."""
        size, highest = abs(slope), math.isinf(self._power)
        if size > self._largest:
            kept = (self._largest / size) ** (self._power - 1)
            self._sum = {name: tensor.mul_(kept) for name, tensor in self._sum.items()}
            self._largest, share = size, 1.0
        else:  # for p = ∞ the first of the largest counts alone
            share = (size / self._largest) ** (self._power - 1) if self._largest and not highest else 0.0
        factor = math.copysign(share if highest else share * weight, slope)
        if not self._sum:
            self._sum = {name: tensor.mul_(factor) for name, tensor in gradient.items()}
            return
        for name, tensor in self._sum.items():
            tensor.add_(gradient[name], alpha=factor)

    def gradient(self, mean: float) -> Point:
        """∇(F^{1/p}) from F^{1/p}: the sum over (F^{1/p})^{p−1}."""
        factor = (self._largest / mean) ** (self._power - 1) if mean else 0.0
        return {name: tensor.mul_(factor) for name, tensor in self._sum.items()}


def objective_at(
    surface: LossSurface, point: Point, blocks: Blocks, options: MeasureOptions, observe: BatchObserver | None = None
) -> SegmentObjective:
    """The objective at ``point``, from one gradient there; ``observe`` is told of every batch's.

    Raises:
        NotMeasurableError: the loss or its gradient is not finite.
        DataRefusedError: the loss is not, because of the data.
    """
    loss, gradient = surface.value_and_batch_gradients(point, observe)
    if not math.isfinite(loss):
        raise not_finite(surface, point, loss)
    finite = all(numbers(torch.isfinite(tensor).all() for tensor in gradient.values()))
    if not finite:
        raise NotMeasurableError(
            "The gradient of the loss is not finite at the network itself.",
            f"Check the data, or use {named('precision')} float64.",
            argument="model",
            expected="a finite gradient",
            found="NaN or infinite numbers",
        )
    spheres = blocks.spheres(point)
    return SegmentObjective(surface, point, spheres, loss, gradient, options.delta, options.power, options.search_nodes)
