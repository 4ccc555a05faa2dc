"""The style of all pictures, and the pictures of measurements; drawn without a display."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bnsharp_cli.errors import shown

OURS, BALL, MEAN, INK = "#0072b2", "#d55e00", "#f0c000", "#333333"
"""Colours: of BN-Sharpness, of what is largest in a ball, of means over a ball, and of lines and words.

They differ for people who cannot tell red from green, too (after Okabe & Ito 2008).
"""

Curve = Sequence[tuple[float, float]]
"""Pairs (t, ΔL) along a direction."""

Profile = Sequence[tuple[float, float, float]]
"""Triples (δ, value, error) of one measure."""

_DARKEST = 3
"""From this power of ten on every ratio has the darkest shade."""

MARKERS = ("o", "s", "^", "D", "v", "P")
"""The marks of several things, in their order."""

LINE_COLOURS = (OURS, BALL, MEAN, INK)
"""The colours of several things, in their order."""


class NotebookFigure(Figure):
    """A figure that a notebook shows as a picture, whether pyplot was imported or not."""

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        FigureCanvasAgg(self)
        self.savefig(stream, format="png")
        return stream.getvalue()


def new_axes(title: str) -> tuple[Figure, Axes]:
    """A figure with one pair of axes in the style of all pictures; the title may be a file's name."""
    figure = _new_figure()
    axes = figure.add_subplot()
    axes.set_title(shown(title), loc="left", color=INK, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, lw=0.6)
    return figure, axes


def _new_figure() -> Figure:
    return NotebookFigure(figsize=(7, 4.6), dpi=150, layout="constrained")


def draw_nodes(axes: Axes, nodes: Curve, delta: float) -> None:
    """The loss changes that a value was computed from, along its direction."""
    axes.plot(*columns(nodes, delta), "o", color=OURS, ms=4, label="quadrature nodes")


def label_segment(axes: Axes, radii: Sequence[float]) -> None:
    """What the two axes of segments of these radii are, and a line where the loss does not change."""
    axes.axhline(0, color=INK, lw=0.6)
    change = "L(θ + tv) − L(θ)"
    one = len(radii) == 1
    axes.set(xlabel=f"t / δ, δ = {radii[0]:g}" if one else "t / δ", ylabel=change if one else f"({change}) / δ")


def columns(curve: Curve, delta: float, divisor: float = 1.0) -> tuple[list[float], list[float]]:
    """The steps t / δ and the loss changes of a curve, divided by ``divisor``."""
    return [t / delta for t, _ in curve], [change / divisor for _, change in curve]


def draw_segment(nodes: Curve, delta: float, title: str) -> Figure:
    """The loss changes along the direction of one measurement, at its quadrature nodes.

    Args:
        nodes: pairs (t, ΔL).
        delta: δ.
        title: above the picture.
    """
    figure, axes = new_axes(title)
    label_segment(axes, [delta])
    ordered = sorted(nodes)
    axes.plot(*columns(ordered, delta), color=OURS, lw=1.2)
    draw_nodes(axes, ordered, delta)
    axes.legend(frameon=False)
    return figure


def draw_profiles(profiles: Mapping[str, Profile], title: str) -> Figure:
    """Values against δ with their errors, a line for each measure; both axes logarithmic where all is positive.

    Measures without a radius, whose δ is NaN, are no part of such a picture: they are drawn where there are no others.

    Args:
        profiles: by the name of the measure.
        title: above the picture.
    """
    having = {name: profile for name, profile in profiles.items() if not math.isnan(profile[0][0])}
    if not having:
        return _draw_values({name: profile[0][1:] for name, profile in profiles.items()}, title)
    figure, axes = new_axes(title)
    profiles = having
    for number, (name, profile) in enumerate(profiles.items()):
        deltas, values, errors = zip(*sorted(profile), strict=True)
        colour, marker = LINE_COLOURS[number % len(LINE_COLOURS)], MARKERS[number % len(MARKERS)]
        axes.errorbar(deltas, values, errors, label=name, color=colour, marker=marker, lw=1.4, capsize=2)
    positive = all(value > 0 for profile in profiles.values() for _, value, _ in profile)
    axes.set(xscale="log", yscale="log" if positive else "linear", xlabel="δ", ylabel="sharpness")
    axes.legend(frameon=False)
    return figure


