"""``bnsharp audit``: are the stated errors true on this network?"""

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
from bnsharp_cli.measurement.measures.registry import particular_defaults
from bnsharp_cli.workflows import torchrun
from bnsharp_cli.workflows.input_files import input_files
from bnsharp_cli.workflows.options import CheckpointSource, Computing, Data, Output

if TYPE_CHECKING:
    from bnsharp_cli.workflows.auditing import AuditedCheckpoint

EXAMPLE = "Example: bnsharp audit model.pt --data folder:images --samples 512"


def audit(
    checkpoint: CheckpointArgument,
    source: CheckpointSource,
    data: Annotated[Data, Fixed(test_data=None)],
    measuring: Annotated[MeasureOptions, Fixed(particular_defaults())],
    computing: Computing,
    output: Output,
) -> None:
    """Measure BN-Sharpness and hold each of its stated errors against independent evidence on the same file.

    Hundreds of plain losses, float64, other orders, threads, starts and draws: a few hundred to a few thousand times
    the time of a forward pass. Exit 0 if every statement that can be tested holds, 1 if one does not.
    """
    torchrun.require_alone("audit")
    inputs = input_files([checkpoint], source.arch, data.data, data.loss)
    writes = results.require_writable(output.output, inputs=inputs)
    with importing_libraries():
        from bnsharp_cli.workflows.auditing import audit_checkpoint

    with TerminalReporter(output.quiet, writes=writes) as reporter:
        audited = audit_checkpoint(checkpoint, source, data, measuring, computing=computing, reporter=reporter)
    results.deliver(results.CommandResult(audited.document(as_option), lambda: _print(audited)), output)
    raise typer.Exit(0 if audited.audit.holds else 1)


def _print(audited: AuditedCheckpoint) -> None:
    with importing_libraries():
        from bnsharp_cli.report.audit_table import print_findings
        from bnsharp_cli.report.subject import subject_lines
        from bnsharp_cli.report.terminal import console, print_cost, print_subject, print_verdict

    out = console(as_option)
    print_subject(out, subject_lines(audited.document(as_option)))
    print_findings(out, audited.audit)
    print_cost(out, audited.network.passes, audited.seconds)
    print_verdict(out, audited.audit.verdict, audited.audit.holds)
