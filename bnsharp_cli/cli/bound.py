"""``bnsharp bound``: Theorem 3.3, from BN-Sharpness to a bound on the loss of new data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from bnsharp_cli.cli import results
from bnsharp_cli.cli.checkpoints import CheckpointArgument
from bnsharp_cli.cli.reporter import TerminalReporter
from bnsharp_cli.cli.signature import Defaults, Fixed
from bnsharp_cli.cli.spelling import as_option
from bnsharp_cli.io.data.forms import CROSS_ENTROPY
from bnsharp_cli.io.files.importing import importing_libraries
from bnsharp_cli.measurement.bound.options import BoundOptions
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.registry import particular_defaults
from bnsharp_cli.workflows.input_files import input_files
from bnsharp_cli.workflows.options import CheckpointSource, Computing, Data, Output

if TYPE_CHECKING:
    from bnsharp_cli.workflows.bounding import BoundedCheckpoint

EXAMPLE = "Example: bnsharp bound model.pt --kl 50 --confidence 0.95 --samples all"


def bound(
    checkpoint: CheckpointArgument,
    bounding: BoundOptions,
    source: CheckpointSource,
    data: Annotated[Data, Defaults(bn="running"), Fixed(loss=CROSS_ENTROPY, test_data=None)],
    measuring: Annotated[MeasureOptions, Fixed(particular_defaults())],
    computing: Computing,
    output: Output,
) -> None:
    """Bound the loss on new data by PAC-Bayes and BN-Sharpness (Theorem 3.3), its terms shown separately.

    The factor of BN-Sharpness is the corrected one. Batch norm uses running statistics unless --bn batch is given,
    since the theorem counts independent terms, and batch statistics make one of each batch.
    """
    writes = results.require_writable(output.output, inputs=input_files([checkpoint], source.arch, data.data))
    with importing_libraries():
        from bnsharp_cli.workflows.bounding import bound_checkpoint

    with TerminalReporter(output.quiet, writes=writes) as reporter:
        bounded = bound_checkpoint(
            checkpoint, bounding, source, data, measuring, computing=computing, reporter=reporter
        )
    results.deliver(results.CommandResult(bounded.document(as_option), lambda: _print(bounded)), output)


def _print(bounded: BoundedCheckpoint) -> None:
    with importing_libraries():
        from bnsharp_cli.report.bound import print_bound
        from bnsharp_cli.report.subject import subject_lines
        from bnsharp_cli.report.terminal import console, print_cost, print_subject

    out = console(as_option)
    print_subject(out, subject_lines(bounded.document(as_option)))
    print_bound(out, bounded.bound)
    print_cost(out, bounded.network.passes, bounded.seconds)
