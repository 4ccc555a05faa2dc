"""The loss, and the share of right answers, along directions through a network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bnsharp_cli.core.point import Point
from bnsharp_cli.measurement.landscape.directions import Direction, Surroundings

STEPS = 31
"""Points of a line, θ in their middle."""


@dataclass(frozen=True)
class Line:
    """L along one direction.

    Attributes:
        name: of the direction.
        steps: t, in units of the radii of the blocks.
        losses: L(θ + t v).
        accuracies: the shares of right answers there; empty where they were not asked for, or there are no classes.
    """

    name: str
    steps: tuple[float, ...]
    losses: tuple[float, ...]
    accuracies: tuple[float, ...] = ()


def even_steps(reach: float, count: int = STEPS) -> tuple[float, ...]:
    """Steps from −reach to reach with the same distances; 0 is among an odd number of them.

    >>> even_steps(0.1, 3)
    (-0.1, 0.0, 0.1)
    """
    return tuple(reach * (2 * number / (count - 1) - 1) for number in range(count))


def line_along(around: Surroundings, direction: Direction, steps: Sequence[float], *, right: bool = False) -> Line:
    """L along a direction: one forward pass for each step.

    Args:
        around: the network.
        direction: of the line.
        steps: t.
        right: whether right answers are counted too, in the same passes.
    """

    def computed(steps: Sequence[float]) -> list[tuple[float, ...]]:
        points = [displaced(around, (direction,), (step,)) for step in steps]
        if not right:
            return [(loss,) for loss in around.surface.values(points)]
        found = [around.surface.evaluated(point) for point in points]
        return [(one.loss, math.nan if one.accuracy is None else one.accuracy) for one in found]

    label = f"{direction.name} {direction.number} {'accuracy' if right else 'loss'}"
    losses, *accuracies = zip(*around.kept.of(label, steps, computed, 1 + right), strict=True)
    return Line(direction.name, tuple(steps), losses, *accuracies)


def displaced(around: Surroundings, directions: Sequence[Direction], steps: Sequence[float]) -> Point:
    """θ + Σ t_j v_j, tensor by tensor when it is asked for."""
    point = around.point
    for one, step in zip(directions, steps, strict=True):
        point = around.spheres.on_segment(point, one.coordinates, step)
    return point
