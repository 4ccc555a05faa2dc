"""``bnsharp reproduce``: the paper's figure 1 and tables 1 and 2, its numbers beside ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bnsharp_cli.cli import results
from bnsharp_cli.cli.reporter import TerminalReporter
from bnsharp_cli.cli.signature import Fixed, starting
from bnsharp_cli.cli.spelling import as_option
from bnsharp_cli.errors import shown
from bnsharp_cli.io.files.atomic_writing import require_writable_folder
from bnsharp_cli.io.files.importing import importing_libraries
from bnsharp_cli.training.paper_experiments import EXPERIMENTS
from bnsharp_cli.workflows import torchrun
from bnsharp_cli.workflows.options import Computing, Output
from bnsharp_cli.workflows.training_options import ReproductionOptions

if TYPE_CHECKING:
    from bnsharp_cli.workflows.reproducing import Reproduction

EXAMPLE = "Example: bnsharp reproduce figure-1 --budget smoke --output figure-1"


def reproduce(
    experiment: Annotated[
        str,
        typer.Argument(
            help="figure-1, table-1 or table-2.", show_default=False, autocompletion=starting(lambda _: EXPERIMENTS)
        ),
    ],
    reproducing: ReproductionOptions,
    computing: Computing,
    output: Annotated[Output, Fixed(output=None)],
) -> None:
    """Train the cells of an experiment of the paper and print its numbers beside ours.

    What is done is kept in the folder: the same command goes on where it was interrupted, and more --seeds add runs.
    """
    torchrun.require_alone("reproduce")
    with importing_libraries():
        from bnsharp_cli.workflows.reproducing import reproduce_experiment, wanted_cells

    wanted_cells(experiment, reproducing)
    require_writable_folder(reproducing.output)
    with TerminalReporter(output.quiet) as reporter:
        reproduction = reproduce_experiment(experiment, reproducing, computing=computing, reporter=reporter)
    with results.on_stdout():
        _print(reproduction, output.json)


def _print(reproduction: Reproduction, as_json: bool) -> None:
    with importing_libraries():
        from bnsharp_cli.report.json_document import render
        from bnsharp_cli.report.reproduction import print_reproduction
        from bnsharp_cli.report.terminal import console

    if as_json:
        results.print_document(render(reproduction.document()) + "\n")
        return
    print_reproduction(console(as_option), reproduction.rows, reproduction.notes())
    print(f"wrote {shown(reproduction.results)} and {shown(reproduction.picture)}")
