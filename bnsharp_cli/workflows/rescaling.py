"""Rescales a checkpoint without changing its function, and measures which sharpness stays the same."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnsharp_cli.errors import spelt
from bnsharp_cli.io.checkpoints.samples import checkpoint_title
from bnsharp_cli.io.files.printable_text import shown_path
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.blocks.find_blocks import find_partitions
from bnsharp_cli.measurement.invariance.invariance_report import InvarianceReport
from bnsharp_cli.measurement.invariance.options import RESCALED_MEASURING, RescaleOptions
from bnsharp_cli.measurement.invariance.rescale_test import measure_copies
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.report.json_document import blocks_entry
from bnsharp_cli.report.plots import save
from bnsharp_cli.workflows import torchrun
from bnsharp_cli.workflows.copies import require_a_name_for_copies, save_copies
from bnsharp_cli.workflows.device import computing_on
from bnsharp_cli.workflows.measured_network import MeasuredNetwork, Spelling
from bnsharp_cli.workflows.open_network import open_network
from bnsharp_cli.workflows.options import (
    RESCALED_DATA,
    CheckpointSource,
    Computing,
    Data,
    RescaledFiles,
)
from bnsharp_cli.workflows.reporter import SILENT, Reporter


@dataclass(frozen=True)
class RescaledCheckpoint:
    """What rescaling did to one checkpoint.

    Attributes:
        network: the network on its data.
        blocks: its scale-invariant rows.
        options: the options of the measures.
        rescaling: what decides the verdict.
        report: every copy, and the verdict.
        seconds: how long it took, in seconds.
    """

    network: MeasuredNetwork
    blocks: Blocks
    options: MeasureOptions
    rescaling: RescaleOptions
    report: InvarianceReport
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether BN-Sharpness is invariant."""
        return self.report.invariant

    def document(self, spelling: Spelling = str) -> dict[str, Any]:
        """Plain containers, in the JSON schema ``bnsharp/1``; sentences in it name arguments by ``spelling``."""
        report = self.report
        shared = self.network.document("rescale-test", self.options.to_dict(), spelling)
        return {
            **shared,
            "options": {**shared["options"], "epsilon": self.rescaling.epsilon},
            "blocks": blocks_entry(self.blocks, self.network.point),
            "measures": {name: measured.to_dict() for name, measured in report.reference.measures.items()},
            "copies": [copy.to_dict() for copy in report.copies],
            "gamma_beta": None if report.gamma_beta is None else report.gamma_beta.to_dict(),
            "verdict": {"invariant": report.invariant, "sentence": spelt(report.marked_verdict, spelling)},
            "cost": self.network.cost(self.seconds),
        }


def rescale_checkpoint(
    checkpoint: Path | None = None,
    source: CheckpointSource | None = None,
    data: Data | None = None,
    options: MeasureOptions | None = None,
    rescaling: RescaleOptions | None = None,
    *,
    files: RescaledFiles | None = None,
    computing: Computing | None = None,
    reporter: Reporter = SILENT,
) -> RescaledCheckpoint:
    """Measure a checkpoint and rescaled copies of it.

    Args:
        checkpoint: a file or ``sample:NAME``; None for the embedded sample.
        source: which of its weights are taken, and which network they belong to.
        data: the loss; None for 1,024 samples of what the checkpoint says.
        options: the options of the measures; None for float64.
        rescaling: what decides the verdict.
        files: where copies and picture are written.
        computing: where to compute.
        reporter: told what the user should know.

    Raises:
        BnsharpError: what cannot be opened or measured, with its remedy.
    """
    began, rescaling = time.monotonic(), rescaling or RescaleOptions()
    data, options = data or Data(**RESCALED_DATA), options or MeasureOptions.from_flat(**RESCALED_MEASURING)
    with computing_on((computing or Computing()).device) as device:
        network = open_network(checkpoint, source or CheckpointSource(), data, options, device, reporter)
        if files is not None and files.save_copies is not None:
            require_a_name_for_copies(network)
        blocks, report = _rescale(network, options, rescaling)
        if files is not None and torchrun.is_first():
            _write(files, network, report, rescaling.epsilon == "stored", reporter)
    return RescaledCheckpoint(network, blocks, options, rescaling, report, time.monotonic() - began)


def _rescale(
    network: MeasuredNetwork, options: MeasureOptions, rescaling: RescaleOptions
) -> tuple[Blocks, InvarianceReport]:
    blocks, extended = find_partitions(network.surface, network.point)
    report = measure_copies(
        network.surface,
        network.point,
        blocks,
        extended,
        options,
        tolerance=rescaling.tolerance,
        stored_epsilon=rescaling.epsilon == "stored",
    )
    return blocks, report


def _write(
    files: RescaledFiles, network: MeasuredNetwork, report: InvarianceReport, stored: bool, reporter: Reporter
) -> None:
    if files.save_copies is not None:
        save_copies(files.save_copies, network, report.kept, stored)
        reporter.notice(f"wrote {len(report.kept)} copies to {shown_path(files.save_copies)}")
    if files.plot is not None:
        save(report.plot(f"{checkpoint_title(network.checkpoint.path)}: one function, rescaled"), files.plot)
