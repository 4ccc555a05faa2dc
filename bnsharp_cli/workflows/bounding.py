"""Bounds the loss on new data by PAC-Bayes and BN-Sharpness (Theorem 3.3)."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bnsharp_cli.io.data.forms import CROSS_ENTROPY
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.bound.options import BoundOptions
from bnsharp_cli.measurement.bound.pac_bayes import PacBayesBound, pac_bayes_bound
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.report.json_document import blocks_entry
from bnsharp_cli.workflows.device import computing_on
from bnsharp_cli.workflows.measured_network import MeasuredNetwork, Spelling
from bnsharp_cli.workflows.open_network import open_network
from bnsharp_cli.workflows.options import CheckpointSource, Computing, Data
from bnsharp_cli.workflows.reporter import SILENT, Reporter


@dataclass(frozen=True)
class BoundedCheckpoint:
    """The bound of one checkpoint.

    Attributes:
        network: the network on its data.
        blocks: its scale-invariant rows.
        options: the options of BN-Sharpness.
        bound: the three terms.
        seconds: how long it took, in seconds.
    """

    network: MeasuredNetwork
    blocks: Blocks
    options: MeasureOptions
    bound: PacBayesBound
    seconds: float

    def document(self, spelling: Spelling = str) -> dict[str, Any]:
        """Plain containers, in the JSON schema ``bnsharp/1``; sentences in it name arguments by ``spelling``."""
        sharpness = self.bound.sharpness
        return {
            **self.network.document("bound", {**self.options.to_dict(), **vars(self.bound.options)}, spelling),
            "blocks": blocks_entry(self.blocks, self.network.point),
            "measures": {sharpness.name: sharpness.to_dict()},
            "bound": self.bound.to_dict(),
            "cost": self.network.cost(self.seconds),
        }


def bound_checkpoint(
    checkpoint: Path | None,
    bounding: BoundOptions,
    source: CheckpointSource | None = None,
    data: Data | None = None,
    options: MeasureOptions | None = None,
    *,
    computing: Computing | None = None,
    reporter: Reporter = SILENT,
) -> BoundedCheckpoint:
    """Bound the loss on new data.

    Args:
        checkpoint: a file or ``sample:NAME``; None for the embedded sample.
        bounding: KL, confidence, and the loss in [0, 1].
        source: which of its weights are taken, and which network they belong to.
        data: the data; the loss is cross entropy. None for running statistics, since the theorem counts independent
            terms, and batch statistics make one of each batch.
        options: the options of BN-Sharpness.
        computing: where to compute.
        reporter: told what the user should know.

    Raises:
        BnsharpError: what cannot be opened or measured, with its remedy.
    """
    began, options = time.monotonic(), options or MeasureOptions()
    data = replace(data or Data(bn="running"), loss=CROSS_ENTROPY)
    with computing_on((computing or Computing()).device) as device:
        network = open_network(checkpoint, source or CheckpointSource(), data, options, device, reporter)
        blocks = find_blocks(network.surface, network.point, options.partition)
        found = pac_bayes_bound(network.surface, network.point, blocks, options, bounding)
    return BoundedCheckpoint(network, blocks, options, found, time.monotonic() - began)
