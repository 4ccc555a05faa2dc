"""The status of the search against longer searches: from where it ended, and from many starts.

What a status claims differs. ``converged`` claims a local supremum of F, so a climb by another rule from there, with
more nodes than the search's, must not gain more than the errors allow. ``within-tolerance`` claims that the search
itself would not gain more than ``rtol``, so it goes on as it is. Everything else claims a lower bound, which no higher
value contradicts. Many starts say how far the value is below the best that is known; no status claims that there is
nothing higher elsewhere.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

import torch

from bnsharp_cli.core.ascent import search
from bnsharp_cli.core.point import Point, on_segment
from bnsharp_cli.core.search_rules import Ascent
from bnsharp_cli.measurement.audit.audited_value import AuditedValue
from bnsharp_cli.measurement.audit.finding import CannotSayError, Finding
from bnsharp_cli.measurement.audit.segment_truth import gauss_mean
from bnsharp_cli.measurement.measures.measurement import Status
from bnsharp_cli.measurement.measures.objective import SegmentObjective, objective_at
from bnsharp_cli.measurement.measures.options import DEFAULT_RULE, MeasureOptions
from bnsharp_cli.measurement.measures.supremum import find_supremum

STARTS, ITERATIONS = 16, 100
JUDGING_NODES = 24
FINE_NODES = 6

_Judge = Callable[[Point], float]
"""F^{1/p} along a direction."""


def audit_search(audited: AuditedValue) -> Finding:
    """The status against a search that goes on from where it ended, and from ``STARTS`` starts.

    All directions are judged by one rule over plain losses.
    """
    measured = audited.measured
    if measured.status is Status.BELOW_RESOLUTION:
        raise CannotSayError("the value is below its resolution, so no direction is higher than another")
    judge = _judge(audited)
    value = judge(audited.direction)
    best = max(value, judge(_best_of_many(audited)))
    elsewhere = f"the best of {STARTS} starts of {ITERATIONS} steps reaches {best / value:.4g} times the value"
    if measured.status not in {Status.CONVERGED, Status.WITHIN_TOLERANCE}:
        return Finding("search", None, best - value, True, f"{measured.status} claims a lower bound; {elsewhere}")
    options = fine(audited.options) if measured.status is Status.CONVERGED else audited.options
    further = judge(_climbed_on(audited, options))
    stated = audited.options.rtol * measured.value + audited.quadrature + audited.rounding
    sentence = f"{measured.status}: {ITERATIONS} more steps of {options.search} from its end; {elsewhere}"
    gain = 0.0 if further <= measured.value else further - measured.value  # a NaN stays one
    return Finding.compared("search", stated, gain, sentence)


def fine(options: MeasureOptions) -> MeasureOptions:
    """The options of a climb by another rule, with enough nodes for large radii."""
    return replace(options, search=Ascent.name, particular={}, search_nodes=max(FINE_NODES, options.search_nodes))


def many(options: MeasureOptions) -> MeasureOptions:
    """The options of a search from many starts."""
    own = options if options.rule.monotone else replace(options, search=DEFAULT_RULE, particular={})
    return replace(own, restarts=STARTS - 1, iterations=ITERATIONS)


def _judge(audited: AuditedValue) -> _Judge:
    """Plain losses, or those of the surface in float64 where there are none."""
    options, loss = audited.options, audited.surface.in_precision(torch.float64).value
    with contextlib.suppress(CannotSayError):
        audited.plain(audited.point)  # shows whether it runs
        loss = audited.plain
    before = loss(audited.point)

    def judged(direction: Point) -> float:
        def changes(t: float) -> float:
            return loss(on_segment(audited.point, direction, t)) - before

        return gauss_mean(changes, options.delta, options.power, JUDGING_NODES)

    return judged


def _best_of_many(audited: AuditedValue) -> Point:
    options = many(audited.options)
    return find_supremum(objective_at(audited.surface, audited.point, audited.blocks, options), options).direction


def _climbed_on(audited: AuditedValue, options: MeasureOptions) -> Point:
    """The end of a search by these options from the direction that was found, in float64."""
    surface = audited.surface.in_precision(torch.float64)
    objective = objective_at(surface, audited.point, audited.blocks, options)
    (end,) = search(options.rule, objective, [_coordinates(objective, audited.direction)], ITERATIONS)
    return objective.spheres.to_direction(end.best)


def _coordinates(objective: SegmentObjective, direction: Point) -> Point:
    """The coordinates u of a direction v = r u; zero where the radius is."""
    radii = objective.spheres.radii
    return objective.spheres.scale(direction, torch.where(radii > 0, 1 / radii, 0.0))
