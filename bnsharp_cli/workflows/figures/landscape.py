"""The loss in a plane through one network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bnsharp_cli.errors import UsageError, counted, named
from bnsharp_cli.measurement.landscape.directions import SPANS, orthogonal_to
from bnsharp_cli.measurement.landscape.plane import Plane, Window, plane_through
from bnsharp_cli.measurement.landscape.training_path import FEWEST_CHECKPOINTS, training_path
from bnsharp_cli.measurement.surface.cost import Cost
from bnsharp_cli.report.figure_values import write_values
from bnsharp_cli.report.landscape_figures import draw_plane
from bnsharp_cli.report.surface_figures import draw_surface, surface_entries
from bnsharp_cli.workflows.figure_options import FigureFiles, FigureOptions
from bnsharp_cli.workflows.figures.drawn_network import DrawnNetwork, about_figure, about_the_sharpest, cost_of
from bnsharp_cli.workflows.figures.kind import FigureKind

_PATH = "path"
_MARKS = {"contour": "cross", "surface": "dot"}


def _require_checkpoints(checkpoints: Sequence[Path], options: FigureOptions) -> None:
    """Refuse several networks without a path, and a path of too few.

    Raises:
        UsageError: with the number that is expected.
    """
    count = len(checkpoints)
    if options.span == _PATH and count < FEWEST_CHECKPOINTS:
        expected = f"at least {FEWEST_CHECKPOINTS} checkpoints"
        remedy = "Name checkpoints of one training, the last one last."
        raise UsageError(
            f"The plane of a path needs {expected}.",
            remedy,
            argument="checkpoint",
            expected=expected,
            found=counted(count, "checkpoint"),
        )
    if options.span != _PATH and count != 1:
        raise UsageError(
            "A landscape shows one network.",
            f"Name one checkpoint; {named('span')} {_PATH} shows several of one training, the kind profile any.",
            argument="checkpoint",
            expected=counted(1, "checkpoint"),
            found=counted(count, "checkpoint"),
        )


def _draw_landscape(networks: Sequence[DrawnNetwork], options: FigureOptions, files: FigureFiles) -> tuple[str, Cost]:
    """L in a plane through one network, the last of several."""
    network = networks[-1]
    with network.around.surface.progress.stage(network.name, Cost(forward=options.evaluations)):
        plane, about = (_plane_of_path if options.span == _PATH else _plane)(networks, options)
    surface = options.view == "surface"
    (draw_surface if surface else draw_plane)(files.plot, network.name, plane, files.width, options.scale)
    drawn = "drawn as a surface of triangles." if surface else "at the white dots, straight lines between them."
    caption = f"{about} {network.described} {counted(len(plane.places), 'evaluation')} {drawn}"
    more = surface_entries(plane)
    rows = [*_places(network.name, plane)]
    write_values(files.values, rows, about_figure("landscape", networks, options, caption, **more))
    return caption, cost_of(networks)


def _plane(networks: Sequence[DrawnNetwork], options: FigureOptions) -> tuple[Plane, str]:
    """The plane of a direction and a random one, and what a caption says of it."""
    around = networks[-1].around
    first = SPANS[options.span](around)
    second = orthogonal_to(around, first, 1)
    plane = plane_through(around, first, second, Window.square(options.reach), options.evaluations)
    seed = around.options.seed + 1
    said = (
        f"Loss in the plane of v ({first.name}) and w ({second.name}, seed {seed}) through θ ({_MARKS[options.view]})."
    )
    return plane, " ".join(filter(None, [said, about_the_sharpest(first)]))


def _plane_of_path(networks: Sequence[DrawnNetwork], options: FigureOptions) -> tuple[Plane, str]:
    """The plane of the principal directions of a training path, and what a caption says of it."""
    around = networks[-1].around
    path = training_path(around, [network.around.point for network in networks[:-1]])
    window = Window.holding(path.places)
    plane = plane_through(around, *path.directions, window, options.evaluations)
    first, second = (f"{share:.1%}".replace("%", " %") for share in path.shares)
    said = (
        f"Loss in the plane of the two principal directions of {counted(len(networks), 'checkpoint')} (dots, in their "
        f"order) around the last ({_MARKS[options.view]}), rows matched in length; the directions "
        f"hold {first} and {second} of the squared displacements."
    )
    return replace(plane, checkpoints=path.places), said


def _places(name: str, plane: Plane) -> Iterator[Mapping[str, Any]]:
    for (s, t), loss in zip(plane.places, plane.losses, strict=True):
        yield {"network": name, "s": s, "t": t, "loss": loss}


LANDSCAPE_FIGURE = FigureKind(_draw_landscape, require_options=_require_checkpoints)
