"""The loss in a plane through a network, at few points where it is smooth and at more where it is not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import Delaunay

from bnsharp_cli.measurement.landscape.directions import Direction, Surroundings
from bnsharp_cli.measurement.landscape.lines import displaced, even_steps

BUDGET = 200
"""Evaluations that a picture costs unless more are asked for."""

FIRST = 9
"""Points a side of the grid that it begins with, θ in its middle."""

_AT_ONCE = 16
"""Points that one round adds."""

_MARGIN = 0.25
"""What is shown to each side of the checkpoints of a training, in their extent."""

PlaneSteps = tuple[float, float]
"""Steps along both directions, in units of the radii of the blocks."""


@dataclass(frozen=True)
class Window:
    """The part of a plane that is shown.

    Attributes:
        centre: (s, t) of its middle.
        half: half of its sides.
    """

    centre: PlaneSteps
    half: PlaneSteps

    @classmethod
    def square(cls, reach: float) -> Window:
        """Around θ, |s| and |t| up to ``reach``."""
        return cls((0.0, 0.0), (reach, reach))

    @classmethod
    def holding(cls, places: Sequence[PlaneSteps]) -> Window:
        """Around some places, a quarter of their extent to each side of them.

        >>> Window.holding([(0.0, 0.0), (4.0, 1.0)])
        Window(centre=(2.0, 0.5), half=(3.0, 0.75))
        """
        sides = [(min(along), max(along)) for along in zip(*places, strict=True)]
        s, t = ((low + high) / 2 for low, high in sides)
        width, height = ((high - low) / 2 for low, high in sides)
        return cls((s, t), ((1 + 2 * _MARGIN) * width, (1 + 2 * _MARGIN) * height))

    def place(self, unit: PlaneSteps) -> PlaneSteps:
        """The place of a point of the square from −1 to 1."""
        return self.centre[0] + self.half[0] * unit[0], self.centre[1] + self.half[1] * unit[1]


@dataclass(frozen=True)
class Plane:
    """L in a plane.

    Attributes:
        names: of the two directions.
        places: (s, t) of each evaluation; the first ones are a grid.
        losses: L(θ + s v + t w) there.
        checkpoints: (s, t) of the checkpoints of a training, in their order; empty where none are shown.
    """

    names: tuple[str, str]
    places: tuple[PlaneSteps, ...]
    losses: tuple[float, ...]
    checkpoints: tuple[PlaneSteps, ...] = ()


def plane_through(
    around: Surroundings, first: Direction, second: Direction, window: Window, budget: int = BUDGET
) -> Plane:
    """L in the plane of two directions.

    Args:
        around: the network.
        first: v.
        second: w.
        window: the part that is shown.
        budget: evaluations, at least ``FIRST`` squared.
    """

    def values(units: Sequence[PlaneSteps]) -> list[float]:
        return [loss for (loss,) in around.kept.of("plane", units, computed)]

    def computed(units: Sequence[PlaneSteps]) -> list[tuple[float]]:
        points = [displaced(around, (first, second), window.place(unit)) for unit in units]
        return [(loss,) for loss in around.surface.values(points)]

    units, losses = sampled(values, 1.0, budget)
    return Plane((first.name, second.name), tuple(map(window.place, units)), tuple(losses))


def sampled(
    values: Callable[[Sequence[PlaneSteps]], list[float]], reach: float, budget: int = BUDGET
) -> tuple[list[PlaneSteps], list[float]]:
    """A function on a square, more densely where straight lines between its values would show it wrongly.

    It begins with a grid. Each round divides the longest sides of those triangles between which the function bends
    most, by their normals, weighted by their area.

    Args:
        values: the function, at several places at once.
        reach: half a side of the square.
        budget: places.

    Returns:
        The places, and the values there.
    """
    along = even_steps(reach, FIRST)
    places = [(s, t) for t in along for s in along]
    found = values(places)
    while len(places) < budget:
        new = [*_bends(np.array(places) / reach, np.array(found), min(_AT_ONCE, budget - len(places)))]
        if not new:
            break
        own = [(float(s) * reach, float(t) * reach) for s, t in new]
        found += values(own)
        places += own
    return places, found


def _bends(places: np.ndarray, values: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """The middles of the sides across which the surface over a unit square bends most, at most ``count``."""
    heights = _compressed(values)
    triangles = Delaunay(places)
    corners = triangles.simplices
    slopes = _slopes(places[corners], heights[corners])
    sides: dict[tuple[int, int], float] = {}
    for number, (own, neighbours) in enumerate(zip(corners, triangles.neighbors, strict=True)):
        for across, neighbour in enumerate(neighbours):
            if neighbour > number:
                first, second = sorted(int(end) for place, end in enumerate(own) if place != across)
                length = float(np.linalg.norm(places[first] - places[second]))
                jump = float(np.linalg.norm(slopes[number] - slopes[neighbour]))
                sides[first, second] = jump * length**2  # how far a parabola with this bend leaves the side
    worst = sorted(sides, key=lambda side: sides[side], reverse=True)
    yield from (places[list(side)].mean(axis=0) for side in worst[:count] if sides[side] > 0)


def _slopes(corners: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """(triangles, 2), the gradient over each triangle."""
    edges = corners[:, 1:] - corners[:, :1]
    rises = heights[:, 1:] - heights[:, :1]
    gradients: np.ndarray = np.linalg.solve(edges, rises[..., None])[..., 0]
    return gradients


def _compressed(values: np.ndarray) -> np.ndarray:
    """The values as a picture shows them: logarithms where they are positive and differ by more than ten times."""
    finite = np.where(np.isfinite(values), values, np.nanmax(values[np.isfinite(values)], initial=0.0))
    if finite.min() > 0 and finite.max() > 10 * finite.min():
        finite = np.log(finite)
    spread = float(finite.max() - finite.min())
    return finite / spread if spread > 0 and math.isfinite(spread) else finite * 0.0
