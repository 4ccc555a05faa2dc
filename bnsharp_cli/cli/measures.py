"""``bnsharp measures``: what can be measured, and what a rescaling does to it?"""

from __future__ import annotations

from typing import Annotated

from bnsharp_cli.cli import results
from bnsharp_cli.cli.signature import Fixed
from bnsharp_cli.report.measure_list import measures_document, measures_text
from bnsharp_cli.workflows import torchrun
from bnsharp_cli.workflows.options import Output

EXAMPLE = "Example: bnsharp measures --json"


def measures(output: Annotated[Output, Fixed(quiet=False)]) -> None:
    """List the measures: what each is, what it costs, where it is from, and which rescalings leave it as it is.

    None of the rescalings changes what a network computes. What they do to each measure was measured.
    """
    torchrun.require_alone("measures")
    results.require_writable(output.output)
    results.deliver(results.CommandResult(measures_document(), lambda: results.print_text(measures_text())), output)
