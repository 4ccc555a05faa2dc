"""``bnsharp inspect``: what is in this checkpoint?"""

from __future__ import annotations

from bnsharp_cli.cli import results
from bnsharp_cli.cli.checkpoints import CheckpointArgument
from bnsharp_cli.cli.reporter import TerminalReporter
from bnsharp_cli.cli.spelling import as_option
from bnsharp_cli.io.files.importing import importing_libraries
from bnsharp_cli.workflows import torchrun
from bnsharp_cli.workflows.input_files import input_files
from bnsharp_cli.workflows.inspection_options import InspectionOptions, ListingOptions
from bnsharp_cli.workflows.options import CheckpointSource, Output

EXAMPLE = "Example: bnsharp inspect model.pt --all"


def inspect(
    checkpoint: CheckpointArgument,
    source: CheckpointSource,
    inspecting: InspectionOptions,
    listing: ListingOptions,
    output: Output,
) -> None:
    """Show what a checkpoint holds: network, metadata, norms and scale-invariant blocks, found without data.

    Blocks are found on random images, which is enough for them. Nothing in the file is executed.
    """
    torchrun.require_alone("inspect")
    results.require_writable(output.output, inputs=input_files([checkpoint], source.arch))
    with importing_libraries():
        from bnsharp_cli.report.inspection import print_inspection
        from bnsharp_cli.report.terminal import console
        from bnsharp_cli.workflows.inspection import inspect_file

    with TerminalReporter(output.quiet) as reporter:
        inspected = inspect_file(checkpoint, source, inspecting, reporter=reporter)
    finding = results.CommandResult(
        inspected.document(as_option), lambda: print_inspection(console(as_option), inspected.inspection, listing.every)
    )
    results.deliver(finding, output)
