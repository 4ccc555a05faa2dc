"""``bnsharp measure``: how sharp is this minimum?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnsharp_cli.cli import results
from bnsharp_cli.cli.checkpoints import CheckpointArguments
from bnsharp_cli.cli.reporter import TerminalReporter
from bnsharp_cli.cli.signature import Fixed
from bnsharp_cli.cli.spelling import as_option
from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.io.files.importing import importing_libraries
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.selection import Selection
from bnsharp_cli.workflows.input_files import input_files
from bnsharp_cli.workflows.measured_files import MeasuredFiles
from bnsharp_cli.workflows.options import CheckpointSource, Computing, Data, Output, Sharding
from bnsharp_cli.workflows.shard import shard_of

if TYPE_CHECKING:
    from bnsharp_cli.workflows.measuring import ResultDocument

EXAMPLE = "Example: bnsharp measure model.pt --arch torchvision:resnet18 --data folder:images --delta 1e-3 --delta 1e-2"


def measure(
    checkpoint: CheckpointArguments,
    source: CheckpointSource,
    data: Data,
    selection: Selection,
    measuring: Annotated[MeasureOptions, Fixed(delta=MeasureOptions.delta)],
    computing: Computing,
    sharding: Sharding,
    files: MeasuredFiles,
    output: Output,
) -> None:
    """Measure the sharpness of the minimum that a checkpoint sits in.

    Several checkpoints give one result after the other, as JSON one document a line; what fails does not lose the
    others.
    """
    selection.runs(measuring)  # refuses what cannot be measured before anything is read
    several = sharding.shard is not None or len(checkpoint) > 1
    if several and files.plot is not None:
        raise UsageError(
            f"{named('plot')} draws one checkpoint.",
            f"Name one, without {named('shard')}.",
            argument="checkpoint",
            expected="one checkpoint",
            found=f"{len(checkpoint)} checkpoints" if sharding.shard is None else f"a share {sharding.shard}",
        )
    chosen = checkpoint if sharding.shard is None else shard_of(checkpoint, sharding.shard)
    inputs = input_files(checkpoint, source.arch, data.data, data.test_data, data.loss)
    writes = results.require_writable(output.output, files.plot, inputs=inputs)
    with importing_libraries():
        from bnsharp_cli.measurement.blocks.search_memory import SearchMemory
        from bnsharp_cli.workflows.measuring import answered

    memory = SearchMemory()

    def finding(path: Path) -> results.CommandResult:
        with TerminalReporter(output.quiet, writes=writes) as reporter:
            answer = answered(path, source, data, selection, measuring, files, computing, reporter, as_option, memory)
        every.append(answer)
        return results.CommandResult(answer.document, lambda: _print(answer, legend=not several))

    every: list[ResultDocument] = []
    if several:
        code = results.deliver_each(chosen, finding, output, lambda: _print_legend(every))
        raise typer.Exit(code)
    results.deliver(finding(chosen[0]), output)


def _print(answer: ResultDocument, legend: bool) -> None:
    with importing_libraries():
        from bnsharp_cli.report.parts_table import print_parts
        from bnsharp_cli.report.stored_results import on_every_sample, total_cost
        from bnsharp_cli.report.subject import print_kept, subject_lines
        from bnsharp_cli.report.terminal import console, print_cost, print_measurements, print_subject

    out = console(as_option)
    print_subject(out, subject_lines(answer.document))
    print_measurements(out, answer.measured, on_every_sample(answer.document), legend)
    print_parts(out, answer.measured)
    if answer.kept is None:
        print_cost(out, *total_cost(answer.document))
    else:
        print_kept(out, answer.kept)
    if not legend:
        out.print()


def _print_legend(every: Sequence[ResultDocument]) -> None:
    with importing_libraries():
        from bnsharp_cli.report.terminal import console, print_legend

    print_legend(console(as_option), [one for measured in every for one in measured.measured])
