"""``bnsharp check``: the gate for continuous integration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnsharp_cli.cli import results
from bnsharp_cli.cli.check_reports import CheckReports
from bnsharp_cli.cli.checkpoints import CheckpointArguments
from bnsharp_cli.cli.reporter import TerminalReporter
from bnsharp_cli.cli.signature import Fixed
from bnsharp_cli.cli.spelling import as_option
from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.io.files.importing import importing_libraries
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.sharpness_entries import PartsOptions
from bnsharp_cli.workflows.check_output import CheckOutput
from bnsharp_cli.workflows.gate_options import BaselineOptions, CheckedRadii, GateOptions
from bnsharp_cli.workflows.input_files import input_files
from bnsharp_cli.workflows.options import CheckpointSource, Computing, Data
from bnsharp_cli.workflows.output_files import OutputFile
from bnsharp_cli.workflows.thresholds import Thresholds

if TYPE_CHECKING:
    from bnsharp_cli.workflows.checked_checkpoint import CheckedCheckpoint

EXAMPLE = "Example: bnsharp check model.pt --max loss=0.1 --min accuracy=90% --max bn=4.5"


def check(
    checkpoint: CheckpointArguments,
    source: CheckpointSource,
    data: Data,
    thresholds: Thresholds,
    radii: CheckedRadii,
    baseline: BaselineOptions,
    gate: GateOptions,
    measuring: Annotated[MeasureOptions, Fixed(delta=MeasureOptions.delta, by=PartsOptions.by)],
    computing: Computing,
    output: CheckOutput,
) -> None:
    """Check checkpoints: each loads, its weights are sound, limits hold, BN-Sharpness is invariant.

    A limit is held against all that a value may be on the whole split, so a check passes, fails or is inconclusive.
    Exit 0 if none fails, 1 if one does.
    """
    thresholds.require_measurable(measuring.power, radii.delta)
    _require_one_to_update(checkpoint, baseline)
    inputs = input_files(checkpoint, source.arch, data.data, data.test_data, data.loss)
    documents, reports = output.of_documents, CheckReports(output)
    writes = results.require_writable(
        documents.output,
        inputs=[*inputs, *_read_only(baseline)],
        further=lambda: [*_written(baseline), *reports.files],
    )
    with importing_libraries():
        from bnsharp_cli.measurement.blocks.search_memory import SearchMemory
        from bnsharp_cli.workflows.checking import Demands, check_checkpoint

    demands, memory = Demands(thresholds, baseline, gate, radii), SearchMemory()

    def finding(path: Path) -> results.CommandResult:
        with reports.of(path), TerminalReporter(output.quiet, writes=writes) as reporter:
            found = check_checkpoint(
                path, demands, source, data, measuring, computing=computing, reporter=reporter, memory=memory
            )
        reports.add(path, found)
        return results.CommandResult(
            found.document(as_option), lambda: reports.text(lambda: _print(found, len(checkpoint) > 1))
        )

    with reports:
        if len(checkpoint) > 1:
            code = results.deliver_each(checkpoint, finding, documents, lambda: None)
        else:
            code = 0
            results.deliver(finding(checkpoint[0]), documents)
    raise typer.Exit(code or int(not reports.passed))


def _require_one_to_update(checkpoint: list[Path], baseline: BaselineOptions) -> None:
    if baseline.update_baseline and len(checkpoint) > 1:
        raise UsageError(
            f"{named('update_baseline')} writes the result of one checkpoint.",
            "Name one.",
            argument="update_baseline",
            expected="one checkpoint",
            found=f"{len(checkpoint)} checkpoints",
        )


def _read_only(baseline: BaselineOptions) -> list[Path]:
    return [] if baseline.baseline is None or baseline.update_baseline else [baseline.baseline]


def _written(baseline: BaselineOptions) -> Iterator[OutputFile]:
    if baseline.baseline is not None and baseline.update_baseline:
        yield "baseline", baseline.baseline


def _print(checked: CheckedCheckpoint, several: bool) -> None:
    with importing_libraries():
        from bnsharp_cli.io.checkpoints.samples import checkpoint_title
        from bnsharp_cli.report.checks import print_checks, print_outcome
        from bnsharp_cli.report.terminal import console, print_cost

    out = console(as_option)
    if several:
        out.say(f"checkpoint {checkpoint_title(checked.network.checkpoint.path)}")  # never first on a line
    print_checks(out, checked.checks)
    print_cost(out, checked.network.passes, checked.seconds)
    print_outcome(out, checked.verdict, checked.outcome)
    if several:
        out.print()
