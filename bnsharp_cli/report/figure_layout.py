"""What the pictures of ``bnsharp figure`` share: a column of panels of a given width, its words, and its legend."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnsharp_cli.errors import shown
from bnsharp_cli.figures import NotebookFigure
from bnsharp_cli.report.figure_style import size_of_words

_PIXELS = 300
_TALLEST = 200.0
"""Inches of a picture, of which a file holds some more."""

_OF_COLUMN, _WIDEST_COLUMN = 28, 3.4
"""Letters of a name in a legend for so many inches."""


def column_of_panels(width: float, heights: Sequence[float], *, sharex: bool = False) -> tuple[Figure, list[Axes]]:
    """Panels below each other, in the style of all pictures.

    Args:
        width: of the picture, in inches.
        heights: of the panels with their labels, in inches.
        sharex: whether they have one axis below them all.
    """
    size = (width, min(_TALLEST, sum(heights)))
    figure = NotebookFigure(figsize=size, dpi=_PIXELS, layout="constrained")
    grid = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False, sharex=sharex)
    panels, words = [*grid[:, 0]], size_of_words(width)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, lw=0.6)
        axes.tick_params(labelsize=words)
        axes.xaxis.label.set_size(words)
        axes.yaxis.label.set_size(words)
    return figure, panels


def width_of(axes: Axes) -> float:
    """The width of the picture of a panel, in inches."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return float(figure.get_figwidth())


def legend_above(figure: Figure, entries: Sequence[tuple[Artist, str]], width: float, columns: int = 1) -> None:
    """A legend above all panels, where it covers nothing.

    Args:
        figure: the picture.
        entries: marks, and what each means; names of files are shown as they are. Without any there is no legend.
        width: of the picture, in inches.
        columns: of the legend.
    """
    if not entries:
        return
    words, places = size_of_words(width), [f"{number}" for number in range(len(entries))]
    legend = figure.legend(
        [mark for mark, _ in entries],
        places,
        loc="outside upper left",
        ncols=columns,
        frameon=False,
        fontsize=words,
        borderpad=0,
        handlelength=2.2,
    )
    for text, (_, label) in zip(legend.get_texts(), entries, strict=True):
        text.set_parse_math(False)
        text.set_text(label)


def short_name(name: str, width: float = _WIDEST_COLUMN) -> str:
    """A name fit to print, without its beginning where there is no room for it.

    >>> short_name("sample:digits-small-batch"), short_name(40 * "a" + ".pt")
    ('sample:digits-small-batch', '…aaaaaaaaaaaaaaaaaaaaaaaa.pt')
    """
    text, longest = shown(name), round(_OF_COLUMN * max(width, _WIDEST_COLUMN) / _WIDEST_COLUMN)
    return text if len(text) <= longest else f"…{text[1 - longest :]}"
