"""Draws a figure of what is measured of checkpoints, or was measured and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bnsharp_cli.io.containers.folders import checkpoints_of
from bnsharp_cli.report.figure_values import write_values
from bnsharp_cli.workflows import torchrun
from bnsharp_cli.workflows.figure_options import FigureFiles, FigureOptions
from bnsharp_cli.workflows.figures.delta import DELTA_FIGURE
from bnsharp_cli.workflows.figures.drawing import Drawn
from bnsharp_cli.workflows.figures.layers import LAYERS_FIGURE
from bnsharp_cli.workflows.figures.measured import MeasuredKind, measured_networks
from bnsharp_cli.workflows.figures.spectrum import SPECTRUM_FIGURE
from bnsharp_cli.workflows.figures.training import TRAINING_FIGURE
from bnsharp_cli.workflows.measuring import ResultDocument


def draw_measured(
    kind: str,
    paths: Sequence[Path],
    answer: Callable[[Path], ResultDocument],
    options: FigureOptions,
    files: FigureFiles,
) -> Drawn:
    """Draw one kind of figure from results.

    Args:
        kind: one of :data:`MEASURED_KINDS`.
        paths: checkpoints, ``sample:NAME``, results that ``measure`` wrote, or for a training a folder of checkpoints.
        answer: measures a checkpoint.
        options: of the figure.
        files: where to.

    Raises:
        BnsharpError: what cannot be opened, measured or written, with its remedy.
    """
    figure = MEASURED_KINDS[kind]
    if figure.along:
        paths = [one for path in paths for one in checkpoints_of(path)]
    figure.require_number(len(paths))
    found = measured_networks(paths, answer, figure.along)
    figure.require_number(len(found.results))
    caption = figure.caption(found)
    if torchrun.is_first():
        figure.picture(files.plot, found, options, files.width)
        write_values(files.values, figure.rows(found), found.about(kind, caption))
    return Drawn(caption, found.cost, found.seconds)


MEASURED_KINDS: Mapping[str, MeasuredKind] = {
    "delta": DELTA_FIGURE,
    "layers": LAYERS_FIGURE,
    "spectrum": SPECTRUM_FIGURE,
    "training": TRAINING_FIGURE,
}
"""The kinds by their names, of those in :data:`~bnsharp_cli.workflows.figure_options.FIGURE_KINDS`."""
