"""The sharpest direction: the supremum of Definition 3.1, searched from one start or several."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice

import torch

from bnsharp_cli.core.ascent import SearchState, search
from bnsharp_cli.core.point import Point
from bnsharp_cli.core.search_rules import PowerMethod
from bnsharp_cli.measurement.measures.expected_passes import of_search
from bnsharp_cli.measurement.measures.objective import SegmentObjective
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.cost import FORWARD

_GRADIENT_NOISE = 16.0
"""A block is silent whose gradient is this many units in the last place of the largest, or less."""

_FINE_NODES, _JUDGING_NODES = 6, 24
_MORE = 3

_Judge = Callable[[SearchState], float]
"""From what a start found to the value that it is ranked by."""


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

    What every start reaches is made when it is asked for, so that only the best and the present one take memory.
    """
    counter = objective.surface.counter
    before = counter.cost
    name = "" if options.restarts else "searching"  # where there are several starts, each says which it is
    with objective.surface.progress.stage(name, of_search(options), 1 + options.restarts):
        climbed = climb_all(starts(objective, options), objective, options)
        refined, judge = refine(climbed, objective, options)
        values, best = highest(refined, judge)
    forwards = (counter.cost - before).forward / objective.surface.share
    return Supremum(values, best, objective.spheres.to_direction(best.best), forwards)


def starts(objective: SegmentObjective, options: MeasureOptions) -> Iterator[Point]:
    """Eq. (6), then random starts; each is made when it is asked for."""
    generator = torch.Generator().manual_seed(options.seed)

    drawn = False

    def seeded() -> Point:
        nonlocal drawn
        drawn = True
        return objective.spheres.random(objective.theta, generator)

    yield _steepest(objective, seeded)
    if options.restarts and not drawn:
        seeded()  # so that the starts below are the same whether the gradient needed it or not
    for _ in range(options.restarts):
        yield objective.spheres.random(objective.theta, generator)


def _steepest(objective: SegmentObjective, seeded: Callable[[], Point]) -> Point:
    """Eq. (6), with ``seeded`` directions for blocks without a gradient."""
    spheres = objective.spheres
    noise = _GRADIENT_NOISE * objective.surface.roundoff
    return spheres.normalise(spheres.to_coordinates_gradient(objective.gradient), seeded, noise)


def climb_all(
    starting_points: Iterator[Point], objective: SegmentObjective, options: MeasureOptions
) -> Iterator[SearchState]:
    """What the search reaches from each start, as many side by side as the surface answers in one go."""
    size = objective.searches_at_once if options.restarts else 1
    limits = (options.steps, options.gap_tolerance, options.least_gain)
    every = 1 + options.restarts
    for begun in range(0, every, size):
        last = min(begun + size, every)
        which = f"start {last}" if last == begun + 1 else f"starts {begun + 1} to {last}"
        objective.surface.progress.reach(begun, f"{which} of {every}" if options.restarts else "")
        some = search(options.rule, objective, islice(starting_points, size), *limits)
        yield from some
        some.clear()


def refine(
    climbed: Iterator[SearchState], objective: SegmentObjective, options: MeasureOptions
) -> tuple[Iterator[SearchState], _Judge]:
    """Climb on with more nodes where few of them are no longer F, and say by which value to rank the starts.

    Restarts are for radii at which two nodes may no longer be F. Where the first start shows a difference, what every
    start found goes on with more of them, and with more still it is seen which one reached highest: what climbs few
    nodes climbs their error too.
    """
    several = options.restarts and options.rule.monotone
    if not several or objective.nodes >= _FINE_NODES or math.isinf(options.power):
        return climbed, _best_value
    first = next(climbed)
    fine = replace(objective, nodes=_FINE_NODES)
    value = fine.value(first.best).value
    every = chain([first], climbed)
    if not abs(value - first.best_value) > options.rtol * value:
        return every, _best_value
    objective.surface.progress.expect(of_search(replace(options, search_nodes=_FINE_NODES)) + _JUDGING_NODES * FORWARD)
    finest = replace(objective, nodes=_JUDGING_NODES)
    higher = climb_all((outcome.best for outcome in every), fine, options)
    return higher, lambda outcome: finest.value(outcome.best).value


def highest(outcomes: Iterator[SearchState], judge: _Judge) -> tuple[tuple[float, ...], SearchState]:
    """The values of all starts, the largest first, and the start that reached it."""
    values: list[float] = []
    for outcome in outcomes:
        value = judge(outcome)
        if not values or value > max(values):
            best = outcome
        values.append(value)
    return tuple(sorted(values, reverse=True)), best


def settles_with_more_nodes(objective: SegmentObjective, outcome: SearchState) -> bool:
    """Whether the gradient of F by ``_MORE`` times the nodes vanishes too where a search settled: one more step tells.

    Args:
        objective: F^{1/p} as the search began with it.
        outcome: where it settled.
    """
    nodes = _MORE * max(objective.nodes, len(outcome.changes))
    (again,) = search(PowerMethod(), replace(objective, nodes=nodes), [outcome.best], 1)
    return again.settled


def _best_value(outcome: SearchState) -> float:
    return outcome.best_value
