"""``bnsharp check``: the gate for continuous integration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bnsharp_cli.cli import results
from bnsharp_cli.cli.checkpoints import CheckpointArgument
from bnsharp_cli.cli.reporter import TerminalReporter
from bnsharp_cli.cli.signature import Fixed
from bnsharp_cli.cli.spelling import as_option
from bnsharp_cli.io.files.importing import importing_libraries
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.sharpness_entries import PartsOptions
from bnsharp_cli.workflows.input_files import input_files
from bnsharp_cli.workflows.options import CheckpointSource, Computing, Data, Output
from bnsharp_cli.workflows.thresholds import Thresholds

if TYPE_CHECKING:
    from bnsharp_cli.workflows.checking import CheckedCheckpoint

EXAMPLE = "Example: bnsharp check model.pt --max-loss 0.1 --min-accuracy 0.9 --max bn=4.5"


def check(
    checkpoint: CheckpointArgument,
    source: CheckpointSource,
    data: Data,
    thresholds: Thresholds,
    measuring: Annotated[MeasureOptions, Fixed(by=PartsOptions.by)],
    computing: Computing,
    output: Output,
) -> None:
    """Check a checkpoint: it loads, its weights are finite, thresholds hold, BN-Sharpness is invariant.

    Exit 0 if every check passes, 1 if one fails.
    """
    thresholds.require_power(measuring.power)
    inputs = input_files([checkpoint], source.arch, data.data, data.test_data, data.loss)
    writes = results.require_writable(output.output, inputs=inputs)
    with importing_libraries():
        from bnsharp_cli.workflows.checking import check_checkpoint

    with TerminalReporter(output.quiet, writes=writes) as reporter:
        checked = check_checkpoint(
            checkpoint, thresholds, source, data, measuring, computing=computing, reporter=reporter
        )
    results.deliver(results.CommandResult(checked.document(as_option), lambda: _print(checked)), output)
    raise typer.Exit(0 if checked.passed else 1)


def _print(checked: CheckedCheckpoint) -> None:
    with importing_libraries():
        from bnsharp_cli.report.terminal import console, print_checks, print_cost, print_verdict

    out = console(as_option)
    print_checks(out, checked.checks)
    print_cost(out, checked.network.passes, checked.seconds)
    print_verdict(out, checked.verdict, checked.passed)
