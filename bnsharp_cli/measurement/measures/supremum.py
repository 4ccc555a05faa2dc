"""The sharpest direction and the integral along it: the two halves of Definition 3.1."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

import torch

from bnsharp_cli.core.ascent import SearchState, search
from bnsharp_cli.core.point import Point, inner, on_segment
from bnsharp_cli.core.quadrature import MAX_NODES, SegmentMean, segment_mean
from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.measurement.measures.objective import SegmentObjective
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.rounding import loss_rounding, passes_for_rounding, rounding_floor
from bnsharp_cli.measurement.surface.cost import Cost
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

_GRADIENT_NOISE = 16.0
_FINE_NODES, _JUDGING_NODES = 6, 24
_FORWARDS = 21
"""Of a measure from one start with the default number of steps."""
_LEAST_NODES = 8
_PATIENT_NODES = 20


@dataclass(frozen=True)
class Supremum:
    """What a search found.

    Attributes:
        values: the best value of every start, the largest first.
        best: where the largest was reached.
        direction: v there.
        forwards: over all samples of the surface, that the search took.
    """

    values: tuple[float, ...]
    best: SearchState
    direction: Point
    forwards: float


def find_supremum(objective: SegmentObjective, options: MeasureOptions) -> Supremum:
    """Search sup F(v) from the gradient, Eq. (6), and from ``options.restarts`` random starts.

    Restarts are for radii at which two nodes may no longer be F. Where the first start shows a difference, what every
    start found goes on with more of them, and with more still it is seen which one reached highest: what climbs few
    nodes climbs their error too.
    """
    rule, counter = options.rule, objective.surface.counter
    before = counter.cost

    def climbed(starts: Iterator[Point], by: SegmentObjective) -> Iterator[SearchState]:
        size = by.searches_at_once if options.restarts else 1
        while some := search(rule, by, islice(starts, size), options.steps, options.enough, options.least):
            yield from some
            some.clear()

    outcomes, judge = climbed(_starts(objective, options), objective), None
    if options.restarts and rule.monotone and objective.nodes < _FINE_NODES and math.isfinite(options.power):
        first = next(outcomes)
        outcomes, fine = chain([first], outcomes), replace(objective, nodes=_FINE_NODES)
        value = fine.value(first.best).value
        if abs(value - first.best_value) > options.rtol * value:
            outcomes, judge = climbed((outcome.best for outcome in outcomes), fine), replace(fine, nodes=_JUDGING_NODES)
        del first
    values: list[float] = []
    for outcome in outcomes:
        value = judge.value(outcome.best).value if judge else outcome.best_value
        if not values or value > max(values):
            best = outcome
        values.append(value)
    forwards = (counter.cost - before).forward / objective.surface.share
    ranked = tuple(sorted(values, reverse=True))
    return Supremum(ranked, best, objective.spheres.to_direction(best.best), forwards)


def _starts(objective: SegmentObjective, options: MeasureOptions) -> Iterator[Point]:
    """Eq. (6), then random restarts; each is made when it is asked for."""
    generator = torch.Generator().manual_seed(options.seed)
    yield _steepest(objective, generator)
    for _ in range(options.restarts):
        yield objective.spheres.random(objective.theta, generator)


def _steepest(objective: SegmentObjective, generator: torch.Generator) -> Point:
    """Eq. (6), with seeded directions for blocks without a gradient."""
    spheres = objective.spheres
    noise = _GRADIENT_NOISE * torch.finfo(objective.surface.dtype).eps
    seeded = spheres.random(objective.theta, generator)
    return spheres.normalise(spheres.to_coordinates_gradient(objective.gradient), seeded, noise)


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
        max_nodes=_affordable_nodes(objective, found, options),
    )


def _affordable_nodes(objective: SegmentObjective, found: Supremum, options: MeasureOptions) -> int:
    """Losses for the integral: what one start leaves of ``_FORWARDS``, the one at θ and the floor's taken off."""
    if options.restarts or options.iterations is not None:
        return _most_nodes(options)
    left = _FORWARDS - 1 - round(found.forwards) - passes_for_rounding(objective.surface.count)
    return min(MAX_NODES, max(_LEAST_NODES, len(found.best.changes) + left // 2 * 2))


def integrate(
    surface: LossSurface,
    point: Point,
    loss: float,
    v: Point,
    options: MeasureOptions,
    *,
    known: Mapping[float, float] | None = None,
    slope: float | None = None,
    max_nodes: int | None = None,
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
        max_nodes: the most losses; 12 by default, and 20 after restarts, which take thousands of passes.

    Raises:
        NotMeasurableError: a loss on the segment is not finite.
    """
    batches: dict[float, list[float]] = {}

    def differences(steps: Sequence[float]) -> list[float]:
        batches.update(zip(steps, surface.batch_losses([on_segment(point, v, t) for t in steps]), strict=True))
        changes = [math.fsum(batches[t]) / len(batches[t]) - loss for t in steps]
        if not all(math.isfinite(change) for change in changes):
            raise NotMeasurableError(
                f"The loss is not finite within δ = {options.delta:g} of the network.", "Lower --delta."
            )
        return changes

    mean = segment_mean(
        differences, options.delta, options.power, options.rtol, max_nodes or _most_nodes(options), known, slope
    )
    before = surface.counter.cost
    highest = max(batches, key=lambda t: math.fsum(batches[t]), default=options.delta)
    if not batches:
        differences([highest])
    error = loss_rounding(surface, on_segment(point, v, highest), batches[highest], options.seed)
    floor = rounding_floor(error, options.delta, options.power, mean.value, surface.dtype)
    return Integral(mean, floor, surface.counter.cost - before)


def _most_nodes(options: MeasureOptions) -> int:
    return _PATIENT_NODES if options.restarts else MAX_NODES
