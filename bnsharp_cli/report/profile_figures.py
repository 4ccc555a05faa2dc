"""Pictures of values against δ: with their errors, and with marks that tell slope from curvature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bnsharp_cli.figures import MARKERS
from bnsharp_cli.measurement.comparison.value_interval import ValueInterval
from bnsharp_cli.report.comparison_plots import drawable, label_decades, reach_of
from bnsharp_cli.report.figure_layout import column_of_panels, legend_above, short_name
from bnsharp_cli.report.figure_style import background, ink, line_colour
from bnsharp_cli.report.plots import save

_STYLES = ("-", "--", "-.", ":")
_MOST_DECADES = 4.0


@dataclass(frozen=True)
class ProfilePoint:
    """One value against δ.

    Attributes:
        value: with the interval that is drawn.
        linear: whether it is that of the limit δ → 0; None where nothing can be said of that.
        limit: what it tends to for δ → 0; None where that is not known.
    """

    value: ValueInterval
    linear: bool | None
    limit: float | None


@dataclass(frozen=True)
class NetworkProfile:
    """The values of one measure of one network.

    Attributes:
        network: its name.
        measure: the name of the measure.
        points: by ascending δ.
    """

    network: str
    measure: str
    points: tuple[ProfilePoint, ...]


def draw_profiles_of_networks(path: Path, profiles: Sequence[NetworkProfile], width: float, scale: str) -> None:
    """Draw values against δ, a panel for each measure and a line for each network.

    Filled marks are of the linear regime, open ones of where curvature speaks, crosses of where nothing can be said.
    Thin lines are the limits δ → 0.

    Args:
        path: where to write the picture.
        profiles: at least one.
        width: in inches.
        scale: ``auto``, ``linear`` or ``log``, of the values; δ is on a logarithmic one.
    """
    measures = [*dict.fromkeys(one.measure for one in profiles)]
    networks = [*dict.fromkeys(one.network for one in profiles)]
    legend = 0.16 * (len(networks) + 1)
    heights = [0.56 * width + 0.3] * len(measures)
    figure, panels = column_of_panels(width, [heights[0] + legend, *heights[1:]], sharex=True)
    for axes, measure in zip(panels, measures, strict=True):
        own = [one for one in profiles if one.measure == measure]
        for one in own:
            _draw_profile(axes, one, networks.index(one.network))
        _finish(axes, own, scale)
    panels[-1].set_xlabel("δ")
    entries = [(_line(number), short_name(name, width)) for number, name in enumerate(networks)]
    legend_above(figure, [*entries, *_meanings(profiles)], width, columns=1 if width < _ROOMY else 2)
    save(figure, path)


_ROOMY = 5.0
"""Inches from which on a legend has two columns."""


def _draw_profile(axes: Axes, profile: NetworkProfile, number: int) -> None:
    """The values with their bars, and a mark each that says of what regime it is."""
    colour, marker = line_colour(number), MARKERS[number % len(MARKERS)]
    values = [drawable(point.value) for point in profile.points]
    deltas = [one.delta or 0.0 for one in values]
    reaches = [reach_of(one) for one in values]
    bars = ([below for below, _ in reaches], [above for _, above in reaches])
    style = {"color": colour, "ls": _STYLES[number % len(_STYLES)], "lw": 1.2}
    axes.errorbar(deltas, [one.value for one in values], bars, capsize=2, elinewidth=0.9, **style)
    for delta, one, point in zip(deltas, values, profile.points, strict=True):
        axes.plot([delta], [one.value], **_mark(point.linear, colour, marker))
    limits = [point.limit for point in profile.points if point.linear and point.limit is not None]
    if limits:
        axes.axhline(limits[0], color=colour, lw=0.5, ls=(0, (1, 2)))


def _mark(linear: bool | None, colour: Any, marker: str) -> dict[str, Any]:
    if linear is None:
        return {"color": colour, "marker": "x", "ms": 4.5, "ls": ""}
    face = colour if linear else background()
    return {"color": colour, "marker": marker, "ms": 4.5, "mfc": face, "mew": 1.1, "ls": "", "zorder": 3}


def _line(number: int) -> Line2D:
    style: dict[str, Any] = {"ls": _STYLES[number % len(_STYLES)], "marker": MARKERS[number % len(MARKERS)]}
    return Line2D([], [], color=line_colour(number), lw=1.2, ms=4.5, **style)


def _meanings(profiles: Sequence[NetworkProfile]) -> list[tuple[Line2D, str]]:
    """What the marks in a picture mean, as far as they are in it."""
    there = {point.linear for one in profiles for point in one.points}
    words = {True: "filled: linear in δ", False: "open: curvature speaks"}
    known = [(Line2D([], [], **_mark(kind, ink(), "o")), words[kind]) for kind in words if kind in there]
    unknown = any(point.linear is None for one in profiles for point in one.points) and bool(known)
    return [*known, *([(Line2D([], [], **_mark(None, ink(), "o")), "no more than rounding")] if unknown else [])]


def _finish(axes: Axes, profiles: Sequence[NetworkProfile], scale: str) -> None:
    """The scales and the label of a panel."""
    axes.set_xscale("log")
    values = [drawable(point.value) for one in profiles for point in one.points]
    ends = [one.value if one.low is None else min(one.low, one.value) for one in values]
    if scale != "linear" and all(end > 0 for end in ends):
        axes.set_yscale("log")
        label_decades(axes.yaxis, values)
    axes.set_ylabel(f"{profiles[0].measure}, value", parse_math=False)
