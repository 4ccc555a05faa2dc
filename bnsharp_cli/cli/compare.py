"""``bnsharp compare``: which of two networks is sharper, and does the difference mean anything?"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from bnsharp_cli.cli import results
from bnsharp_cli.cli.checkpoints import NetworksArguments
from bnsharp_cli.cli.reporter import TerminalReporter
from bnsharp_cli.cli.signature import Fixed
from bnsharp_cli.cli.spelling import as_option
from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.io.files.importing import importing_libraries
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.selection import Selection
from bnsharp_cli.measurement.measures.sharpness_entries import PartsOptions
from bnsharp_cli.workflows.input_files import input_files, results_in
from bnsharp_cli.workflows.measured_files import MeasuredFiles
from bnsharp_cli.workflows.options import CheckpointSource, Computing, Data, Output, Picture
from bnsharp_cli.workflows.summary_options import SeedOptions
from bnsharp_cli.workflows.table_options import TableOptions

if TYPE_CHECKING:
    from bnsharp_cli.workflows.comparing_seeds import ComparedSeeds

EXAMPLE = "Example: bnsharp compare small-batch.pt large-batch.pt --measure bn --measure noise"


def compare(
    checkpoint: NetworksArguments,
    source: CheckpointSource,
    data: Data,
    selection: Selection,
    measuring: Annotated[MeasureOptions, Fixed(delta=MeasureOptions.delta)],
    seeds: SeedOptions,
    computing: Computing,
    files: Annotated[MeasuredFiles, Fixed(plot=None)],
    picture: Picture,
    table: TableOptions,
    output: Output,
) -> None:
    """Compare networks on the same batches: which is sharper, by how much, and how sure that is.

    Each argument is a checkpoint, which is measured, or a result that measure wrote or a folder of results, which are
    not measured again. The first is compared with every other; --along shows them as stages of one training instead.
    """
    selection.runs(measuring)  # refuses what cannot be measured before anything is read
    _require_one_seed(seeds, table, picture, measuring)
    options = {seed: (replace(data, seed=seed), replace(measuring, seed=seed)) for seed in seeds.all_from(data.seed)}
    inputs = [
        *input_files(checkpoint, source.arch, data.data, data.test_data, data.loss),
        *results_in(checkpoint),
    ]
    writes = results.require_writable(output.output, picture.plot, inputs=inputs)
    with importing_libraries():
        from bnsharp_cli.measurement.blocks.search_memory import SearchMemory
        from bnsharp_cli.workflows.comparing_networks import draw_networks
        from bnsharp_cli.workflows.comparing_seeds import compare_with_seeds
        from bnsharp_cli.workflows.measuring import ResultDocument, answered

    memory = SearchMemory()

    def answer(path: Path, seed: int) -> ResultDocument:
        own = (path, source, options[seed][0], selection, options[seed][1], files, computing)
        return answered(*own, reporter, as_option, memory)

    with TerminalReporter(output.quiet, writes=writes) as reporter:
        found = compare_with_seeds(checkpoint, [*options], answer, table.along, reporter)
        if picture.plot is not None:
            draw_networks(picture.plot, found.first, table.along)
    results.deliver(results.CommandResult(found.document(as_option), lambda: _print(found, table)), output)


def _require_one_seed(seeds: SeedOptions, table: TableOptions, picture: Picture, measuring: MeasureOptions) -> None:
    """Refuse several seeds for what shows single measurements.

    Raises:
        UsageError: naming it.
    """
    by = measuring.of(PartsOptions).by != PartsOptions.by
    asked = {"along": table.along, "plot": picture.plot is not None, "by": by}
    shown = next((name for name, wanted in asked.items() if wanted), None)
    if seeds.seeds > 1 and shown is not None:
        raise UsageError(
            f"{named(shown)} shows measurements with one seed, and {named('seeds')} asks for {seeds.seeds}.",
            "Leave one out.",
            argument=shown,
            expected="one seed",
            found=seeds.seeds,
        )


def _print(found: ComparedSeeds, table: TableOptions) -> None:
    with importing_libraries():
        from bnsharp_cli.report.along_table import STAGE_FORMATS, print_stages
        from bnsharp_cli.report.comparison_table import FORMATS, print_comparisons, sorted_by
        from bnsharp_cli.report.parts_table import print_shares
        from bnsharp_cli.report.subject import print_data, print_networks
        from bnsharp_cli.report.terminal import console, print_cost

    comparisons = sorted_by(found.comparisons, table.sort)
    if table.table in FORMATS:
        along = table.along
        sys.stdout.write(STAGE_FORMATS[table.table](found.first.stages) if along else FORMATS[table.table](comparisons))
        return
    out = console(as_option)
    one = found.first
    documents = [*zip(one.names, (each.document for each in one.results), strict=True)]
    if table.along:
        print_data(out, documents)
        print_stages(out, one.stages)
    else:
        print_networks(out, documents, len(found.seeds))
        print_comparisons(out, comparisons)
    print_shares(out, [*zip(one.names, (each.measured for each in one.results), strict=True)])
    for note in found.notes:
        out.say(note)
    print_cost(out, found.cost, found.seconds)
