"""Pictures of a page: small enough for a phone, in colours that the theme of the page may change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from bnsharp_cli.errors import shown
from bnsharp_cli.figures import INK, LINE_COLOURS, MARKERS

_WIDTH, _WORDS = 4.4, 9.5
_LONGEST = 40
_MOST_MARKS = 7
_DRAWN = 1e30
"""Numbers beyond this are a stranger's, and have no place on an axis."""


@dataclass(frozen=True)
class NetworkCurve:
    """One line of a picture.

    Attributes:
        label: of the line.
        points: place, value, and the lower and upper end of what it may be, from left to right.
    """

    label: str
    points: Sequence[tuple[float, float, float, float]]


@dataclass(frozen=True)
class RatioRow:
    """One ratio with its interval."""

    label: str
    ratio: float
    low: float
    high: float


def draw_curves(curves: Sequence[NetworkCurve], along: str, what: str) -> Figure:
    """Values with their errors along a radius, a line for each network, on logarithmic scales where that is possible.

    Args:
        curves: the lines.
        along: what the places are.
        what: the values are.
    """
    figure, axes = _new_axes(3.0)
    for number, curve in enumerate(curves):
        points = [point for point in curve.points if max(map(abs, point)) < _DRAWN]
        places, values = [point[0] for point in points], [point[1] for point in points]
        reach = [[point[1] - point[2] for point in points], [point[3] - point[1] for point in points]]
        colour, marker = LINE_COLOURS[number % len(LINE_COLOURS)], MARKERS[number % len(MARKERS)]
        label = _short(curve.label)
        axes.errorbar(places, values, reach, label=label, color=colour, marker=marker, ms=4.5, lw=1.5, capsize=3)
    lowest = min((point[2] for curve in curves for point in curve.points), default=0.0)
    axes.set(xscale="log", yscale="log" if lowest > 0 else "linear")
    _mark(axes, sorted({point[0] for curve in curves for point in curve.points}))
    axes.set_xlabel(along)
    axes.set_ylabel(shown(what), parse_math=False)
    if len(curves) > 1:
        legend = axes.legend(frameon=False, fontsize=_WORDS)
        for text in legend.get_texts():
            text.set_parse_math(False)
    return figure


def draw_ratios_of(rows: Sequence[RatioRow], networks: tuple[str, str]) -> Figure:
    """Ratios of two networks with their intervals, a row for each measure; the line at one is where they are alike.

    Args:
        rows: from above.
        networks: the names of both.
    """
    figure, axes = _new_axes(0.9 + 0.3 * len(rows))
    for place, row in enumerate(rows):
        decided = row.low > 1 or row.high < 1
        reach = [[max(0.0, row.ratio - row.low)], [max(0.0, row.high - row.ratio)]]
        colour = LINE_COLOURS[0] if decided else INK
        axes.errorbar([row.ratio], [place], xerr=reach, color=colour, marker="o" if decided else "D", capsize=3, lw=1.5)
    axes.axvline(1, color=INK, lw=0.8, ls=(0, (4, 3)))
    axes.set_yticks(range(len(rows)), [_short(row.label) for row in rows], parse_math=False)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(shown(f"{networks[0]} / {networks[1]}"), parse_math=False)
    return figure


def _new_axes(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    figure.patch.set_visible(False)
    axes = figure.add_subplot()
    axes.patch.set_visible(False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.4, lw=0.6)
    axes.tick_params(labelsize=_WORDS)
    axes.xaxis.label.set_fontsize(_WORDS)
    axes.yaxis.label.set_fontsize(_WORDS)
    return figure, axes


def _mark(axes: Axes, places: Sequence[float]) -> None:
    """Name the places themselves where their names have room, and else the powers of ten."""
    apart = [math.log(after / before) for before, after in pairwise(places) if before > 0]
    if 0 < len(apart) <= _MOST_MARKS and min(apart) * 2 * len(apart) > sum(apart):
        axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.xaxis.set_minor_locator(NullLocator())


def _short(name: str) -> str:
    text = shown(name)
    return text if len(text) <= _LONGEST else f"…{text[1 - _LONGEST :]}"
