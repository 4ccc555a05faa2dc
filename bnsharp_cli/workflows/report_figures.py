"""The loss around a checkpoint, drawn for a page."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bnsharp_cli.io.checkpoints.samples import checkpoint_title
from bnsharp_cli.io.files.printable_text import escaped
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.report.pages.inline_svg import inlined, words_as_words
from bnsharp_cli.report.pages.page import PageFigure
from bnsharp_cli.workflows.figure_options import FigureFiles, FigureOptions
from bnsharp_cli.workflows.figures.drawing import draw_figure
from bnsharp_cli.workflows.options import CheckpointSource, Computing, Data
from bnsharp_cli.workflows.report_options import SMALL_NETWORK
from bnsharp_cli.workflows.reporter import Reporter
from bnsharp_cli.workflows.reporting import FigureWithCost

_WIDTH = 4.7
"""Inches: words of nine points can be read on a phone."""

_OPTIONS = FigureOptions(random=3, evaluations=120)
_KINDS = {"profile": "Loss along lines through", "landscape": "Loss in a plane through"}


def wants_figures(figures: str, document: Mapping[str, Any]) -> bool:
    """Whether figures of a checkpoint are drawn.

    Args:
        figures: ``all``, ``none``, or ``auto`` for those of a small network.
        document: of the checkpoint.
    """
    return figures == "all" or (figures == "auto" and document["checkpoint"]["parameters"] <= SMALL_NETWORK)


def draw_around(
    path: Path,
    source: CheckpointSource,
    data: Data,
    measuring: MeasureOptions,
    computing: Computing,
    reporter: Reporter,
    number: int,
) -> Sequence[FigureWithCost]:
    """A profile and a landscape of one checkpoint.

    Args:
        path: of the checkpoint.
        source: which of its weights are taken, and which network they belong to.
        data: the loss.
        measuring: δ, partition and the search for the sharpest direction.
        computing: where to compute.
        reporter: told what the user should know.
        number: of the checkpoint on its page.
    """
    drawn, name = [], escaped(checkpoint_title(path), 80)
    with tempfile.TemporaryDirectory(prefix="bnsharp-") as folder, words_as_words():
        for kind, title in _KINDS.items():
            file = Path(folder) / f"{kind}.svg"
            files = FigureFiles(plot=file, width=_WIDTH)
            found = draw_figure(
                kind, [path], source, data, measuring, _OPTIONS, files, computing=computing, reporter=reporter
            )
            caption = f"{found.caption} It took {found.cost.passes}."
            svg = inlined(file.read_bytes(), f"{kind}-{number}", f"{title} {name}", found.caption)
            on_light = kind == "landscape"
            figure = PageFigure(svg, f"{title} {name}", found.caption, caption, on_light)
            drawn.append(FigureWithCost(figure, found.cost))
    return drawn
