"""Pictures of networks side by side: values with intervals, profiles over δ, and curves along a training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from bnsharp_cli.errors import shown
from bnsharp_cli.figures import MARKERS
from bnsharp_cli.measurement.comparison.comparison import COMPARED_FIRST, SHARES
from bnsharp_cli.measurement.comparison.value_interval import ValueInterval
from bnsharp_cli.report.along_table import Stage, common_values, label_of
from bnsharp_cli.report.figure_layout import column_of_panels, short_name, width_of
from bnsharp_cli.report.figure_style import ink, line_colour, size_of_words
from bnsharp_cli.report.numbered_names import numbers_of
from bnsharp_cli.report.plots import save

_WIDTH, _TITLE = 7.0, 0.5
_LETTERS, _MARK = 14, 6
"""Letters in an inch of a legend, and in the place of a mark."""

_LONGEST = 28
_FEW_DECADES = 300.0
_DRAWN = 1e100
"""Numbers beyond this are a stranger's, and have no place on an axis."""
_TOGETHER = (("loss", "test-loss"), ("accuracy", "test-accuracy"), ("gap",), ("accuracy-gap",))
"""What is drawn into one panel along a training."""


def plot_networks(path: Path, networks: Sequence[Stage], title: str) -> None:
    """Draw each measure of several networks: values with intervals, or a profile over δ where there are several.

    Args:
        path: where to write the picture.
        networks: names, and values.
        title: above the picture.
    """
    measures = _by_measure(common_values(networks))
    heights = [2.4 if len(radii) > 1 else 0.5 + 0.26 * len(networks) for radii in measures.values()]
    figure, panels = _panels(heights, title)
    values = _by_kind(networks)
    names = [_short(name) for name, _ in networks]
    for axes, (measure, radii) in zip(panels, measures.items(), strict=True):
        own = [[each[measure, delta] for delta in radii] for each in values]
        if len(radii) > 1:
            _draw_profiles(axes, names, own, measure)
        else:
            _draw_values(axes, names, [one for (one,) in own], measure, radii[0])
    save(figure, path)


def plot_stages(path: Path, stages: Sequence[Stage], title: str, width: float = _WIDTH, scale: str = "auto") -> None:
    """Draw what changes along a training: a panel for losses, one for accuracies, and one for each measure.

    Args:
        path: where to write the picture.
        stages: names, and values, in their order.
        title: above the picture.
        width: in inches.
        scale: ``linear`` for values on a linear scale, which else is logarithmic where they can be.
    """
    wanted = common_values(stages)
    groups = [[kind for kind in wanted if kind[0] in names] for names in _TOGETHER]
    groups += [
        [(measure, delta) for delta in radii]
        for measure, radii in _by_measure(wanted).items()
        if measure not in COMPARED_FIRST
    ]
    groups = [group for group in groups if group]
    figure, panels = _panels([min(1.7, 0.37 * width)] * len(groups), title, sharex=True, width=width)
    values = _by_kind(stages)
    known = numbers_of([name for name, _ in stages])
    places = [*range(len(stages))] if known is None else known[1]
    for axes, group in zip(panels, groups, strict=True):
        for number, kind in enumerate(group):
            _draw_curve(axes, places, [each[kind] for each in values], label_of(*kind), number)
        _finish(axes, [each[kind] for each in values for kind in group], _axis_of(group), scale)
    if known is None:
        panels[-1].set_xticks(places, [_short(name) for name, _ in stages], rotation=30, ha="right", parse_math=False)
    else:
        panels[-1].set_xlabel(known[0])
        panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    save(figure, path)


def _by_measure(kinds: Sequence[tuple[str, float | None]]) -> Mapping[str, list[float | None]]:
    found: dict[str, list[float | None]] = {}
    for measure, delta in kinds:
        found.setdefault(measure, []).append(delta)
    return found


def _by_kind(networks: Sequence[Stage]) -> list[dict[tuple[str, float | None], ValueInterval]]:
    """The values of each network by measure and radius; NaN where an axis has no place for one."""
    return [{(one.measure, one.delta): drawable(one) for one in own} for _, own in networks]


def drawable(one: ValueInterval) -> ValueInterval:
    """The value and its interval as far as an axis has a place for them; NaN for a value of any other size."""
    if not abs(one.value) < _DRAWN:
        return ValueInterval(one.measure, one.delta, math.nan)
    inside = all(end is not None and abs(end) < _DRAWN for end in (one.low, one.high))
    return one if inside else ValueInterval(one.measure, one.delta, one.value)


