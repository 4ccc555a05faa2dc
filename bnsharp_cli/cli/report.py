"""``bnsharp report``: one page that a person wants to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnsharp_cli.cli import results
from bnsharp_cli.cli.checkpoints import NetworksArguments
from bnsharp_cli.cli.reporter import TerminalReporter
from bnsharp_cli.cli.signature import Fixed
from bnsharp_cli.cli.spelling import as_option
from bnsharp_cli.io.files.importing import importing_libraries
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.selection import Selection
from bnsharp_cli.workflows import torchrun
from bnsharp_cli.workflows.input_files import input_files
from bnsharp_cli.workflows.measured_files import MeasuredFiles
from bnsharp_cli.workflows.options import CheckpointSource, Computing, Data
from bnsharp_cli.workflows.report_options import ReportOptions, require_page

if TYPE_CHECKING:
    from bnsharp_cli.workflows.reporting import FigureWithCost, WrittenReport

EXAMPLE = "Example: bnsharp report small-batch.pt large-batch.pt --test-data digits --output report.html"


def report(
    checkpoint: NetworksArguments,
    source: CheckpointSource,
    data: Data,
    selection: Selection,
    measuring: Annotated[MeasureOptions, Fixed(delta=MeasureOptions.delta)],
    computing: Computing,
    files: Annotated[MeasuredFiles, Fixed(plot=None)],
    showing: ReportOptions,
) -> None:
    """Write a report as one HTML page: verdict, values and errors, what they mean, how to get them again.

    Each argument is a result of measure, compare, check, rescale-test, audit or bound, as JSON; a folder of results; or
    a checkpoint, which is measured. Networks that were measured alike are compared. The page loads nothing.
    """
    torchrun.require_alone("report")
    selection.runs(measuring)  # refuses what cannot be measured before anything is read
    require_page(showing.output)
    inputs = input_files(checkpoint, source.arch, data.data, data.test_data, data.loss)
    writes = results.require_writable(None, None, inputs, lambda: [("output", showing.output)])
    with importing_libraries():
        from bnsharp_cli.measurement.blocks.search_memory import SearchMemory
        from bnsharp_cli.workflows.measuring import ResultDocument, answered
        from bnsharp_cli.workflows.report_figures import draw_around, wants_figures
        from bnsharp_cli.workflows.reporting import report_on

    measuring, memory, drawn = replace(measuring, seed=data.seed), SearchMemory(), list[Path]()

    def answer(path: Path) -> ResultDocument:
        return answered(path, source, data, selection, measuring, files, computing, reporter, as_option, memory)

    def draw(path: Path, document: Mapping[str, Any]) -> Sequence[FigureWithCost]:
        if not wants_figures(showing.figures, document):
            return []
        drawn.append(path)
        whole = {name: value for name, value in measuring.particular.items() if name != "by"}
        first = replace(measuring, delta=selection.delta[0], particular=whole)
        return draw_around(path, source, replace(data, test_data=None), first, computing, reporter, len(drawn))

    with TerminalReporter(showing.quiet, writes=writes) as reporter:
        written = report_on(checkpoint, answer, draw, as_option)
    results.write_text(showing.output, written.html)
    for path, failure in written.failures:
        results.fail(failure, path)
    with results.on_stdout():
        _print(written, showing.output)
    raise typer.Exit(max((failure.exit_code for _, failure in written.failures), default=0))


def _print(written: WrittenReport, output: Path) -> None:
    with importing_libraries():
        from bnsharp_cli.io.files.printable_text import shown_path
        from bnsharp_cli.measurement.surface.cost import NO_PASSES
        from bnsharp_cli.report.terminal import console, print_cost

    out, first = console(as_option), written.verdicts[0]
    out.say(f"{first.word}: {first.subject} {first.sentence}".replace(":  ", ": "))
    out.say(f"wrote {shown_path(output)}, {len(written.html.encode()) / 1000:,.0f} kB")
    if written.cost != NO_PASSES:
        print_cost(out, written.cost, written.seconds)