def _draw_values(values: Mapping[str, tuple[float, float]], title: str) -> Figure:
    """Values with their errors, a row for each measure, on its own scale."""
    figure = _new_figure()
    for place, (name, (value, error)) in enumerate(values.items()):
        row = figure.add_subplot(len(values), 1, place + 1)
        row.errorbar([value], [0], xerr=[error], color=OURS, marker="o", lw=1.4, capsize=2)
        row.set_yticks([0], [name])
        row.spines[["top", "right"]].set_visible(False)
        row.grid(alpha=0.25, lw=0.6)
        row.margins(x=0.3)
    figure.suptitle(shown(title), x=0.01, ha="left", color=INK, parse_math=False)
    return figure


def draw_invariance(scales: Sequence[float], values: Mapping[str, Sequence[float]], claim: str, title: str) -> Figure:
    """Sharpness against a, both axes logarithmic: the classical ones explode, BN-Sharpness is a level line.

    Args:
        scales: a of every copy.
        values: of every copy, by the label of the measure; BN-Sharpness last.
        claim: a phrase at the line of BN-Sharpness.
        title: above the picture.
    """
    figure, axes = new_axes(title)
    for (label, line), colour, marker, width in zip(
        values.items(), (BALL, MEAN, OURS), ("s", "^", "o"), (1.4, 1.4, 2.4), strict=True
    ):
        axes.plot(scales, line, marker=marker, color=colour, label=label, lw=width)
    end = (scales[-1], line[-1])
    axes.annotate(claim, end, xytext=(0, 8), textcoords="offset points", ha="right", color=OURS)
    what = "a: every normalised weight is multiplied by it"
    axes.set(xscale="log", yscale="log", xlabel=what, ylabel="sharpness")
    axes.legend(frameon=False)
    return figure


def draw_ratios(columns: Sequence[str], rows: Mapping[str, Sequence[float]], title: str) -> Figure:
    """Every value divided by the original's, a row for each measure and a column for each copy.

    A field is the darker, the farther the ratio is from one on a logarithmic scale; the number in it says which way.

    Args:
        columns: the names of the copies.
        rows: the ratios on the copies, by the name of the measure; 1 where a value is the original's, NaN where
            its error hides whether it is.
        title: above the picture.
    """
    figure = NotebookFigure(figsize=(2.6 + 0.95 * len(columns), 1.5 + 0.34 * len(rows)), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(shown(title), loc="left", color=INK, parse_math=False, fontsize=10)
    decades = [[_decades(ratio) for ratio in own] for own in rows.values()]
    shading = axes.imshow(decades, cmap="Blues", vmin=0, vmax=_DARKEST, aspect="auto")
    for y, own in enumerate(rows.values()):
        for x, ratio in enumerate(own):
            ink = "white" if decades[y][x] > _DARKEST / 2 else INK
            axes.text(x, y, _ratio(ratio), ha="center", va="center", color=ink, fontsize=8)
    axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right", fontsize=8)
    axes.set_yticks(range(len(rows)), [*rows], fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(shading, ax=axes, ticks=range(_DARKEST + 1), shrink=0.8, extend="max")
    bar.ax.set_yticklabels([f"{10**decade:g}" for decade in range(_DARKEST + 1)], fontsize=8)
    bar.set_label("times too large or too small", fontsize=8, color=INK)
    return figure


def _decades(ratio: float) -> float:
    """How far a ratio is from one, in powers of ten; a ratio that is not positive is as far as can be shown."""
    if math.isnan(ratio):
        return 0.0
    return min(abs(math.log10(ratio)), _DARKEST) if ratio > 0 and math.isfinite(ratio) else _DARKEST


def _ratio(ratio: float) -> str:
    """A ratio in a field.

    >>> _ratio(1.0), _ratio(1.034), _ratio(58.2), _ratio(1 / 58.2), _ratio(4.2e6), _ratio(-3), _ratio(math.nan)
    ('=', '× 1.03', '× 58', '÷ 58', '× 4e+06', '−', '≈')
    """
    if math.isnan(ratio):
        return "≈"
    if ratio <= 0 or math.isinf(ratio):
        return "−"
    if ratio == 1:
        return "="
    size = max(ratio, 1 / ratio)
    digits = ".2f" if size < 10 else ".0f" if size < 1e4 else ".0e"
    return f"{'×' if ratio > 1 else '÷'} {size:{digits}}"
