"""Draws a figure of the networks of checkpoints, on the batches and with the options of a measurement."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.blocks.search_memory import SearchMemory
from bnsharp_cli.measurement.landscape.directions import Surroundings
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.shared_options import require_ample
from bnsharp_cli.measurement.surface.cost import Cost
from bnsharp_cli.workflows.device import computing_on
from bnsharp_cli.workflows.figure_options import FigureFiles, FigureOptions
from bnsharp_cli.workflows.figures.between import BETWEEN_FIGURE
from bnsharp_cli.workflows.figures.drawn_network import DrawnNetwork
from bnsharp_cli.workflows.figures.kept_losses import with_kept
from bnsharp_cli.workflows.figures.kind import FigureKind
from bnsharp_cli.workflows.figures.landscape import LANDSCAPE_FIGURE
from bnsharp_cli.workflows.figures.profile import PROFILE_FIGURE
from bnsharp_cli.workflows.kept_results import result_key
from bnsharp_cli.workflows.open_inputs import open_inputs
from bnsharp_cli.workflows.open_network import evaluated_network
from bnsharp_cli.workflows.options import CheckpointSource, Computing, Data
from bnsharp_cli.workflows.reporter import SILENT, Reporter


@dataclass(frozen=True)
class Drawn:
    """A figure that was written.

    Attributes:
        caption: what it shows: samples, δ, seeds and errors.
        cost: passes over all samples, of all networks.
        seconds: how long it took.
    """

    caption: str
    cost: Cost
    seconds: float


def draw_figure(  # noqa: PLR0913  one argument for each choice
    kind: str,
    checkpoints: Sequence[Path],
    source: CheckpointSource,
    data: Data,
    measuring: MeasureOptions,
    options: FigureOptions,
    files: FigureFiles,
    *,
    computing: Computing | None = None,
    reporter: Reporter = SILENT,
) -> Drawn:
    """Draw one kind of figure.

    Args:
        kind: one of :data:`~bnsharp_cli.workflows.figure_options.FIGURE_KINDS`.
        checkpoints: files or ``sample:NAME``; a landscape shows one, or the last of several.
        source: which of their weights are taken, and which network they belong to.
        data: the loss.
        measuring: δ, partition and the search for the sharpest direction.
        options: of the figure.
        files: where to.
        computing: where to compute.
        reporter: told what the user should know.

    Raises:
        BnsharpError: what cannot be opened, measured or written, with its remedy.
    """
    began, memory = time.monotonic(), SearchMemory()
    figure = KINDS[kind]
    figure.require_number(checkpoints)
    figure.require_options(checkpoints, options)
    figure.require(data, measuring)
    with computing_on((computing or Computing()).device) as device:
        subjects = [_subject(path, source, data, measuring, memory, device, reporter) for path in checkpoints]
        if files.results is not None:
            subjects = with_kept(files.results, kind, subjects, options, reporter)
        caption, cost = figure.draw(subjects, options, files)
    return Drawn(caption, cost, time.monotonic() - began)


def _subject(
    path: Path,
    source: CheckpointSource,
    data: Data,
    measuring: MeasureOptions,
    memory: SearchMemory,
    device: torch.device,
    reporter: Reporter,
) -> DrawnNetwork:
    require_ample(measuring.memory)
    inputs = open_inputs(path, source, data, measuring, reporter)
    network = evaluated_network(inputs, measuring, device, reporter)
    blocks = find_blocks(network.surface, network.point, measuring.partition, memory=memory)
    key = result_key(inputs, [], [measuring], device)
    return DrawnNetwork(network, Surroundings(network.surface, network.point, blocks, measuring), key)


KINDS: Mapping[str, FigureKind] = {"profile": PROFILE_FIGURE, "landscape": LANDSCAPE_FIGURE, "between": BETWEEN_FIGURE}
"""The kinds by their names, :data:`~bnsharp_cli.workflows.figure_options.FIGURE_KINDS`."""
