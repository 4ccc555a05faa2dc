"""BN-Sharpness, Definition 3.1 of Yi et al. (IJCAI 2019)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bnsharp_cli.core.ascent import CONVERGED, RULES, Printed, SearchRule, SearchState, search
from bnsharp_cli.core.point import Point, add_scaled, inner, scaled
from bnsharp_cli.core.quadrature import SegmentMean, gradient_nodes, segment_mean
from bnsharp_cli.core.spheres import Spheres
from bnsharp_cli.errors import NotMeasurableError, UsageError
from bnsharp_cli.measurement.blocks import Blocks
from bnsharp_cli.measurement.measurement import Measurement, Search, Status, Uncertainty
from bnsharp_cli.measurement.options import MeasureOptions
from bnsharp_cli.measurement.rounding import loss_rounding, rounding_floor
from bnsharp_cli.measurement.surface import Cost, LossSurface

_GRADIENT_NOISE = 16.0


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

    def value(self, coordinates: Point) -> float:
        """F(r u)^{1/p}."""
        v = self.spheres.to_direction(coordinates)
        fractions, weights = gradient_nodes(self.power, self.nodes)
        losses = self.surface.values([add_scaled(self.theta, v, self.delta * s) for s in fractions])
        slopes = [(value - self.loss) / (self.delta * s) for value, s in zip(losses, fractions, strict=True)]
        return self._mean(slopes, weights.tolist())

    def value_and_gradient(self, coordinates: Point) -> tuple[float, Point]:
        """F(r u)^{1/p} and its gradient in u."""
        v = self.spheres.to_direction(coordinates)
        fractions, weights = gradient_nodes(self.power, self.nodes)
        slopes, gradients = [], []
        for s in fractions:
            value, gradient = self.surface.value_and_gradient(add_scaled(self.theta, v, self.delta * s))
            slopes.append((value - self.loss) / (self.delta * s))
            gradients.append(gradient)
        mean = self._mean(slopes, weights.tolist())
        total = {name: torch.zeros_like(tensor) for name, tensor in self.theta.items()}
        for factor, gradient in zip(self._factors(slopes, weights.tolist(), mean), gradients, strict=True):
            total = add_scaled(total, gradient, factor)
        return mean, self.spheres.to_coordinates_gradient(total)

    def printed_gradient(self, direction: Point) -> Point:
        """Eq. (16): p/(p+1) (∇L·v)^{p−1} [∇L(θ + rδv) + ∇L(θ − rδv)], r = (p+1)/(p+2), for every p > 1."""
        p = self.power
        slope = inner(self.gradient, direction)
        radius = (p + 1) / (p + 2) * self.delta
        _, ahead = self.surface.value_and_gradient(add_scaled(self.theta, direction, radius))
        _, behind = self.surface.value_and_gradient(add_scaled(self.theta, direction, -radius))
        factor = p / (p + 1) * math.copysign(abs(slope) ** (p - 1), slope)
        return scaled(add_scaled(ahead, behind, 1.0), factor)

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


def bn_sharpness(surface: LossSurface, point: Point, blocks: Blocks, options: MeasureOptions) -> Measurement:
    r"""BN-Sharpness, Definition 3.1.

    .. math:: \sup_{v ∈ φ(θ)} δ^{-1/p} \left(∫_{-δ}^{δ} |(L(θ+tv) - L(θ))/δ|^p dt\right)^{1/p}

    The search runs in normalised coordinates, so the computed number, not only the supremum, is the same for every
    copy T_a(θ); it is a lower bound on the supremum. For δ → 0 it tends to (2/(p+1))^{1/p} (Σ_i ‖∇_iL‖‖θ_i‖ + ‖∇_*L‖),
    which is reported as ``limit``.

    Args:
        surface: L.
        point: θ.
        blocks: which rows scale together.
        options: δ, p, search and precision.

    Raises:
        UsageError: δ ≥ 1 with invariant blocks.
        NotMeasurableError: L or its gradient is not finite within δ.
    """
    if blocks.invariant and options.delta >= 1:
        raise UsageError(
            f"--delta: expected less than 1 where weights are scale-invariant, found {options.delta:g}.",
            "At δ = 1 a direction reaches −θ_i; use a smaller radius.",
        )
    before = surface.counter.cost
    objective = _objective(surface, point, blocks, options)
    starts = _starts(objective, options)
    outcomes = [search(_rule(options), objective, start, options.steps) for start in starts]
    if len(outcomes) > 1:
        outcomes = [_valued(outcome, objective) for outcome in outcomes]
    best = max(outcomes, key=lambda outcome: outcome.best_value)
    v = objective.spheres.to_direction(best.best)
    integral, rounding, spent = _integral(surface, point, objective.loss, v, options)
    precise = surface.dtype == torch.float64
    if options.precision == "auto" and not precise and rounding > options.rtol * integral.value:
        surface, precise = surface.in_precision(torch.float64), True
        integral, rounding, further = _integral(surface, point, surface.value(point), v, options)
        spent = spent + further
    search_record = Search(options.search, len(starts), options.steps, _values(outcomes))
    norms = objective.spheres.norms(objective.spheres.to_coordinates_gradient(objective.gradient))
    p = options.power
    limit = (2 / (p + 1)) ** (1 / p) * float(norms.sum()) if math.isfinite(p) else float(norms.sum())
    return Measurement(
        name="bn" if blocks.partition == "paper" else "bn-extended",
        value=integral.value,
        status=_status(integral.value, rounding, best, options),
        uncertainty=Uncertainty(quadrature=integral.error, rounding=rounding),
        cost=surface.counter.cost - before,
        uncertainty_cost=spent,
        search=search_record,
        details={
            "delta": options.delta,
            "power": "inf" if math.isinf(p) else p,
            "limit": limit,
            "limit_ratio": limit / integral.value if integral.value else None,
            "gap": best.gap if math.isfinite(best.gap) and best.values else None,
            "precision": "float64" if precise else "float32",
        },
        direction=v,
        segment=integral.nodes,
    )


def _objective(surface: LossSurface, point: Point, blocks: Blocks, options: MeasureOptions) -> SegmentObjective:
    loss, gradient = surface.value_and_gradient(point)
    finite = math.isfinite(loss) and all(bool(torch.isfinite(tensor).all()) for tensor in gradient.values())
    if not finite:
        raise NotMeasurableError(
            f"The loss ({loss:g}) or its gradient is not finite at the network itself.",
            "Check the data, or use --precision float64.",
        )
    spheres = blocks.spheres(point)
    return SegmentObjective(surface, point, spheres, loss, gradient, options.delta, options.power, options.search_nodes)


def _starts(objective: SegmentObjective, options: MeasureOptions) -> list[Point]:
    """Eq. (6), with seeded directions for blocks without a gradient, then random restarts."""
    generator = torch.Generator().manual_seed(options.seed)
    spheres = objective.spheres
    seeded = spheres.random(objective.theta, generator)
    noise = _GRADIENT_NOISE * torch.finfo(objective.surface.dtype).eps
    steepest = spheres.normalise(spheres.to_coordinates_gradient(objective.gradient), seeded, noise)
    return [steepest, *(spheres.random(objective.theta, generator) for _ in range(options.restarts))]


def _rule(options: MeasureOptions) -> SearchRule:
    return Printed(options.step_size) if options.search == "paper" else RULES[options.search]()


def _valued(outcome: SearchState, objective: SegmentObjective) -> SearchState:
    return outcome if outcome.values else outcome.seen(objective.value(outcome.coordinates))


def _values(outcomes: Sequence[SearchState]) -> tuple[float, ...]:
    return tuple(outcome.best_value for outcome in outcomes if outcome.values)


def _integral(
    surface: LossSurface, point: Point, loss: float, v: Point, options: MeasureOptions
) -> tuple[SegmentMean, float, Cost]:
    """The integral along θ + tv, its rounding floor, and what the floor cost."""

    def differences(steps: Sequence[float]) -> list[float]:
        changes = [value - loss for value in surface.values([add_scaled(point, v, t) for t in steps])]
        if not all(math.isfinite(change) for change in changes):
            raise NotMeasurableError(
                f"The loss is not finite within δ = {options.delta:g} of the network.", "Lower --delta."
            )
        return changes

    integral = segment_mean(differences, options.delta, options.power, options.rtol)
    before = surface.counter.cost
    error = loss_rounding(surface, point, loss, options.seed)
    floor = rounding_floor(error, options.delta, options.power, integral.value, surface.dtype)
    return integral, floor, surface.counter.cost - before


def _status(value: float, rounding: float, best: SearchState, options: MeasureOptions) -> Status:
    if value <= rounding or value == 0:
        return Status.BELOW_RESOLUTION
    if not _rule(options).monotone or options.steps == 0:
        return Status.AS_PRESCRIBED
    return Status.CONVERGED if best.gap <= CONVERGED else Status.ITERATION_LIMIT
