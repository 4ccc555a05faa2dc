"""The sharpest direction and the integral along it: the two halves of Definition 3.1."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from bnsharp_cli.core.ascent import RULES, Printed, SearchRule, SearchState, search
from bnsharp_cli.core.point import Point, add_scaled, inner
from bnsharp_cli.core.quadrature import SegmentMean, segment_mean
from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.measurement.cost import Cost
from bnsharp_cli.measurement.objective import SegmentObjective
from bnsharp_cli.measurement.options import MeasureOptions
from bnsharp_cli.measurement.rounding import loss_rounding, rounding_floor
from bnsharp_cli.measurement.surface import LossSurface

_GRADIENT_NOISE = 16.0
_FINE_NODES, _REFINED = 6, 3


@dataclass(frozen=True)
class Supremum:
    """What a search found.

    Attributes:
        outcomes: of every start.
        best: the one with the largest value.
        direction: v at ``best``.
    """

    outcomes: tuple[SearchState, ...]
    best: SearchState
    direction: Point

    @property
    def values(self) -> tuple[float, ...]:
        """The best value of every start."""
        return tuple(outcome.best_value for outcome in self.outcomes)


def find_supremum(objective: SegmentObjective, options: MeasureOptions) -> Supremum:
    """Search sup F(v) from the gradient, Eq. (6), and from ``options.restarts`` random starts.

    Where there are several, the best of them go on with a rule of more nodes: restarts are for radii at which two
    nodes are no longer F.
    """
    rule = search_rule(options)

    def climbed(start: Point, by: SegmentObjective) -> SearchState:
        return search(rule, by, start, options.steps, options.enough, options.least)

    outcomes = [climbed(start, objective) for start in _starts(objective, options)]
    outcomes.sort(key=lambda outcome: outcome.best_value, reverse=True)
    if len(outcomes) > 1 and rule.monotone and objective.nodes < _FINE_NODES and math.isfinite(options.power):
        fine = replace(objective, nodes=_FINE_NODES)
        outcomes[:_REFINED] = [climbed(outcome.best, fine) for outcome in outcomes[:_REFINED]]
    best = max(outcomes[:_REFINED], key=lambda outcome: outcome.best_value)
    return Supremum(tuple(outcomes), best, objective.spheres.to_direction(best.best))


def search_rule(options: MeasureOptions) -> SearchRule:
    """The rule that ``options`` name."""
    return Printed(options.step_size) if options.search == "paper" else RULES[options.search]()


def _starts(objective: SegmentObjective, options: MeasureOptions) -> list[Point]:
    """Eq. (6), with seeded directions for blocks without a gradient, then random restarts."""
    generator = torch.Generator().manual_seed(options.seed)
    spheres = objective.spheres
    seeded = spheres.random(objective.theta, generator)
    noise = _GRADIENT_NOISE * torch.finfo(objective.surface.dtype).eps
    steepest = spheres.normalise(spheres.to_coordinates_gradient(objective.gradient), seeded, noise)
    return [steepest, *(spheres.random(objective.theta, generator) for _ in range(options.restarts))]


@dataclass(frozen=True)
class Integral:
    """The p-mean along θ + tv, its rounding floor, and what the floor cost."""

    mean: SegmentMean
    floor: float
    floor_cost: Cost


def integrate_best(objective: SegmentObjective, found: Supremum, options: MeasureOptions) -> Integral:
    """F(v)^{1/p} along what a search found, with what it knows of ΔL already: some values, and the slope at θ."""
    return integrate(
        objective.surface,
        objective.theta,
        objective.loss,
        found.direction,
        options,
        known=found.best.changes,
        slope=inner(objective.gradient, found.direction),
    )


def integrate(
    surface: LossSurface,
    point: Point,
    loss: float,
    v: Point,
    options: MeasureOptions,
    *,
    known: Mapping[float, float] | None = None,
    slope: float | None = None,
) -> Integral:
    """F(v)^{1/p} by the losses along θ + tv.

    Args:
        surface: L.
        point: θ.
        loss: L(θ).
        v: the direction.
        options: δ, p and the wanted error.
        known: ΔL by t, where it was evaluated before.
        slope: ∇L · v, where it is known.

    Raises:
        NotMeasurableError: a loss on the segment is not finite.
    """
    batches: dict[float, list[float]] = {}

    def differences(steps: Sequence[float]) -> list[float]:
        batches.update(zip(steps, surface.batch_losses([add_scaled(point, v, t) for t in steps]), strict=True))
        changes = [math.fsum(batches[t]) / len(batches[t]) - loss for t in steps]
        if not all(math.isfinite(change) for change in changes):
            raise NotMeasurableError(
                f"The loss is not finite within δ = {options.delta:g} of the network.", "Lower --delta."
            )
        return changes

    mean = segment_mean(differences, options.delta, options.power, options.rtol, known=known, slope=slope)
    before = surface.counter.cost
    highest = max(batches, key=lambda t: math.fsum(batches[t]), default=options.delta)
    if not batches:
        differences([highest])
    error = loss_rounding(surface, add_scaled(point, v, highest), batches[highest], options.seed)
    floor = rounding_floor(error, options.delta, options.power, mean.value, surface.dtype)
    return Integral(mean, floor, surface.counter.cost - before)
