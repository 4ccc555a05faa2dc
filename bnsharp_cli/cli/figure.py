"""``bnsharp figure``: the loss around a network, from the batches and the options of the number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnsharp_cli.cli import results
from bnsharp_cli.cli.checkpoints import CheckpointArguments
from bnsharp_cli.cli.reporter import TerminalReporter
from bnsharp_cli.cli.signature import Defaults, Fixed
from bnsharp_cli.cli.spelling import as_option
from bnsharp_cli.io.files.importing import importing_libraries
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.sharpness_entries import PartsOptions
from bnsharp_cli.workflows.figure_options import (
    FIGURE_KINDS,
    FigureFiles,
    FigureOptions,
    kind_of,
    require_values_format,
)
from bnsharp_cli.workflows.figure_selection import SELECTIONS, FigureSelection, particular_of, require_shown
from bnsharp_cli.workflows.input_files import input_files
from bnsharp_cli.workflows.measured_files import MeasuredFiles
from bnsharp_cli.workflows.options import CheckpointSource, Computing, Data
from bnsharp_cli.workflows.output_files import OutputFile

if TYPE_CHECKING:
    from bnsharp_cli.workflows.figures.drawing import Drawn

EXAMPLE = "Example: bnsharp figure landscape model.pt --plot landscape.svg --width 3.25in --values landscape.csv"

KindArgument = Annotated[
    str,
    typer.Argument(help=f"{' or '.join(FIGURE_KINDS)}.", show_default=False, autocompletion=lambda: [*FIGURE_KINDS]),
]


def figure(
    kind: KindArgument,
    checkpoint: CheckpointArguments,
    source: CheckpointSource,
    data: Data,
    selection: FigureSelection,
    measuring: Annotated[
        MeasureOptions, Fixed(by=PartsOptions.by, delta=MeasureOptions.delta), Defaults(hessian_starts=4)
    ],
    showing: FigureOptions,
    files: FigureFiles,
    computing: Computing,
) -> None:
    """Draw the loss around a network, or what is measured of it: over δ, by layer, along a training.

    The caption, with samples, δ, seeds and errors, is printed. A rescaling that changes nothing changes no figure.
    """
    kind_of(kind)
    require_values_format(files.values)
    chosen = selection.of(kind)
    require_shown(kind, data.test_data)
    runs = chosen.runs(replace(measuring, particular={**measuring.particular, **particular_of(kind)}))
    inputs = [*input_files(checkpoint, source.arch, data.data, data.test_data, data.loss), *files.read]
    writes = results.require_writable(None, files.plot, inputs, lambda: _beside(files))
    with importing_libraries():
        from bnsharp_cli.measurement.blocks.search_memory import SearchMemory
        from bnsharp_cli.report.figure_style import drawn_with
        from bnsharp_cli.report.style_files import style_settings
        from bnsharp_cli.workflows.figures.drawing import draw_figure
        from bnsharp_cli.workflows.figures.drawing_measured import draw_measured
        from bnsharp_cli.workflows.measuring import ResultDocument, answered

    memory, style = SearchMemory(), style_settings(files.style)

    def answer(path: Path) -> ResultDocument:
        own = (path, source, data, chosen, runs[0], MeasuredFiles(results=files.results), computing)
        return answered(*own, reporter, as_option, memory)

    with TerminalReporter(files.quiet, writes=writes) as reporter, drawn_with(style.settings):
        for note in style.notes:
            reporter.notice(note)
        if kind in SELECTIONS:
            drawn = draw_measured(kind, checkpoint, answer, showing, files)
        else:
            drawn = draw_figure(
                kind, checkpoint, source, data, runs[0], showing, files, computing=computing, reporter=reporter
            )
    with results.on_stdout():
        _print(drawn)


def _beside(files: FigureFiles) -> list[OutputFile]:
    return [] if files.values is None else [("values", files.values)]


def _print(drawn: Drawn) -> None:
    with importing_libraries():
        from bnsharp_cli.report.terminal import console, print_cost

    out = console(as_option)
    out.say(drawn.caption)
    print_cost(out, drawn.cost, drawn.seconds)
