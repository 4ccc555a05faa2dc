"""How a value depends on the samples: cross-fitting, and the value on a quarter, a half and all of the batches.

The direction of the supremum fits the noise of its batches, so the value is too high on average. A direction from one
half of the batches, measured on the other half, errs to the other side. The two are no interval: how often they enclose
the value of more samples is not known where curvature speaks, and elsewhere :mod:`population` has a better answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import linear_regression
from typing import Any

from bnsharp_cli.core.point import Point
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.measures.integral import integrate, integrate_best
from bnsharp_cli.measurement.measures.objective import objective_at
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.supremum import find_supremum
from bnsharp_cli.measurement.surface.loss_surface import LossSurface


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
        """The figures in plain containers, for JSON."""
        return {
            "cross_fitted": self.cross_fitted,
            "values": [{"batches": count, "value": value} for count, value in self.values],
            "exponent": self.exponent,
        }


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
