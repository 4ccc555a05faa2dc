"""Audits the stated errors of a checkpoint's BN-Sharpness."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bnsharp_cli.errors import spelt
from bnsharp_cli.measurement.audit.audit import Audit, audit
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.report.json_document import blocks_entry
from bnsharp_cli.workflows.device import computing_on
from bnsharp_cli.workflows.measured_network import MeasuredNetwork, Spelling
from bnsharp_cli.workflows.open_network import open_network
from bnsharp_cli.workflows.options import CheckpointSource, Computing, Data
from bnsharp_cli.workflows.reporter import SILENT, Reporter


@dataclass(frozen=True)
class AuditedCheckpoint:
    """What the audit of one checkpoint found.

    Attributes:
        network: the network on its data.
        blocks: its scale-invariant rows.
        options: the options of the measurement.
        audit: the value, and a finding for each of its stated errors.
        seconds: how long it took, in seconds.
    """

    network: MeasuredNetwork
    blocks: Blocks
    options: MeasureOptions
    audit: Audit
    seconds: float

    def document(self, spelling: Spelling = str) -> dict[str, Any]:
        """Plain containers, in the JSON schema ``bnsharp/1``; sentences in it name arguments by ``spelling``."""
        found = self.audit
        return {
            **self.network.document("audit", self.options.to_dict(), spelling),
            "blocks": blocks_entry(self.blocks, self.network.point),
            "measures": {"bn": found.measured.to_dict()},
            "findings": [
                {**finding.to_dict(), "sentence": spelt(finding.sentence, spelling)} for finding in found.findings
            ],
            "verdict": {"holds": found.holds, "sentence": found.verdict},
            "cost": self.network.cost(self.seconds),
        }


@dataclass(frozen=True)
class _OtherDraws:
    """Other samples of the data of a network, for which checkpoint and data are opened anew.

    Attributes:
        checkpoint: as the user named it.
        source: which of its weights are taken.
        network: on the samples that were measured.
        options: of the measurement.
        device: where to compute.
    """

    checkpoint: Path | None
    source: CheckpointSource
    network: MeasuredNetwork
    options: MeasureOptions
    device: torch.device

    def fresh(self, number: int) -> LossSurface:
        """The same number of samples by another seed."""
        data = self.network.data_options
        return self._opened(replace(data, seed=data.seed ^ number))

    def whole(self) -> LossSurface:
        """All samples of the split."""
        return self._opened(replace(self.network.data_options, samples=None))

    def _opened(self, data: Data) -> LossSurface:
        known = self.network.surface
        opened = open_network(self.checkpoint, self.source, data, self.options, self.device)
        return replace(opened.surface, progress=known.progress, counter=known.counter)


def audit_checkpoint(
    checkpoint: Path | None,
    source: CheckpointSource | None = None,
    data: Data | None = None,
    options: MeasureOptions | None = None,
    *,
    computing: Computing | None = None,
    reporter: Reporter = SILENT,
) -> AuditedCheckpoint:
    """Measure BN-Sharpness of a checkpoint, and hold each of its stated errors against independent evidence.

    Args:
        checkpoint: a file or ``sample:NAME``; None for the embedded sample.
        source: which of its weights are taken, and which network they belong to.
        data: the loss.
        options: of the measurement.
        computing: where to compute.
        reporter: told what the user should know.

    Raises:
        BnsharpError: what cannot be opened or measured, with its remedy.
    """
    began, options, source = time.monotonic(), options or MeasureOptions(), source or CheckpointSource()
    with computing_on((computing or Computing()).device) as device:
        network = open_network(checkpoint, source, data or Data(), options, device, reporter)
        blocks = find_blocks(network.surface, network.point, options.partition)
        draws = _OtherDraws(checkpoint, source, network, options, device)
        found = audit(network.surface, network.point, blocks, options, draws)
    return AuditedCheckpoint(network, blocks, options, found, time.monotonic() - began)
