"""How much of a value is the sample: cross-fitting, and the value on a quarter, a half and all of the batches.

A supremum over directions of a gradient fits the noise of its batches: near a trained network the value is mostly
that noise and falls like the inverse root of the samples, so an interval around it covers nothing. A direction from
one half of the batches, measured on the other, errs to the other side; the two enclose the value of more samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import linear_regression
from typing import Any

import torch

from bnsharp_cli.core.point import Point, add_scaled, scaled
from bnsharp_cli.core.spheres import Spheres
from bnsharp_cli.measurement.blocks import Blocks
from bnsharp_cli.measurement.objective import objective_at
from bnsharp_cli.measurement.options import MeasureOptions
from bnsharp_cli.measurement.processes import Processes
from bnsharp_cli.measurement.supremum import find_supremum, integrate, integrate_best
from bnsharp_cli.measurement.surface import LossSurface

LINEAR = 0.1
"""Where limit/value is within this of one, gradients alone tell how the value depends on the samples."""


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

    def to_dict(self) -> dict[str, Any]:
        """Plain containers."""
        return {
            "cross_fitted": self.cross_fitted,
            "values": [{"batches": count, "value": value} for count, value in self.values],
            "exponent": self.exponent,
        }


@dataclass
class GradientSplit:
    """Watches the gradients of single batches; the limit of small δ then costs no pass of its own.

    Attributes:
        batches: how many there are, on all processes.
    """

    batches: int
    _quarter: Point = field(default_factory=dict)
    _half: Point = field(default_factory=dict)

    def observe(self, index: int, _: float, gradient: Point) -> None:
        """Take the gradient of batch ``index``."""
        for part, size in ((self._quarter, self.batches // 4), (self._half, self.batches // 2)):
            if index < size:
                part.update(add_scaled(part, gradient, 1.0) if part else gradient)

    def sampling(self, spheres: Spheres, gradient: Point, processes: Processes, value: float) -> Sampling | None:
        """Σ_i r_i‖∇_iL‖ as a function of the batches, in proportion to ``value`` on all of them.

        Args:
            spheres: φ(θ).
            gradient: ∇L, of all batches.
            processes: that observed a part each.
            value: of the measure.

        Returns:
            None for a single batch.
        """
        if self.batches < 2:
            return None
        split = self.batches // 2
        none = scaled(gradient, 0.0)
        half, quarter = (processes.total({**none, **part}) for part in (self._half, self._quarter))
        first = scaled(half, 1 / split)
        second = scaled(add_scaled(scaled(gradient, self.batches), half, -1.0), 1 / (self.batches - split))
        radii, tiny = spheres.radii, torch.finfo(torch.float64).tiny
        norms = [spheres.norms(part) for part in (first, second)]
        inner = spheres.inner(first, second)
        crossed = [abs(float((radii * inner / norm.clamp_min(tiny)).sum())) for norm in norms]
        means = {self.batches: float((radii * spheres.norms(gradient)).sum())}
        means[split] = math.fsum(float((radii * norm).sum()) for norm in norms) / 2
        if self.batches >= 4:
            means[self.batches // 4] = float((radii * spheres.norms(quarter)).sum()) / (self.batches // 4)
        factor = value / means[self.batches] if means[self.batches] else 0.0
        values = tuple((count, factor * mean) for count, mean in sorted(means.items()))
        return Sampling(factor * math.fsum(crossed) / 2, values)


def measured_sampling(
    surface: LossSurface, point: Point, blocks: Blocks, options: MeasureOptions, value: float
) -> Sampling | None:
    """The same by measuring: a search on each half and on the first quarter, an integral on each other half.

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
        found = find_supremum(objective, options)
        own.append(integrate_best(objective, found, options).mean.value)
        crossed.append(integrate(other, point, other.value(point), found.direction, options).mean.value)
    values = [(count // 2, math.fsum(own) / 2), (count, value)]
    if count >= 4:
        objective = objective_at(surface.part(0, count // 4), point, blocks, options)
        quarter = integrate_best(objective, find_supremum(objective, options), options)
        values.insert(0, (count // 4, quarter.mean.value))
    return Sampling(math.fsum(crossed) / 2, tuple(values))
