"""Measures the sharpness of the minimum that a checkpoint sits in."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from bnsharp_cli.core.point import Point, add_scaled
from bnsharp_cli.errors import spelt
from bnsharp_cli.io.checkpoints.samples import checkpoint_title
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.blocks.search_memory import SearchMemory
from bnsharp_cli.measurement.landscape.lines import even_steps
from bnsharp_cli.measurement.measures.measure_all import measure_all
from bnsharp_cli.measurement.measures.measurements import Measurements
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.selection import Selection
from bnsharp_cli.report.json_document import blocks_entry
from bnsharp_cli.report.parts_table import plot_parts
from bnsharp_cli.report.plots import SegmentCurve, plot_segments
from bnsharp_cli.workflows import torchrun
from bnsharp_cli.workflows.device import computing_on
from bnsharp_cli.workflows.kept_results import ResultsFolder, result_key
from bnsharp_cli.workflows.measured_files import MeasuredFiles
from bnsharp_cli.workflows.measured_network import MeasuredNetwork, Spelling
from bnsharp_cli.workflows.open_inputs import OpenedInputs, open_inputs
from bnsharp_cli.workflows.open_network import evaluated_network
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
        key: of the result; see :func:`~bnsharp_cli.workflows.kept_results.result_key`.
        seconds: how long it took, in seconds.
    """

    network: MeasuredNetwork
    blocks: Blocks
    options: MeasureOptions
    measured: Measurements
    key: str
    seconds: float

    def document(self, spelling: Spelling = str) -> dict[str, Any]:
        """Plain containers, in the JSON schema ``bnsharp/1``; sentences in it name arguments by ``spelling``."""
        return {
            **self.network.document("measure", self.options.to_dict(), spelling),
            "test": self.network.test_entry(),
            "key": self.key,
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
    began = time.monotonic()
    with computing_on((computing or Computing()).device) as device:
        inputs = open_inputs(checkpoint, source or CheckpointSource(), data or Data(), runs[0], reporter)
        return _Work(inputs, measures, runs, device, began).measured(plot, reporter)


@dataclass(frozen=True)
class ResultDocument:
    """A document, measured now or kept from before.

    Attributes:
        document: in the JSON schema ``bnsharp/1``.
        measured: every measure at every radius.
        kept: the file that held it before; None where it was measured now.
    """

    document: Mapping[str, Any]
    measured: Measurements
    kept: Path | None = None


def answered(  # noqa: PLR0913  one argument for each choice
    checkpoint: Path | None,
    source: CheckpointSource,
    data: Data,
    selection: Selection,
    options: MeasureOptions,
    files: MeasuredFiles,
    computing: Computing,
    reporter: Reporter = SILENT,
    spelling: Spelling = str,
    memory: SearchMemory | None = None,
) -> ResultDocument:
    """Measure a checkpoint, unless its result is kept in a folder.

    Args:
        checkpoint: a file or ``sample:NAME``; None for the embedded sample.
        source: which of its weights are taken, and which network they belong to.
        data: the loss.
        selection: the measures and radii.
        options: of the measures.
        files: of the picture, for which the network is measured anew, and of results.
        computing: where to compute.
        reporter: told what the user should know.
        spelling: of the arguments that sentences name.
        memory: of the blocks of earlier checkpoints; none changes a number.

    Raises:
        BnsharpError: what cannot be opened, measured or written, with its remedy.
    """
    began, runs = time.monotonic(), selection.runs(options)
    folder = None if files.results is None else ResultsFolder(files.results)
    with computing_on(computing.device) as device:
        inputs = open_inputs(checkpoint, source, data, options, reporter)
        work = _Work(inputs, selection.measure, runs, device, began, memory)
        path = inputs.opened.checkpoint.path
        if folder is not None and files.plot is None:
            known = folder.known(path, work.key, reporter)
            if known is not None:
                return ResultDocument(known.document, known.measured, known.path)
        measured = work.measured(files.plot, reporter)
    document = measured.document(spelling)
    if folder is not None:
        folder.keep(path, document)
    return ResultDocument(document, measured.measured)


@dataclass(frozen=True)
class _Work:
    """A network and its data, read and not computed yet, with what is to be measured and since when."""

    inputs: OpenedInputs
    measures: Sequence[str]
    runs: Sequence[MeasureOptions]
    device: torch.device
    began: float
    memory: SearchMemory | None = None

    @cached_property
    def key(self) -> str:
        """The key of the result."""
        return result_key(self.inputs, self.measures, self.runs, self.device)

    def measured(self, plot: Path | None, reporter: Reporter) -> MeasuredCheckpoint:
        """Compute it; the time is that since ``began``."""
        options = self.runs[0]
        network = evaluated_network(self.inputs, options, self.device, reporter)
        blocks = find_blocks(network.surface, network.point, options.partition, memory=self.memory)
        measured = measure_all(network.surface, network.point, blocks, self.measures, self.runs)
        if plot is not None:
            _plot(plot, network, blocks, measured, self.runs, reporter)
        return MeasuredCheckpoint(network, blocks, options, measured, self.key, time.monotonic() - self.began)


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
    steps = even_steps(delta, _CURVE_POINTS)
    values = network.surface.values([add_scaled(network.point, direction, step) for step in steps])
    return [(step, value - network.loss) for step, value in zip(steps, values, strict=True)]
