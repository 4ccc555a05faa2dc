"""Pictures of the loss around networks: along lines, and in a plane."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.tri import Triangulation

from bnsharp_cli.errors import shown
from bnsharp_cli.figures import NotebookFigure
from bnsharp_cli.measurement.landscape.between import Between
from bnsharp_cli.measurement.landscape.lines import Line
from bnsharp_cli.measurement.landscape.plane import Plane
from bnsharp_cli.report.figure_layout import column_of_panels, legend_above, short_name
from bnsharp_cli.report.figure_style import colours_of_heights, ink, line_colour, size_of_words
from bnsharp_cli.report.plots import save

_RANDOM, _STYLES = "random", {"sharpest": "-", "gradient": "--", "random": ":"}
_ROOMY = 5.0
"""Inches from which on a legend has two columns."""

_DECADE, _LEVELS = 10.0, 14


@dataclass(frozen=True)
class LinesOfNetwork:
    """The lines through one network.

    Attributes:
        name: of its file.
        delta: δ of the sharpest direction.
        lines: in the order of the legend; random ones are drawn as a band.
    """

    name: str
    delta: float
    lines: tuple[Line, ...]


def draw_lines(path: Path, networks: Sequence[LinesOfNetwork], width: float, scale: str) -> None:
    """Draw L along the lines of one or several networks, and the accuracies below where there are any.

    One network has a colour for each kind of direction, of several each has a colour; the kinds differ by their lines.

    Args:
        path: where to write the picture.
        networks: at least one.
        width: in inches.
        scale: ``auto``, ``linear`` or ``log``.
    """
    right = any(line.accuracies for one in networks for line in one.lines)
    figure, panels = _panels(width, 2 if right else 1)
    losses = [loss for one in networks for line in one.lines for loss in line.losses]
    entries: list[tuple[Artist, str]] = []
    for number, one in enumerate(networks):
        own, *_ = (
            _draw_network(panel, one, number if len(networks) > 1 else None, what)
            for panel, what in zip(panels, ("losses", "accuracies"), strict=False)
        )
        entries += own
    panels[0].set(yscale=scale_of(losses, scale), ylabel="loss L(θ + t v)")
    if right:
        panels[1].set(ylabel="accuracy", ylim=(0, 1))
    panels[-1].set_xlabel("step t, in radii of the blocks")
    for panel in panels:
        for delta in {one.delta for one in networks}:
            for side in (-delta, delta):
                panel.axvline(side, color=ink(), lw=0.5, ls=(0, (1, 3)))
    columns = 1 if width < _ROOMY else 2
    figure.set_figheight(figure.get_figheight() + 0.15 * math.ceil(len(entries) / columns))
    legend_above(figure, entries, width, columns)
    save(figure, path)


def draw_plane(path: Path, name: str, plane: Plane, width: float, scale: str) -> None:
    """Draw the contours of L in a plane, θ as a cross.

    Args:
        path: where to write the picture.
        name: of the network's file.
        plane: where L is known.
        width: in inches.
        scale: ``auto``, ``linear`` or ``log``.
    """
    places, losses = known_places(plane)
    figure = NotebookFigure(figsize=(width, 0.76 * width), dpi=300, layout="constrained")
    axes = figure.add_subplot(aspect="auto" if plane.checkpoints else "equal")
    levels, norm = _levels(losses, scale_of(losses, scale))
    triangles = Triangulation(places[:, 0], places[:, 1])
    filled = axes.tricontourf(
        triangles, losses, levels=levels, norm=norm, cmap=colours_of_heights("cividis"), extend="both"
    )
    axes.tricontour(triangles, losses, levels=levels, colors=ink(), linewidths=0.35)
    axes.plot(*places.T, ".", color="white", ms=0.8, alpha=0.6)
    if plane.checkpoints:
        way = np.array(plane.checkpoints).T
        axes.plot(*way, "o-", color="white", mec=ink(), mew=0.7, lw=1.2, ms=4.5)
    axes.plot([0], [0], "x", color="white", ms=7, mew=2)
    words = size_of_words(width)
    axes.set_title(shown(name), loc="left", color=ink(), parse_math=False, fontsize=words + 1)
    axes.set_xlabel(f"step along v: {plane.names[0]}", fontsize=words)
    axes.set_ylabel(f"step along w: {plane.names[1]}", fontsize=words)
    axes.tick_params(labelsize=words)
    bar = figure.colorbar(filled, ax=axes, shrink=0.85, format="%.3g")
    bar.set_label("loss L(θ + s v + t w)", fontsize=words)
    bar.ax.tick_params(labelsize=words)
    save(figure, path)


def known_places(plane: Plane) -> tuple[np.ndarray, np.ndarray]:
    """The places of a plane where the loss is finite, (known, 2), and the losses there, (known,)."""
    places, losses = np.array(plane.places), np.array(plane.losses)
    known = np.isfinite(losses)
    return places[known], losses[known]


def draw_between(path: Path, names: Sequence[str], lines: Mapping[str, Between], width: float, scale: str) -> None:
    """Draw L between two networks, the straight line that a barrier is counted from as a thin one.

    Args:
        path: where to write the picture.
        names: of the two files.
        lines: by their labels; at least one.
        width: in inches.
        scale: ``auto``, ``linear`` or ``log``.
    """
    figure, (axes,) = _panels(width, 1)
    entries: list[tuple[Artist, str]] = []
    for number, ((label, line), style) in enumerate(zip(lines.items(), ("-", "--", ":", "-."), strict=False)):
        colour = line_colour(number)
        (drawn,) = axes.plot(line.steps, line.losses, color=colour, ls=style, lw=1.6, marker="o", ms=2.5)
        entries.append((drawn, label))
        straight = [(1 - step) * line.losses[0] + step * line.losses[-1] for step in line.steps]
        axes.plot(line.steps, straight, color=ink(), lw=0.5)
    losses = [loss for line in lines.values() for loss in line.losses]
    axes.set(yscale=scale_of(losses, scale), ylabel="loss")
    axes.set_xlabel(f"way from 0: {shown(names[0])}\nto 1: {shown(names[1])}", parse_math=False)
    columns = 1 if width < _ROOMY else 2
    figure.set_figheight(figure.get_figheight() + 0.15 * math.ceil(len(entries) / columns))
    legend_above(figure, entries, width, columns)
    save(figure, path)


def _draw_network(axes: Axes, network: LinesOfNetwork, number: int | None, what: str) -> list[tuple[Artist, str]]:
    """The lines of one network, for a legend too; of several networks the number of this one decides its colour."""
    kinds = [*dict.fromkeys(line.name for line in network.lines)]
    entries: list[tuple[Artist, str]] = []
    for place, kind in enumerate(kinds):
        own = [line for line in network.lines if line.name == kind]
        heights = np.array([getattr(line, what) for line in own])
        if not heights.size:
            continue
        colour = line_colour(place if number is None else number)
        several = f" ({len(own)})" if len(own) > 1 else ""
        label = f"{kind}{several}" if number is None else f"{short_name(network.name)}: {kind}{several}"
        (line,) = axes.plot(own[0].steps, heights.mean(0), color=colour, ls=_STYLES.get(kind, "-."), lw=1.6)
        entries.append((line, label))
        if len(own) > 1:
            axes.fill_between(own[0].steps, heights.min(0), heights.max(0), color=colour, alpha=0.2, lw=0)
    return entries


def _panels(width: float, count: int) -> tuple[Figure, list[Axes]]:
    """So many panels of one height over one axis."""
    return column_of_panels(width, [(0.4 + 0.28 * count) * width / count] * count, sharex=True)


def scale_of(losses: Any, scale: str) -> str:
    """Linear or log, as it was asked for or as the losses want it; log needs positive ones."""
    known = [float(loss) for loss in losses if math.isfinite(loss)]
    positive = bool(known) and min(known) > 0
    wide = positive and max(known) > _DECADE * min(known)
    return "log" if positive and (scale == "log" or (scale == "auto" and wide)) else "linear"


def _levels(losses: np.ndarray, scale: str) -> tuple[np.ndarray, Normalize]:
    """The levels of contours: at even distances on the scale, without the highest hundredth of the losses."""
    low, high = float(losses.min()), float(np.quantile(losses, 0.99))
    high = high if high > low else low + max(abs(low), 1.0) * 1e-9
    if scale == "log":
        return np.geomspace(low, high, _LEVELS), LogNorm(low, high)
    return np.linspace(low, high, _LEVELS), Normalize(low, high)
