"""Pictures of how the eigenvalues of a Hessian are distributed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bnsharp_cli.report.figure_layout import column_of_panels, legend_above, short_name
from bnsharp_cli.report.figure_style import ink, line_colour
from bnsharp_cli.report.plots import save

_STYLES = ("-", "--", "-.", ":")
_LOWEST = 1e-7
"""Of the peak: what is drawn of a density on a logarithmic scale."""


@dataclass(frozen=True)
class Spectrum:
    """The eigenvalues of one network.

    Attributes:
        network: its name.
        eigenvalues: where the density is known, ascending.
        density: there.
        error: its standard error there; empty where it is not known.
        largest: eigenvalues to mark.
        smallest: the smallest Ritz value.
    """

    network: str
    eigenvalues: tuple[float, ...]
    density: tuple[float, ...]
    error: tuple[float, ...]
    largest: tuple[float, ...]
    smallest: float


def draw_spectra(path: Path, spectra: Sequence[Spectrum], width: float, scale: str) -> None:
    """Draw densities of eigenvalues over each other, with bands of their errors and marks at the largest.

    Args:
        path: where to write the picture.
        spectra: at least one.
        width: in inches.
        scale: ``linear`` for a linear scale of the density, which else is logarithmic.
    """
    entries: list[tuple[Artist, str]] = []
    figure, (axes,) = column_of_panels(width, [0.56 * width + 0.3 + 0.16 * (len(spectra) + 1)])
    for number, one in enumerate(spectra):
        entries.append((_draw(axes, one, number), short_name(one.network, width)))
    peak = max(max(one.density) for one in spectra)
    if scale != "linear" and peak > 0:
        axes.set_yscale("log")
        axes.set_ylim(_LOWEST * peak, 3 * peak)
    axes.set(xlabel="eigenvalue λ of D H D", ylabel="density")
    if any(one.largest for one in spectra):
        entries.append((_triangle(ink()), "largest eigenvalues"))
    legend_above(figure, entries, width)
    save(figure, path)


def _draw(axes: Axes, spectrum: Spectrum, number: int) -> Line2D:
    """The density of one network, its band and its marks; answers with the line for the legend."""
    colour, style = line_colour(number), _STYLES[number % len(_STYLES)]
    places, heights = np.array(spectrum.eigenvalues), np.array(spectrum.density)
    (line,) = axes.plot(places, heights, color=colour, ls=style, lw=1.4)
    if spectrum.error:
        errors = np.array(spectrum.error)
        axes.fill_between(places, np.maximum(heights - errors, 0), heights + errors, color=colour, alpha=0.25, lw=0)
    for largest in spectrum.largest:
        axes.plot([largest], [0.04 + 0.05 * number], transform=axes.get_xaxis_transform(), **_look(colour))
    return line


def _look(colour: Any) -> dict[str, Any]:
    return {"color": colour, "marker": "v", "ms": 4.5, "ls": "", "clip_on": False}


def _triangle(colour: str) -> Line2D:
    return Line2D([], [], **_look(colour))
