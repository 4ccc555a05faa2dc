"""``bnsharp rescale-test``: does the number survive a rescaling that changes nothing?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bnsharp_cli.cli import results
from bnsharp_cli.cli.checkpoints import OptionalCheckpointArgument
from bnsharp_cli.cli.reporter import TerminalReporter
from bnsharp_cli.cli.signature import Defaults, Fixed
from bnsharp_cli.cli.spelling import as_option
from bnsharp_cli.io.files.importing import importing_libraries
from bnsharp_cli.measurement.invariance.options import RESCALED_MEASURING, RescaleOptions
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.sharpness_entries import PartsOptions
from bnsharp_cli.workflows.input_files import input_files
from bnsharp_cli.workflows.options import (
    RESCALED_DATA,
    CheckpointSource,
    Computing,
    Data,
    Output,
    RescaledFiles,
)
from bnsharp_cli.workflows.output_files import OutputFile, copies_in

if TYPE_CHECKING:
    from bnsharp_cli.workflows.measuring_copies import MeasuredCopies
    from bnsharp_cli.workflows.rescaling import RescaledCheckpoint

EXAMPLE = "Example: bnsharp rescale-test --plot sharpness.png (measures the embedded sample network)"


def rescale_test(
    source: CheckpointSource,
    data: Annotated[Data, Defaults(RESCALED_DATA), Fixed(test_data=None)],
    measuring: Annotated[MeasureOptions, Defaults(RESCALED_MEASURING), Fixed(partition="paper", by=PartsOptions.by)],
    rescaling: RescaleOptions,
    files: RescaledFiles,
    computing: Computing,
    output: Output,
    checkpoint: OptionalCheckpointArgument = None,
) -> None:
    """Rescale the weights in ways that change nothing, and see which sharpness stands still.

    Exit 0 if BN-Sharpness is invariant within the tolerance, 1 if not; with measures to compare, always 0.
    """
    inputs = input_files([checkpoint] if checkpoint else [], source.arch, data.data, data.loss)

    def copies() -> list[OutputFile]:
        folder = files.save_copies
        return [] if folder is None else copies_in(folder, rescaling.epsilon == "stored")

    writes = results.require_writable(output.output, files.plot, inputs, copies)
    with importing_libraries():
        from bnsharp_cli.workflows.measuring_copies import measure_on_copies
        from bnsharp_cli.workflows.rescaling import rescale_checkpoint

    work = measure_on_copies if rescaling.measure else rescale_checkpoint
    with TerminalReporter(output.quiet, writes=writes) as reporter:
        found = work(
            checkpoint,
            source,
            data,
            measuring,
            rescaling,
            files=files,
            computing=computing,
            reporter=reporter,
        )
    results.deliver(results.CommandResult(found.document(as_option), lambda: _print(found)), output)
    raise typer.Exit(0 if found.passed else 1)


def _print(found: MeasuredCopies | RescaledCheckpoint) -> None:
    with importing_libraries():
        from bnsharp_cli.report.invariance_table import print_table
        from bnsharp_cli.report.subject import subject_lines
        from bnsharp_cli.report.terminal import console, print_cost, print_invariance, print_subject
        from bnsharp_cli.workflows.measuring_copies import MeasuredCopies

    out = console(as_option)
    print_subject(out, subject_lines(found.document(as_option)))
    if isinstance(found, MeasuredCopies):
        print_table(out, found.table)
    else:
        print_invariance(out, found.report)
    print_cost(out, found.network.passes, found.seconds)
