"""Draws ``docs/plain-directions.png``: one network and its copy T_a, along plain directions and along relative ones.

``python -m tools.plain_directions`` measures a sample on a part of its training data. The two networks compute the
same. Along plain random directions, as long as all weights of the network together, they have two landscapes; in units
of the blocks they have one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.colors import LogNorm
from matplotlib.tri import Triangulation

from bnsharp_cli.core.point import LazyPoint, Point, norm, random_normal, scaled
from bnsharp_cli.core.rescale import uniform_factors
from bnsharp_cli.figures import INK, NotebookFigure
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.invariance.copies import Copier
from bnsharp_cli.measurement.landscape.directions import Surroundings, orthogonal_to, random_direction
from bnsharp_cli.measurement.landscape.plane import Plane, PlaneSteps, Window, plane_through, sampled
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.workflows.open_network import open_network
from bnsharp_cli.workflows.options import CheckpointSource, Data

TARGET = Path(__file__).parents[1] / "docs" / "plain-directions.png"
SAMPLE, SCALE = "sample:digits-small-batch", 0.3
REACH, EVALUATIONS, SAMPLES = 0.5, 120, 256


def main() -> None:
    """Measure and draw."""
    options = MeasureOptions(seed=1)
    network = open_network(Path(SAMPLE), CheckpointSource(), Data(samples=SAMPLES), options, torch.device("cpu"))
    blocks = find_blocks(network.surface, network.point)
    copy = Copier(network.surface, network.point, blocks).copy("a", uniform_factors(blocks.invariant, SCALE))
    here = Surroundings(network.surface, network.point, blocks, options)
    there = Surroundings(copy.exact, copy.point, blocks, options)
    length = norm(network.point) / math.sqrt(sum(tensor.numel() for tensor in network.point.values()))
    planes = [plane for one in (here, there) for plane in (_plain(one, length), _relative(one))]
    _draw(planes)


def _plain(around: Surroundings, length: float) -> Plane:
    """Along two random directions whose numbers have the given root mean square, whatever the network."""
    first, second = (
        scaled(random_normal(around.point, torch.Generator().manual_seed(around.options.seed + number)), length)
        for number in (0, 1)
    )

    def values(places: Sequence[PlaneSteps]) -> list[float]:
        return around.surface.values([_moved(around.point, first, second, place) for place in places])

    places, losses = sampled(values, REACH, EVALUATIONS)
    return Plane(("plain", "plain"), tuple(places), tuple(losses))


def _moved(point: Point, first: Point, second: Point, place: PlaneSteps) -> LazyPoint:
    return LazyPoint(point, lambda name: point[name] + place[0] * first[name] + place[1] * second[name])


def _relative(around: Surroundings) -> Plane:
    """Along two random directions as long as the weights of each block."""
    first = random_direction(around)
    return plane_through(around, first, orthogonal_to(around, first, 1), Window.square(REACH), EVALUATIONS)


def _draw(planes: Sequence[Plane]) -> None:
    figure = NotebookFigure(figsize=(6.4, 5.6), dpi=100, layout="constrained")
    losses = [loss for plane in planes for loss in plane.losses]
    levels = np.geomspace(min(losses), max(losses), 15)
    rows = ("the network", f"the same network, weights × {SCALE:g}")
    columns = ("plain random directions", "directions relative to the blocks")
    for number, plane in enumerate(planes):
        axes = figure.add_subplot(2, 2, number + 1, aspect="equal")
        places = np.array(plane.places)
        triangles = Triangulation(places[:, 0], places[:, 1])
        norm_of_levels = LogNorm(levels[0], levels[-1])
        filled = axes.tricontourf(triangles, plane.losses, levels=levels, norm=norm_of_levels, cmap="cividis")
        axes.tricontour(triangles, plane.losses, levels=levels, colors=INK, linewidths=0.35)
        axes.plot([0], [0], "x", color="white", ms=6, mew=1.6)
        axes.tick_params(labelsize=8)
        axes.set_title(columns[number] if number < 2 else "", fontsize=9, color=INK)
        axes.set_ylabel("" if number % 2 else rows[number // 2], fontsize=9, color=INK)
    bar = figure.colorbar(filled, ax=figure.axes, shrink=0.7, format="%.2g")
    bar.set_label("loss", fontsize=9)
    figure.savefig(TARGET, metadata={"Software": None})


if __name__ == "__main__":
    main()
