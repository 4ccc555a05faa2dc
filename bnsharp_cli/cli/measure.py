"""``bnsharp measure``: how sharp is this minimum?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnsharp_cli.cli import results
from bnsharp_cli.cli.checkpoints import CheckpointArguments
from bnsharp_cli.cli.reporter import TerminalReporter
from bnsharp_cli.cli.shown_results import ShownResults
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
from bnsharp_cli.workflows.summary_options import SeedOptions, SummaryOptions

if TYPE_CHECKING:
    from bnsharp_cli.workflows.measuring import ResultDocument

EXAMPLE = "Example: bnsharp measure model.pt --arch torchvision:resnet18 --data folder:images --delta 1e-3 --delta 1e-2"


def measure(
    checkpoint: CheckpointArguments,
    source: CheckpointSource,
    data: Data,
    selection: Selection,
    measuring: Annotated[MeasureOptions, Fixed(delta=MeasureOptions.delta)],
    seeds: SeedOptions,
    computing: Computing,
    sharding: Sharding,
    files: MeasuredFiles,
    summary: SummaryOptions,
    output: Output,
) -> None:
    """Measure the sharpness of the minimum that a checkpoint sits in.

    Several checkpoints give one result after the other, as JSON one document a line, and then a table of all; what
    fails does not lose the others.
    """
    selection.runs(measuring)  # refuses what cannot be measured before anything is read
    summary.require_column(selection, on_test_data=data.test_data is not None)
    options = {seed: (replace(data, seed=seed), replace(measuring, seed=seed)) for seed in seeds.all_from(data.seed)}
    several = sharding.shard is not None or len(checkpoint) > 1
    if files.plot is not None:
        _require_one_picture(checkpoint, sharding, seeds)
    chosen = checkpoint if sharding.shard is None else shard_of(checkpoint, sharding.shard)
    inputs = input_files(checkpoint, source.arch, data.data, data.test_data, data.loss)
    writes = results.require_writable(output.output, files.plot, inputs=inputs)
    with importing_libraries():
        from bnsharp_cli.measurement.blocks.search_memory import SearchMemory
        from bnsharp_cli.workflows.measuring import answered
        from bnsharp_cli.workflows.several_seeds import measured_with_seeds

    memory, shown = SearchMemory(), ShownResults(chosen, several, [*options], summary)

    def finding(path: Path) -> results.CommandResult:
        def answer(seed: int) -> ResultDocument:
            own = (path, source, options[seed][0], selection, options[seed][1], files, computing)
            return answered(*own, reporter, as_option, memory)

        with TerminalReporter(output.quiet, writes=writes) as reporter:
            return shown.result(path, measured_with_seeds([*options], answer))

    if several:
        raise typer.Exit(results.deliver_each(chosen, finding, output, shown.end))
    results.deliver(finding(chosen[0]), output)


def _require_one_picture(checkpoint: Sequence[Path], sharding: Sharding, seeds: SeedOptions) -> None:
    """Refuse a picture of several measurements."""
    if sharding.shard is not None or len(checkpoint) > 1:
        raise UsageError(
            f"{named('plot')} draws one checkpoint.",
            f"Name one, without {named('shard')}.",
            argument="checkpoint",
            expected="one checkpoint",
            found=f"{len(checkpoint)} checkpoints" if sharding.shard is None else f"a share {sharding.shard}",
        )
    if seeds.seeds > 1:
        raise UsageError.of(
            "seeds", f"1 with {named('plot')}, which draws one measurement", seeds.seeds, "Leave it out."
        )
