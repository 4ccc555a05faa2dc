"""F(v)^{1/p} along one direction, and its rounding floor: the integral of Definition 3.1."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from bnsharp_cli.core.point import Point, inner, on_segment
from bnsharp_cli.core.quadrature import MAX_NODES, SegmentMean, segment_mean
from bnsharp_cli.errors import NotMeasurableError, named
from bnsharp_cli.measurement.measures.objective import SegmentObjective
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.rounding import loss_rounding, passes_for_rounding, rounding_floor
from bnsharp_cli.measurement.measures.supremum import Supremum
from bnsharp_cli.measurement.surface.cost import Cost
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

_FORWARDS = 21
"""The most forwards of a measure from one start with the default number of steps."""

_LEAST_NODES = 8

_PATIENT_NODES = 20
"""The most losses after restarts, which take thousands of passes."""


@dataclass(frozen=True)
class Integral:
    """F(v)^{1/p} along θ + tv.

    Attributes:
        mean: the p-mean with its error and its nodes.
        floor: what the rounding of losses alone can have contributed.
        floor_cost: the passes that the floor took.
        surface: L, in the precision in which it was integrated.
        batch_slopes: (L_b(θ + tv) − L_b(θ − tv)) / 2t of every batch at the largest t where both were evaluated.
    """

    mean: SegmentMean
    floor: float
    floor_cost: Cost
    surface: LossSurface
    batch_slopes: tuple[float, ...]

    @property
    def value(self) -> float:
        """The measured value F(v)^{1/p}."""
        return self.mean.value


def integrate_to_precision(objective: SegmentObjective, supremum: Supremum, options: MeasureOptions) -> Integral:
    """F(v)^{1/p}; with precision ``auto`` once more in float64 where rounding exceeds the wanted error."""
    integral = integrate_best(objective, supremum, options)
    coarse = options.precision == "auto" and integral.floor > options.rtol * integral.value
    if not coarse or objective.surface.dtype == torch.float64:
        return integral
    precise, theta = objective.surface.in_precision(torch.float64), objective.theta
    again = integrate(precise, theta, precise.value(theta), supremum.direction, options)
    return replace(again, floor_cost=integral.floor_cost + again.floor_cost)


def integrate_best(objective: SegmentObjective, supremum: Supremum, options: MeasureOptions) -> Integral:
    """F(v)^{1/p} along what a search found, with what it knows of ΔL already: some values, and the slope at θ."""
    return integrate(
        objective.surface,
        objective.theta,
        objective.loss,
        supremum.direction,
        options,
        known=supremum.best.changes,
        slope=inner(objective.gradient, supremum.direction),
        max_nodes=_affordable_nodes(objective, supremum, options),
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
        max_nodes: the most losses; 12 by default, and 20 after restarts.

    Raises:
        NotMeasurableError: a loss on the segment is not finite.
    """
    segment = _LossesOnSegment(surface, point, loss, v, options.delta)
    nodes = max_nodes or _most_nodes(options)
    mean = segment_mean(segment.changes, options.delta, options.power, options.rtol, nodes, known, slope)
    before = surface.counter.cost
    error = segment.rounding_where_highest(options.seed)
    floor = rounding_floor(error, options.delta, options.power, mean.value, surface.roundoff)
    return Integral(mean, floor, surface.counter.cost - before, surface, segment.slopes())


class _LossesOnSegment:
    """The losses of the single batches along θ + tv, as far as they were evaluated."""

    def __init__(self, surface: LossSurface, point: Point, loss: float, v: Point, delta: float) -> None:
        self._surface, self._point, self._loss, self._v, self._delta = surface, point, loss, v, delta
        self._batch_losses: dict[float, Sequence[float]] = {}

    def changes(self, steps: Sequence[float]) -> list[float]:
        """ΔL at every t of ``steps``."""
        losses = self._surface.batch_losses([on_segment(self._point, self._v, t) for t in steps])
        self._batch_losses.update(zip(steps, losses, strict=True))
        changes = [self._mean(t) - self._loss for t in steps]
        if not all(math.isfinite(change) for change in changes):
            raise NotMeasurableError(
                f"The loss is not finite within δ = {self._delta:g} of the network.",
                f"Lower {named('delta')}.",
                argument="delta",
            )
        return changes

    def rounding_where_highest(self, seed: int) -> float:
        """The rounding error of the largest loss that was evaluated; errors grow with the loss."""
        highest = max(self._batch_losses, key=self._mean, default=self._delta)
        if not self._batch_losses:
            self.changes([highest])
        point = on_segment(self._point, self._v, highest)
        return loss_rounding(self._surface, point, self._batch_losses[highest], seed)

    def slopes(self) -> tuple[float, ...]:
        """See :class:`Integral`; empty where no t was evaluated on both sides."""
        widest = max((t for t in self._batch_losses if -t in self._batch_losses), default=0.0)
        if widest <= 0:
            return ()
        ends = zip(self._batch_losses[widest], self._batch_losses[-widest], strict=True)
        return tuple((ahead - behind) / (2 * widest) for ahead, behind in ends)

    def _mean(self, t: float) -> float:
        return math.fsum(self._batch_losses[t]) / len(self._batch_losses[t])


def _affordable_nodes(objective: SegmentObjective, supremum: Supremum, options: MeasureOptions) -> int:
    """Losses for the integral: what one start leaves of ``_FORWARDS``, the one at θ and the floor's taken off."""
    if options.restarts or options.iterations is not None:
        return _most_nodes(options)
    left = _FORWARDS - 1 - round(supremum.forwards) - passes_for_rounding(objective.surface.count)
    return min(MAX_NODES, max(_LEAST_NODES, len(supremum.best.changes) + left // 2 * 2))


def _most_nodes(options: MeasureOptions) -> int:
    return _PATIENT_NODES if options.restarts else MAX_NODES
