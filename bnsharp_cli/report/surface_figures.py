"""The loss over a plane as a surface in space, and as points and triangles for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.tri import LinearTriInterpolator, Triangulation

from bnsharp_cli.errors import shown
from bnsharp_cli.figures import NotebookFigure
from bnsharp_cli.measurement.landscape.plane import Plane
from bnsharp_cli.report.figure_style import colours_of_heights, ink, size_of_words
from bnsharp_cli.report.landscape_figures import known_places, scale_of
from bnsharp_cli.report.plots import save

_ELEVATION, _AZIMUTH = 32, -58
"""Degrees from which the surface is seen."""

_NARROW = 4.5
"""Inches below which numbers stand closer to their axes."""


def draw_surface(path: Path, name: str, plane: Plane, width: float, scale: str) -> None:
    """Draw L over a plane, with θ or the checkpoints of a training as dots.

    Args:
        path: where to write the picture.
        name: of the network's file.
        plane: where L is known.
        width: in inches.
        scale: ``auto``, ``linear`` or ``log``.
    """
    places, losses = known_places(plane)
    logarithmic = scale_of(losses, scale) == "log"
    heights = np.log10(losses) if logarithmic else losses
    figure = NotebookFigure(figsize=(width, 0.86 * width), dpi=300)
    axes: Any = figure.add_axes((0.02, 0.02, 0.9, 0.86), projection="3d", elev=_ELEVATION, azim=_AZIMUTH)
    triangles = Triangulation(places[:, 0], places[:, 1])
    axes.plot_trisurf(
        triangles, heights, cmap=colours_of_heights("cividis"), linewidth=0.15, edgecolor=ink(), alpha=0.92
    )
    _mark(axes, plane, LinearTriInterpolator(triangles, heights))
    words = size_of_words(width)
    names = f"v: {plane.names[0]}\nw: {plane.names[1]}\nheight: loss L(θ + s v + t w)"
    figure.text(0.03, 0.97, shown(name), va="top", color=ink(), parse_math=False, fontsize=words + 1)
    figure.text(0.03, 0.92, names, va="top", color=ink(), parse_math=False, fontsize=words - 1)
    narrow = width < _NARROW
    axes.set_xlabel("step along v", fontsize=words, labelpad=-4 if narrow else 2)
    axes.set_ylabel("step along w", fontsize=words, labelpad=-4 if narrow else 2)
    axes.set_box_aspect((4, 4, 3), zoom=0.9)
    axes.tick_params(labelsize=words - 1, pad=-2 if narrow else 2)
    axes.locator_params(nbins=4)
    if logarithmic:
        axes.zaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.zaxis.set_major_formatter(FuncFormatter(lambda height, _: f"{10**height:.2g}"))
    save(figure, path)


def _mark(axes: Any, plane: Plane, height: LinearTriInterpolator) -> None:
    """θ, or the checkpoints of a training on their way to it, on the surface and in front of it."""
    places = np.array(plane.checkpoints or [(0.0, 0.0)])
    style = {"color": "white", "mec": ink(), "mew": 0.7, "lw": 1.2, "ms": 4.5, "zorder": 10}
    axes.plot(*places.T, height(*places.T), "o-", **style)


def surface_entries(plane: Plane) -> dict[str, Any]:
    """Points and triangles of a surface, and the places of checkpoints, for a document.

    Args:
        plane: where L is known; a point without a loss is in no triangle.
    """
    known = [number for number, loss in enumerate(plane.losses) if np.isfinite(loss)]
    places = np.array(plane.places)[known]
    triangles = Triangulation(places[:, 0], places[:, 1]).triangles
    return {
        "points": [[*place, loss] for place, loss in zip(plane.places, plane.losses, strict=True)],
        "triangles": [[known[corner] for corner in corners] for corners in triangles.tolist()],
        "checkpoints": [[*place] for place in plane.checkpoints],
    }
