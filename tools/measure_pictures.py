"""The pictures of docs/measures: each measure on copies that compute the same, and of four networks.

``python -m tools.measure_pictures`` takes ten minutes and writes docs/measures/NAME.svg. The networks are samples of
the package, the numbers those of ``bnsharp rescale-test --measure all`` and ``bnsharp measure --measure all``.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from bnsharp_cli.figures import BALL, INK, OURS
from bnsharp_cli.measurement.measures.registry import MEASURES

FOLDER = Path(__file__).parents[1] / "docs" / "measures"
SAMPLES = ("digits-small-batch", "digits-small-batch-decay", "digits-large-batch", "digits-large-batch-decay")
KINDS = {"T_a": "T_a", "norm": "norm", "head": "head", "neuron": "neuron"}
"""The rescalings that this network has."""
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "bnsharp", "font.family": "sans-serif", "font.size": 9}
NARROWEST = 10.0
"""What the axis of ratios shows at least, in both directions, so that a level row looks level."""


def write(copies: Mapping[str, Any], networks: Sequence[Mapping[str, Any]], folder: Path = FOLDER) -> None:
    """Draw every measure.

    Args:
        copies: the document of ``rescale-test --measure all``.
        networks: those of ``measure --measure all``, one for each of ``SAMPLES``.
        folder: where the pictures go.
    """
    rows = {row["measure"]: row for row in copies["invariance"]["rows"]}
    kinds = {copy["name"]: copy["kind"] for copy in copies["invariance"]["copies"]}
    for name in MEASURES:
        measured = [document["measures"][name] for document in networks]
        with mpl.rc_context(STYLE):
            figure = draw(name, rows[name], kinds, measured)
            FigureCanvasSVG(figure)
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


def draw(name: str, row: Mapping[str, Any], kinds: Mapping[str, str], measured: Sequence[Mapping[str, Any]]) -> Figure:
    """The two panels of one measure."""
    figure = Figure(figsize=(7.2, 2.1), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_copies(left, row, kinds)
    _draw_networks(right, name, measured)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", alpha=0.25, lw=0.6)
        axes.tick_params(axis="y", length=0)
    return figure


def _draw_copies(axes: Axes, row: Mapping[str, Any], kinds: Mapping[str, str]) -> None:
    own = row["values"]["original"]["value"]
    places = {kind: place for place, kind in enumerate(KINDS)}
    ratios = {copy: row["values"][copy]["value"] / own for copy in kinds if copy in row["values"]}
    shown = {copy: ratio for copy, ratio in ratios.items() if ratio > 0}
    axes.axvline(1, color=INK, lw=0.8)
    for copy, ratio in shown.items():
        still = 1 / 1.1 < ratio < 1.1
        axes.plot(ratio, places[kinds[copy]], "o", ms=6, color=OURS if still else BALL, alpha=0.85)
    axes.plot([1] * len(places), [*places.values()], "o", ms=9, mfc="none", mec=INK, mew=0.8)
    farthest = max(NARROWEST, *(max(ratio, 1 / ratio) * 2 for ratio in shown.values()))
    axes.set(xscale="log", xlim=(1 / farthest, farthest), ylim=(len(places) - 0.5, -0.5))
    axes.set_yticks([*places.values()], [*KINDS.values()])
    axes.set_xlabel("times its own value")
    axes.set_title("copies that compute the same", loc="left", color=INK, fontsize=9)


def _draw_networks(axes: Axes, name: str, measured: Sequence[Mapping[str, Any]]) -> None:
    labels = [sample.removeprefix("digits-") for sample in SAMPLES]
    for place, one in enumerate(measured):
        errors = [error for error in one["uncertainty"].values() if error is not None]
        value, error = one["value"], max(errors, default=0.0)
        axes.errorbar([value], [place], xerr=[[min(error, 0.95 * abs(value))], [error]], color=OURS, marker="o", lw=1.4)
    smallest, largest = (extreme(one["value"] for one in measured) for extreme in (min, max))
    axes.set_ylim(len(measured) - 0.5, -0.5)
    if largest / smallest > NARROWEST / 3:
        axes.set(xscale="log", xlim=(10 ** math.floor(math.log10(smallest)), 10 ** math.ceil(math.log10(largest))))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(left=0)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel(name)
    axes.set_title("four trained networks", loc="left", color=INK, fontsize=9)


def documents(*arguments: str) -> list[Any]:
    """What one command prints with ``--json``."""
    command = [sys.executable, "-P", "-m", "bnsharp_cli", *arguments, "--measure", "all", "--json", "--quiet"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [json.loads(printed)] if printed.startswith("{\n") else [json.loads(line) for line in printed.splitlines()]


if __name__ == "__main__":
    (of_copies,) = documents("rescale-test", f"sample:{SAMPLES[0]}")
    write(of_copies, documents("measure", *(f"sample:{sample}" for sample in SAMPLES)))
