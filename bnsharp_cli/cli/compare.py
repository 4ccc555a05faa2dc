"""``bnsharp compare``: which of two networks is sharper, and does the difference mean anything?"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from bnsharp_cli.cli import results
from bnsharp_cli.cli.checkpoints import CheckpointArguments
from bnsharp_cli.cli.reporter import TerminalReporter
from bnsharp_cli.cli.signature import Fixed
from bnsharp_cli.cli.spelling import as_option
from bnsharp_cli.io.files.importing import importing_libraries
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.selection import Selection
from bnsharp_cli.measurement.measures.sharpness_entries import PartsOptions
from bnsharp_cli.workflows.input_files import input_files
from bnsharp_cli.workflows.measured_files import MeasuredFiles
from bnsharp_cli.workflows.options import CheckpointSource, Computing, Data, Output
from bnsharp_cli.workflows.summary_options import SeedOptions
from bnsharp_cli.workflows.table_options import TableOptions

if TYPE_CHECKING:
    from bnsharp_cli.workflows.comparing_seeds import ComparedSeeds

EXAMPLE = "Example: bnsharp compare small-batch.pt large-batch.pt --measure bn --measure noise"


def compare(
    checkpoint: CheckpointArguments,
    source: CheckpointSource,
    data: Data,
    selection: Selection,
    measuring: Annotated[MeasureOptions, Fixed(delta=MeasureOptions.delta, by=PartsOptions.by)],
    seeds: SeedOptions,
    computing: Computing,
    files: Annotated[MeasuredFiles, Fixed(plot=None)],
    table: TableOptions,
    output: Output,
) -> None:
    """Compare networks on the same batches: which is sharper, by how much, and how sure that is.

    Each argument is a checkpoint, which is measured, or a result that measure wrote, which is not measured again. The
    first is compared with every other.
    """
    selection.runs(measuring)  # refuses what cannot be measured before anything is read
    options = {seed: (replace(data, seed=seed), replace(measuring, seed=seed)) for seed in seeds.all_from(data.seed)}
    inputs = input_files(checkpoint, source.arch, data.data, data.test_data, data.loss)
    writes = results.require_writable(output.output, inputs=inputs)
    with importing_libraries():
        from bnsharp_cli.measurement.blocks.search_memory import SearchMemory
        from bnsharp_cli.workflows.comparing_seeds import compare_with_seeds
        from bnsharp_cli.workflows.measuring import ResultDocument, answered

    memory = SearchMemory()

    def answer(path: Path, seed: int) -> ResultDocument:
        own = (path, source, options[seed][0], selection, options[seed][1], files, computing)
        return answered(*own, reporter, as_option, memory)

    with TerminalReporter(output.quiet, writes=writes) as reporter:
        found = compare_with_seeds(checkpoint, [*options], answer)
    results.deliver(results.CommandResult(found.document(as_option), lambda: _print(found, table)), output)


def _print(found: ComparedSeeds, table: TableOptions) -> None:
    with importing_libraries():
        from bnsharp_cli.report.comparison_table import FORMATS, print_comparisons, sorted_by
        from bnsharp_cli.report.subject import print_networks
        from bnsharp_cli.report.terminal import console, print_cost

    comparisons = sorted_by(found.comparisons, table.sort)
    if table.table in FORMATS:
        sys.stdout.write(FORMATS[table.table](comparisons))
        return
    out = console(as_option)
    results_of_one = (one.document for one in found.first.results)
    print_networks(out, [*zip(found.first.names, results_of_one, strict=True)], len(found.seeds))
    print_comparisons(out, comparisons)
    for note in found.notes:
        out.say(note)
    print_cost(out, found.cost, found.seconds)
