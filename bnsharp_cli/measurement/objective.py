"""F^{1/p} of Definition 3.1 and its gradient, as what a search climbs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bnsharp_cli.core.ascent import Evaluation
from bnsharp_cli.core.point import Point, add_scaled, inner, scaled
from bnsharp_cli.core.quadrature import gradient_nodes
from bnsharp_cli.core.spheres import Spheres
from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.measurement.blocks import Blocks
from bnsharp_cli.measurement.options import MeasureOptions
from bnsharp_cli.measurement.surface import BatchObserver, LossSurface


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

    def value(self, coordinates: Point) -> Evaluation:
        """F(r u)^{1/p}."""
        v = self.spheres.to_direction(coordinates)
        steps, weights = self._rule()
        changes = [value - self.loss for value in self.surface.values([add_scaled(self.theta, v, t) for t in steps])]
        slopes = [change / t for change, t in zip(changes, steps, strict=True)]
        return Evaluation(self._mean(slopes, weights), dict(zip(steps, changes, strict=True)))

    def value_and_gradient(self, coordinates: Point) -> Evaluation:
        """F(r u)^{1/p} and its gradient in u."""
        v = self.spheres.to_direction(coordinates)
        steps, weights = self._rule()
        changes, gradients = [], []
        for t in steps:
            value, gradient = self.surface.value_and_gradient(add_scaled(self.theta, v, t))
            changes.append(value - self.loss)
            gradients.append(gradient)
        slopes = [change / t for change, t in zip(changes, steps, strict=True)]
        mean = self._mean(slopes, weights)
        total = {name: torch.zeros_like(tensor) for name, tensor in self.theta.items()}
        for factor, gradient in zip(self._factors(slopes, weights, mean), gradients, strict=True):
            total = add_scaled(total, gradient, factor)
        changed = dict(zip(steps, changes, strict=True))
        return Evaluation(mean, changed, self.spheres.to_coordinates_gradient(total))

    def printed_gradient(self, direction: Point) -> Point:
        """Eq. (16): p/(p+1) (∇L·v)^{p−1} [∇L(θ + rδv) + ∇L(θ − rδv)], r = (p+1)/(p+2), for every p > 1."""
        p = self.power
        slope = inner(self.gradient, direction)
        radius = (p + 1) / (p + 2) * self.delta
        _, ahead = self.surface.value_and_gradient(add_scaled(self.theta, direction, radius))
        _, behind = self.surface.value_and_gradient(add_scaled(self.theta, direction, -radius))
        factor = p / (p + 1) * math.copysign(abs(slope) ** (p - 1), slope)
        return scaled(add_scaled(ahead, behind, 1.0), factor)

    def _rule(self) -> tuple[list[float], list[float]]:
        """Nodes t in (−δ, δ) and their weights."""
        fractions, weights = gradient_nodes(self.power, self.nodes)
        return [self.delta * float(s) for s in fractions], weights.tolist()

    def _mean(self, slopes: Sequence[float], weights: Sequence[float]) -> float:
        """F^{1/p} from the secant slopes ΔL/t."""
        if not all(math.isfinite(slope) for slope in slopes):
            raise NotMeasurableError(
                f"The loss is not finite within δ = {self.delta:g} of the network.", "Lower --delta."
            )
        if math.isinf(self.power):
            return max(abs(slope) for slope in slopes)
        largest = max(abs(slope) for slope in slopes) or 1.0
        total = sum(w * abs(slope / largest) ** self.power for w, slope in zip(weights, slopes, strict=True))
        return float(largest * total ** (1 / self.power))

    def _factors(self, slopes: Sequence[float], weights: Sequence[float], mean: float) -> list[float]:
        """∂(F^{1/p}) / ∂(slope_j): what each node's gradient is multiplied by."""
        if math.isinf(self.power):
            steepest = max(range(len(slopes)), key=lambda index: abs(slopes[index]))
            return [math.copysign(1.0, slope) * (index == steepest) for index, slope in enumerate(slopes)]
        if mean == 0:
            return [0.0 for _ in slopes]
        return [
            math.copysign(w * abs(slope / mean) ** (self.power - 1), slope)
            for w, slope in zip(weights, slopes, strict=True)
        ]


def objective_at(
    surface: LossSurface, point: Point, blocks: Blocks, options: MeasureOptions, observe: BatchObserver | None = None
) -> SegmentObjective:
    """The objective at ``point``, from one gradient there; ``observe`` is told of every batch's.

    Raises:
        NotMeasurableError: the loss or its gradient is not finite.
    """
    loss, gradient = surface.value_and_batch_gradients(point, observe)
    finite = math.isfinite(loss) and all(bool(torch.isfinite(tensor).all()) for tensor in gradient.values())
    if not finite:
        raise NotMeasurableError(
            f"The loss ({loss:g}) or its gradient is not finite at the network itself.",
            "Check the data, or use --precision float64.",
        )
    spheres = blocks.spheres(point)
    return SegmentObjective(surface, point, spheres, loss, gradient, options.delta, options.power, options.search_nodes)