def _panels(
    heights: Sequence[float], title: str, sharex: bool = False, width: float = _WIDTH
) -> tuple[Figure, Sequence[Axes]]:
    """A column of axes in the style of all pictures, below a title."""
    figure, panels = column_of_panels(width, [_TITLE + heights[0], *heights[1:]], sharex=sharex)
    figure.suptitle(
        short_name(title, 2 * width),
        x=0.01,
        ha="left",
        color=ink(),
        parse_math=False,
        fontsize=size_of_words(width) + 1,
    )
    return figure, panels


def _draw_values(
    axes: Axes, names: Sequence[str], values: Sequence[ValueInterval], measure: str, delta: float | None
) -> None:
    """A row for each network, from above, with its interval."""
    for place, one in enumerate(values):
        below, above = reach_of(one)
        colour, marker = _style(place)
        axes.errorbar([one.value], [place], xerr=[[below], [above]], color=colour, marker=marker, capsize=3, lw=1.4)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_title(label_of(measure, delta), loc="left", fontsize=size_of_words(_WIDTH), color=ink(), parse_math=False)
    if _positive(values):
        axes.set_xscale("log")
        label_decades(axes.xaxis, values)


def _draw_profiles(axes: Axes, names: Sequence[str], profiles: Sequence[Sequence[ValueInterval]], measure: str) -> None:
    """A line over δ for each network."""
    for number, (name, profile) in enumerate(zip(names, profiles, strict=True)):
        ordered = sorted(profile, key=lambda one: one.delta or 0.0)
        _draw_curve(axes, [one.delta or 0.0 for one in ordered], ordered, name, number)
    _finish(axes, [one for profile in profiles for one in profile], measure)
    axes.set_xscale("log")
    axes.set_xlabel("δ")


def _draw_curve(axes: Axes, places: Sequence[float], values: Sequence[ValueInterval], label: str, number: int) -> None:
    """Values with their intervals, from left to right."""
    colour, marker = _style(number)
    reach = [reach_of(one) for one in values]
    errors = ([below for below, _ in reach], [above for _, above in reach])
    figures = [one.value for one in values]
    axes.errorbar(places, figures, errors, label=label, color=colour, marker=marker, ms=4, lw=1.4, capsize=2)


def _finish(axes: Axes, values: Sequence[ValueInterval], label: str, scale: str = "auto") -> None:
    """The scale, the label and the legend of a panel."""
    if scale != "linear" and _positive(values):
        axes.set_yscale("log")
        label_decades(axes.yaxis, values)
    axes.set_ylabel(label, parse_math=False)
    labels = axes.get_legend_handles_labels()[1]
    if len(labels) > 1:  # above the panel, where it covers nothing
        width = width_of(axes)
        columns = max(1, int(_LETTERS * width) // (max(map(len, labels)) + _MARK))
        place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.1}
        axes.legend(frameon=False, fontsize=size_of_words(width), ncols=columns, **place)


def _axis_of(group: Sequence[tuple[str, float | None]]) -> str:
    """What the axis of a panel is called: the one curve in it, or what all are."""
    return label_of(*group[0]) if len(group) == 1 else shown(group[0][0])


def _style(number: int) -> tuple[str, str]:
    return line_colour(number), MARKERS[number % len(MARKERS)]


def reach_of(one: ValueInterval) -> tuple[float, float]:
    """How far the interval reaches below and above the value; an end on the wrong side of it, not at all."""
    if one.low is None or one.high is None:
        return 0.0, 0.0
    return max(0.0, one.value - one.low), max(0.0, one.high - one.value)


def _positive(values: Sequence[ValueInterval]) -> bool:
    """Whether a logarithmic scale shows all of the values and of their intervals, and they are no shares."""
    ends = [one.value if one.low is None else min(one.low, one.value) for one in values]
    return values[0].measure not in SHARES and all(end > 0 and math.isfinite(end) for end in ends)


def label_decades(axis: Axis, values: Sequence[ValueInterval]) -> None:
    """Plain numbers at 1, 2 and 5 of each power of ten, or at the powers alone where there are many."""
    ends = [end for one in values for end in (one.low, one.value, one.high) if end]
    steps = (1.0, 2.0, 5.0) if max(ends) < _FEW_DECADES * min(ends) else (1.0,)
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
    axis.set_minor_formatter(NullFormatter())


def _short(name: str) -> str:
    """A name that a picture has room for."""
    text = shown(name)
    return text if len(text) <= _LONGEST else f"…{text[1 - _LONGEST :]}"
