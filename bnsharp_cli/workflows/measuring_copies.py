"""Compares what every measure says of a checkpoint and of copies that compute the same."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnsharp_cli.io.checkpoints.samples import checkpoint_title
from bnsharp_cli.io.files.importing import importing_libraries
from bnsharp_cli.io.files.printable_text import shown_path
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.invariance.foreign_tools import installed_tools
from bnsharp_cli.measurement.invariance.invariance_table import InvarianceTable
from bnsharp_cli.measurement.invariance.measures_on_copies import MeasuresOnCopies
from bnsharp_cli.measurement.invariance.options import RESCALED_MEASURING, RescaleOptions
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.selection import EVERY_MEASURE
from bnsharp_cli.report.json_document import blocks_entry
from bnsharp_cli.report.plots import save
from bnsharp_cli.workflows import torchrun
from bnsharp_cli.workflows.copies import require_a_name_for_copies, save_copies
from bnsharp_cli.workflows.device import computing_on
from bnsharp_cli.workflows.measured_network import MeasuredNetwork, Spelling
from bnsharp_cli.workflows.open_network import open_network
from bnsharp_cli.workflows.options import RESCALED_DATA, CheckpointSource, Computing, Data, RescaledFiles
from bnsharp_cli.workflows.reporter import SILENT, Reporter


@dataclass(frozen=True)
class MeasuredCopies:
    """What measures say of one checkpoint and of its copies.

    Attributes:
        network: the network on its data.
        options: the options of the measures.
        rescaling: what decides the verdicts.
        table: a row for each measure.
        seconds: how long it took, in seconds.
    """

    network: MeasuredNetwork
    options: MeasureOptions
    rescaling: RescaleOptions
    table: InvarianceTable
    seconds: float

    @property
    def passed(self) -> bool:
        """True, whatever the measures say: only the one under test could fail."""
        return True

    @property
    def blocks(self) -> Blocks:
        """The paper's partition."""
        return self.table.blocks

    def document(self, spelling: Spelling = str) -> dict[str, Any]:
        """Plain containers, in the JSON schema ``bnsharp/1``; sentences in it name arguments by ``spelling``."""
        shared = self.network.document("rescale-test", self.options.to_dict(), spelling)
        return {
            **shared,
            "options": {**shared["options"], "epsilon": self.rescaling.epsilon},
            "blocks": blocks_entry(self.blocks, self.network.point),
            "invariance": self.table.to_dict(spelling),
            "cost": self.network.cost(self.seconds),
        }


def measure_on_copies(
    checkpoint: Path | None = None,
    source: CheckpointSource | None = None,
    data: Data | None = None,
    options: MeasureOptions | None = None,
    rescaling: RescaleOptions | None = None,
    *,
    files: RescaledFiles | None = None,
    computing: Computing | None = None,
    reporter: Reporter = SILENT,
) -> MeasuredCopies:
    """Take measures of a checkpoint and of copies that compute the same.

    Args:
        checkpoint: a file or ``sample:NAME``; None for the embedded sample.
        source: which of its weights are taken, and which network they belong to.
        data: the loss; None for 1,024 samples of what the checkpoint says.
        options: the options of the measures; None for float64.
        rescaling: the measures, all if it names none, and what decides the verdicts.
        files: where copies and picture are written.
        computing: where to compute.
        reporter: told what the user should know.

    Raises:
        BnsharpError: what cannot be opened, or a network without such copies, with its remedy.
    """
    began, rescaling, files = time.monotonic(), rescaling or RescaleOptions(), files or RescaledFiles()
    data, options = data or Data(**RESCALED_DATA), options or MeasureOptions.from_flat(**RESCALED_MEASURING)
    with computing_on((computing or Computing()).device) as device:
        network = open_network(checkpoint, source or CheckpointSource(), data, options, device, reporter)
        if files.save_copies is not None:
            require_a_name_for_copies(network)
        names = rescaling.measure or (EVERY_MEASURE,)
        with importing_libraries():
            tools = installed_tools() if EVERY_MEASURE in names else {}
        table = MeasuresOnCopies(network.surface, network.point, options, rescaling, tools).table(names)
        if torchrun.is_first():
            _write(files, network, table, rescaling.epsilon == "stored", reporter)
    return MeasuredCopies(network, options, rescaling, table, time.monotonic() - began)


def _write(
    files: RescaledFiles, network: MeasuredNetwork, table: InvarianceTable, stored: bool, reporter: Reporter
) -> None:
    if files.save_copies is not None:
        save_copies(files.save_copies, network, table.kept, stored)
        reporter.notice(f"wrote {len(table.kept)} copies to {shown_path(files.save_copies)}")
    if files.plot is not None:
        save(table.plot(f"{checkpoint_title(network.checkpoint.path)}: measures of rescaled copies"), files.plot)
