"""Pictures of where a value comes from: the parts of layers or blocks as bars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from bnsharp_cli.report.figure_layout import column_of_panels, legend_above, short_name
from bnsharp_cli.report.figure_style import background, ink, line_colour, size_of_words
from bnsharp_cli.report.plots import save

_HATCHES = ("", "////", "....", "xxxx")
_POINTS, _AIR = 72.0, 1.45
"""Points of an inch; the height of a row in letters."""


@dataclass(frozen=True)
class LayerBar:
    """One part of a value.

    Attributes:
        name: of the layer, or block.
        value: the part.
        population: the part of the value on more samples; None where that is not known.
        low: the lower end of its interval; None where there is none.
        high: the upper end.
    """

    name: str
    value: float
    population: float | None = None
    low: float | None = None
    high: float | None = None


def draw_layers(
    path: Path, networks: Mapping[str, Sequence[LayerBar]], words: tuple[str, str], width: float, scale: str = "auto"
) -> None:
    """Draw parts as horizontal bars, a row for each layer; the picture is as high as they need.

    Args:
        path: where to write the picture.
        networks: the parts, by the name of each network; the order is that of the first.
        words: what the axis shows, and what a diamond is: the part on more samples.
        width: in inches.
        scale: ``log`` for a logarithmic axis.
    """
    rows = list(dict.fromkeys(bar.name for bars in networks.values() for bar in bars))
    letters = size_of_words(width)
    row = max(1.0, 0.62 * len(networks)) * _AIR * letters / _POINTS
    known = any(bar.population is not None for bars in networks.values() for bar in bars)
    entries = len(networks) * (len(networks) > 1) + known
    figure, (axes,) = column_of_panels(width, [row * len(rows) + 0.55 + 0.16 * entries])
    for number, bars in enumerate(networks.values()):
        _draw_bars(axes, {bar.name: bar for bar in bars}, rows, number, len(networks))
    axes.set_yticks(range(len(rows)), [short_name(name, 0.6 * width) for name in rows], parse_math=False)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    if scale == "log" and all(bar.value > 0 for bars in networks.values() for bar in bars):
        axes.set_xscale("log")
    axes.set_xlabel(words[0], loc="right", parse_math=False)
    several = [(_patch(number), short_name(name, width)) for number, name in enumerate(networks) if len(networks) > 1]
    legend_above(figure, [*several, *_diamond(axes, words[1], known)], width)
    save(figure, path)


def _draw_bars(axes: Axes, bars: Mapping[str, LayerBar], rows: Sequence[str], number: int, count: int) -> None:
    """The bars of one network, at their places among those of ``count`` networks."""
    height = 0.76 / count
    own = [(place - 0.38 + (number + 0.5) * height, bars[name]) for place, name in enumerate(rows) if name in bars]
    axes.barh([place for place, _ in own], [_finite(bar.value) for _, bar in own], height=height, **_look(number))
    for place, bar in own:
        if bar.low is not None and bar.high is not None:
            axes.plot([bar.low, bar.high], [place, place], color=ink(), lw=1.0)
        if bar.population is not None:
            axes.plot([_finite(bar.population)], [place], "D", color=ink(), ms=2.6, mfc=background(), mew=0.8)


def bars_of(parts: Sequence[Mapping[str, Any]]) -> list[LayerBar]:
    """The bars of the entries ``each`` of a record's ``parts``."""
    return [
        LayerBar(part["name"], part["value"], part["population"], part.get("low"), part.get("high")) for part in parts
    ]


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _look(number: int) -> dict[str, Any]:
    hatch = _HATCHES[number % len(_HATCHES)]
    return {"facecolor": line_colour(number), "alpha": 0.85, "hatch": hatch, "edgecolor": "white", "lw": 0}


def _patch(number: int) -> Patch:
    return Patch(**_look(number))


def _diamond(axes: Axes, meaning: str, known: bool) -> list[tuple[Artist, str]]:
    if not known:
        return []
    (mark,) = axes.plot([], [], "D", color=ink(), ms=2.6, mfc=background(), mew=0.8)
    return [(mark, meaning)]
