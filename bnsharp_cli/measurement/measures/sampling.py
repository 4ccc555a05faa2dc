"""How a value depends on the samples: cross-fitting, and the value on a quarter, a half and all of the batches.

The direction of the supremum fits the noise of its batches. Near a trained network the value is mostly that noise and
falls like the inverse root of the number of samples, so a confidence interval around it does not cover the value of
more samples. A direction from one half of the batches, measured on the other half, errs to the other side. The two
values enclose that of more samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import linear_regression
from typing import Any

import torch

from bnsharp_cli.core.point import Point, scaled
from bnsharp_cli.core.spheres import Spheres
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.measures.integral import integrate, integrate_best
from bnsharp_cli.measurement.measures.objective import SegmentObjective, objective_at
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.supremum import find_supremum
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.passes import GradientSum
from bnsharp_cli.measurement.surface.processes import Processes


@dataclass(frozen=True)
class Sampling:
    """How a value depends on the number of batches it was measured on.

    Attributes:
        cross_fitted: the mean value of two directions, each found on one half of the batches, on the other half.
        values: (batches, value) at a quarter, a half (the mean of both) and all of them.
    """

    cross_fitted: float
    values: tuple[tuple[int, float], ...]

    @property
    def exponent(self) -> float | None:
        """Slope of log value against log batches, by least squares; about −½ where the value is gradient noise."""
        if len(self.values) < 2 or any(value <= 0 for _, value in self.values):
            return None
        counts, values = zip(*self.values, strict=True)
        return linear_regression([math.log(count) for count in counts], [math.log(value) for value in values]).slope

    def in_proportion(self, value: float) -> Sampling:
        """Rescale all values so that the one on all batches is ``value``."""
        whole = self.values[-1][1]
        factor = value / whole if whole else 0.0
        return Sampling(factor * self.cross_fitted, tuple((count, factor * each) for count, each in self.values))

    def to_dict(self) -> dict[str, Any]:
        """The figures in plain containers, for JSON."""
        return {
            "cross_fitted": self.cross_fitted,
            "values": [{"batches": count, "value": value} for count, value in self.values],
            "exponent": self.exponent,
        }


class GradientSplit:
    """Adds up gradients of single batches as they pass, so that the limit for δ → 0 on parts of them costs no pass."""

    def __init__(self, weights: Sequence[float]) -> None:
        """For the batches on all processes, with the weights that their gradients have been multiplied by."""
        self._weights, self._batches = weights, len(weights)
        self._parts: dict[int, GradientSum] = {}

    def observe(self, index: int, _: float, gradient: Point) -> None:
        """Take the gradient of batch ``index``."""
        for size in {self._batches // 4, self._batches // 2}:
            if index < size:
                self._parts.setdefault(size, GradientSum(gradient)).add(gradient.values())

    def sampling(self, spheres: Spheres, gradient: Point, processes: Processes) -> Sampling | None:
        """Σ_i r_i‖∇_iL‖ as a function of the batches; the sums are freed.

        Args:
            spheres: φ(θ).
            gradient: ∇L, of all batches.
            processes: the processes, each of which observed some of the batches.

        Returns:
            None for a single batch.
        """
        count, split = self._batches, self._batches // 2
        if count < 2:
            return None
        half, quarter = (self._total(size, gradient, processes) for size in (split, count // 4))
        norms, radii = spheres.norms, spheres.radii
        means = {count: float((radii * norms(gradient)).sum())}
        if count >= 4:
            means[count // 4] = float((radii * norms(quarter)).sum()) / math.fsum(self._weights[: count // 4])
        del quarter
        weight, rest = math.fsum(self._weights[:split]), math.fsum(self._weights[split:])
        first = scaled(half, 1 / weight)
        second = {name: (count * tensor - half[name]) / rest for name, tensor in gradient.items()}
        both, inner = [norms(part) for part in (first, second)], spheres.inner(first, second)
        means[split] = math.fsum(float((radii * norm).sum()) for norm in both) / 2
        tiny = torch.finfo(torch.float64).tiny
        crossed = [abs(float((radii * inner / norm.clamp_min(tiny)).sum())) for norm in both]
        return Sampling(math.fsum(crossed) / 2, tuple(sorted(means.items())))

    def _total(self, size: int, like: Point, processes: Processes) -> Point:
        return processes.total(self._parts.pop(size, GradientSum(like)).point())


def objective_and_sampling(
    surface: LossSurface, point: Point, blocks: Blocks, options: MeasureOptions
) -> tuple[SegmentObjective, Sampling | None]:
    """The objective at ``point``, and how Σ_i r_i‖∇_iL‖ depends on the samples, from the same pass.

    The latter is None where there are no more samples.

    Raises:
        NotMeasurableError: the loss or its gradient is not finite.
    """
    if surface.holds_all_data:
        return objective_at(surface, point, blocks, options), None
    split = GradientSplit(surface.weights)
    objective = objective_at(surface, point, blocks, options, split.observe)
    return objective, split.sampling(objective.spheres, objective.gradient, surface.processes)


def measured_sampling(
    surface: LossSurface, point: Point, blocks: Blocks, options: MeasureOptions, value: float
) -> Sampling | None:
    """How a value depends on the samples, by measuring it on parts of the batches.

    This takes a search on each half and on the first quarter, and an integral on each other half.

    Args:
        surface: L on all batches.
        point: θ.
        blocks: which rows scale together.
        options: as for the value.
        value: on all batches.

    Returns:
        None for a single batch.
    """
    count = surface.count
    if count < 2:
        return None
    halves = [surface.part(0, count // 2), surface.part(count // 2, count)]
    own, crossed = [], []
    for half, other in (halves, halves[::-1]):
        objective = objective_at(half, point, blocks, options)
        supremum = find_supremum(objective, options)
        own.append(integrate_best(objective, supremum, options).value)
        crossed.append(integrate(other, point, other.value(point), supremum.direction, options).value)
    values = [(count // 2, math.fsum(own) / 2), (count, value)]
    if count >= 4:
        objective = objective_at(surface.part(0, count // 4), point, blocks, options)
        quarter = integrate_best(objective, find_supremum(objective, options), options)
        values.insert(0, (count // 4, quarter.value))
    return Sampling(math.fsum(crossed) / 2, tuple(values))
