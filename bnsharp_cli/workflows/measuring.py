"""Measures the sharpness of the minimum that a checkpoint sits in."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnsharp_cli.core.point import Point, add_scaled
from bnsharp_cli.errors import spelt
from bnsharp_cli.io.checkpoints.samples import checkpoint_title
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.measures.measure_all import measure_all
from bnsharp_cli.measurement.measures.measurements import Measurements
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.report.json_document import blocks_entry
from bnsharp_cli.report.parts_table import plot_parts
from bnsharp_cli.report.plots import SegmentCurve, plot_segments
from bnsharp_cli.workflows import torchrun
from bnsharp_cli.workflows.device import computing_on
from bnsharp_cli.workflows.measured_network import MeasuredNetwork, Spelling
from bnsharp_cli.workflows.open_network import open_network
from bnsharp_cli.workflows.options import CheckpointSource, Computing, Data
from bnsharp_cli.workflows.reporter import SILENT, Reporter

_CURVE_POINTS = 41


@dataclass(frozen=True)
class MeasuredCheckpoint:
    """What was measured of one checkpoint.

    Attributes:
        network: the network on its data.
        blocks: its scale-invariant rows.
        options: the options at the first radius.
        measured: every measure at every radius.
        seconds: how long it took, in seconds.
    """

    network: MeasuredNetwork
    blocks: Blocks
    options: MeasureOptions
    measured: Measurements
    seconds: float

    @property
    def on_every_sample(self) -> bool:
        """Whether the whole split was used, so that there are no more samples to ask about."""
        return self.network.data_options.samples is None

    def document(self, spelling: Spelling = str) -> dict[str, Any]:
        """Plain containers, in the JSON schema ``bnsharp/1``; sentences in it name arguments by ``spelling``."""
        return {
            **self.network.document("measure", self.options.to_dict(), spelling),
            "blocks": blocks_entry(self.blocks, self.network.point),
            "measures": self.measured.to_dict(),
            "skipped": {name: spelt(reason, spelling) for name, reason in self.measured.skipped.items()},
            "cost": self.network.cost(self.seconds),
        }


def measure_checkpoint(
    checkpoint: Path | None,
    source: CheckpointSource | None = None,
    data: Data | None = None,
    measures: Sequence[str] = ("bn",),
    runs: Sequence[MeasureOptions] = (MeasureOptions(),),
    *,
    plot: Path | None = None,
    computing: Computing | None = None,
    reporter: Reporter = SILENT,
) -> MeasuredCheckpoint:
    """Measure the sharpness of a checkpoint.

    Args:
        checkpoint: a file or ``sample:NAME``; None for the embedded sample.
        source: which of its weights are taken, and which network they belong to.
        data: the loss.
        measures: names in :data:`~bnsharp_cli.measurement.measures.registry.MEASURES`, or ``all`` that exist for it.
        runs: the options of each measurement; they differ in their radii.
        plot: file of a picture of the loss along the directions; None for none.
        computing: where to compute.
        reporter: told what the user should know.

    Raises:
        BnsharpError: what cannot be opened or measured, with its remedy.
    """
    began, data = time.monotonic(), data or Data()
    with computing_on((computing or Computing()).device) as device:
        network = open_network(checkpoint, source or CheckpointSource(), data, runs[0], device, reporter)
        blocks = find_blocks(network.surface, network.point, runs[0].partition)
        measured = measure_all(network.surface, network.point, blocks, measures, runs)
        if plot is not None:
            _plot(plot, network, blocks, measured, runs, reporter)
    return MeasuredCheckpoint(network, blocks, runs[0], measured, time.monotonic() - began)


def _plot(
    path: Path,
    network: MeasuredNetwork,
    blocks: Blocks,
    measured: Measurements,
    runs: Sequence[MeasureOptions],
    reporter: Reporter,
) -> None:
    """The parts of a value, where they were asked for; else L along each direction that was found.

    Where nothing that was measured has a direction, BN-Sharpness is measured for it, and the user is told so.
    """
    divided = [one for one in measured if "parts" in one.details]
    if divided:
        if torchrun.is_first():
            plot_parts(path, divided[0], checkpoint_title(network.checkpoint.path))
        return
    found = [one for one in measured if one.direction is not None and "delta" in one.details]
    if not found:
        names = ", ".join(dict.fromkeys(one.name for one in measured))
        reporter.notice(f"the picture is of BN-Sharpness, since there is no direction to draw for {names}")
        found = [*measure_all(network.surface, network.point, blocks, ("bn",), runs)]
    segments = [
        SegmentCurve(one.name, delta, _curve(network, one.direction, delta), tuple(one.segment))
        for one in found
        for delta in [one.details["delta"]]
    ]
    if torchrun.is_first():
        plot_segments(path, segments, checkpoint_title(network.checkpoint.path))


def _curve(network: MeasuredNetwork, direction: Point | None, delta: float) -> list[tuple[float, float]]:
    """The change of the loss on a segment from −δ to δ."""
    assert direction is not None
    steps = [delta * (2 * index / (_CURVE_POINTS - 1) - 1) for index in range(_CURVE_POINTS)]
    values = network.surface.values([add_scaled(network.point, direction, step) for step in steps])
    return [(step, value - network.loss) for step, value in zip(steps, values, strict=True)]
