"""Draws the loss around the networks of checkpoints, on the batches and with the options of a measurement."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bnsharp_cli.errors import UsageError, counted, shown
from bnsharp_cli.io.checkpoints.samples import checkpoint_title
from bnsharp_cli.measurement.blocks.blocks import PROBED_PARTITIONS
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.blocks.search_memory import SearchMemory
from bnsharp_cli.measurement.landscape.between import BETWEEN_STEPS, Between, matched, straight_line
from bnsharp_cli.measurement.landscape.directions import (
    SPANS,
    Direction,
    Surroundings,
    along_gradient,
    orthogonal_to,
    random_direction,
    sharpest,
)
from bnsharp_cli.measurement.landscape.lines import Line, even_steps, line_along
from bnsharp_cli.measurement.landscape.plane import Plane, plane_through
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.cost import Cost
from bnsharp_cli.report.figure_values import write_values
from bnsharp_cli.report.landscape_figures import LinesOfNetwork, draw_between, draw_lines, draw_plane
from bnsharp_cli.workflows.device import computing_on
from bnsharp_cli.workflows.figure_options import FigureFiles, FigureOptions
from bnsharp_cli.workflows.measured_network import MeasuredNetwork
from bnsharp_cli.workflows.open_network import open_network
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


@dataclass(frozen=True)
class _Subject:
    """One network of a figure."""

    network: MeasuredNetwork
    around: Surroundings

    @property
    def name(self) -> str:
        return checkpoint_title(self.network.opened.checkpoint.path)

    @property
    def described(self) -> str:
        """The network and its data, for a caption."""
        data, options = self.network.data, self.around.options
        return (
            f"{shown(self.name)} on {data.batches.samples:,} samples of {shown(data.spec)} ({data.split}), batches of "
            f"{data.batches.batch_size}, seed {self.network.data_options.seed}, {self.network.data_options.bn} "
            f"statistics; steps are relative to the partition {options.partition}."
        )


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
        checkpoints: files or ``sample:NAME``; a landscape shows one.
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
    draw = KINDS[kind]
    if kind == "between":
        _require_way(data, measuring)
    with computing_on((computing or Computing()).device) as device:
        subjects = (
            _subject(path, source, data, measuring, memory, device, reporter) for path in _few(kind, checkpoints)
        )
        caption, cost = draw([*subjects], options, files)
    return Drawn(caption, cost, time.monotonic() - began)


def _few(kind: str, checkpoints: Sequence[Path]) -> Sequence[Path]:
    """The checkpoints, if the figure can show so many.

    Raises:
        UsageError: a landscape of several, or what lies between one or three.
    """
    if kind == "between" and len(checkpoints) != 2:
        raise UsageError(
            "There is a line between two networks.",
            "Name two checkpoints.",
            argument="checkpoint",
            expected="two checkpoints",
            found=counted(len(checkpoints), "checkpoint"),
        )
    if kind == "landscape" and len(checkpoints) > 1:
        raise UsageError(
            "A landscape shows one network.",
            "Name one checkpoint; the kind profile shows several.",
            argument="checkpoint",
            expected="one checkpoint",
            found=f"{len(checkpoints)} checkpoints",
        )
    return checkpoints


def _require_way(data: Data, measuring: MeasureOptions) -> None:
    """Refuse options with which there is nothing between two networks.

    Raises:
        UsageError: running statistics, which belong to neither on the way, or radii of rows that are not invariant.
    """
    if data.bn != "batch":
        raise UsageError.of("bn", "batch for what lies between networks", data.bn, "Leave it out.")
    if measuring.partition not in PROBED_PARTITIONS:
        remedy = "Rows are matched by what a rescaling leaves as it is: leave it out."
        raise UsageError.of("partition", f"one of {', '.join(PROBED_PARTITIONS)}", measuring.partition, remedy)


def _subject(
    path: Path,
    source: CheckpointSource,
    data: Data,
    measuring: MeasureOptions,
    memory: SearchMemory,
    device: torch.device,
    reporter: Reporter,
) -> _Subject:
    network = open_network(path, source, data, measuring, device, reporter)
    blocks = find_blocks(network.surface, network.point, measuring.partition, memory=memory)
    return _Subject(network, Surroundings(network.surface, network.point, blocks, measuring))


def _profile(subjects: Sequence[_Subject], options: FigureOptions, files: FigureFiles) -> tuple[str, Cost]:
    """L along the sharpest direction, the gradient and random ones, of every network."""
    steps, drawn, rows, sentences = even_steps(options.reach), [], [], []
    for subject in subjects:
        around = subject.around
        directions = [sharpest(around), along_gradient(around)]
        directions += [random_direction(around, number) for number in range(options.random)]
        most = Cost(forward=len(steps) * len(directions))
        with around.surface.progress.stage(subject.name, most):
            lines = tuple(_counted_lines(subject, directions, steps, options))
        drawn.append(LinesOfNetwork(subject.name, around.options.delta, lines))
        rows += [row for line in lines for row in _rows(subject.name, line)]
        sentences.append(subject.described)
        sentences.append(_of_the_sharpest(directions[0]))
    draw_lines(files.plot, drawn, files.width, options.scale)
    write_values(files.values, rows)
    seeds = (
        f"{options.random} random directions (seeds from {subjects[0].around.options.seed} on; the band is their range)"
    )
    caption = " ".join(
        [
            "Loss along the sharpest direction, along the gradient",
            f"and along {seeds}." if options.random else "only.",
            *sentences,
            f"Dotted: ±δ. {counted(len(steps), 'step')} a line.",
        ]
    )
    return caption, _cost(subjects)


def _counted_lines(
    subject: _Subject, directions: Sequence[Direction], steps: Sequence[float], options: FigureOptions
) -> Iterator[Line]:
    right = options.accuracy and subject.network.accuracy is not None
    for direction in directions:
        yield line_along(subject.around, direction, steps, right=right)


def _of_the_sharpest(direction: Direction) -> str:
    """What was measured in the search for it."""
    found = direction.measured
    if found is None:
        return ""
    _, error = found.largest_error or ("", 0.0)
    return (
        f"The sharpest direction is that of {found.name} = {found.value:.4g} ± {error:.2g} at "
        f"δ = {found.details['delta']:g} ({found.status.value})."
    )


def _rows(name: str, line: Line) -> Iterator[Mapping[str, Any]]:
    accuracies: Sequence[float | None] = line.accuracies or [None] * len(line.steps)
    for step, loss, accuracy in zip(line.steps, line.losses, accuracies, strict=True):
        yield {"network": name, "direction": line.name, "step": step, "loss": loss, "accuracy": accuracy}


def _landscape(subjects: Sequence[_Subject], options: FigureOptions, files: FigureFiles) -> tuple[str, Cost]:
    """L in a plane through one network."""
    (subject,) = subjects
    around, first_of = subject.around, SPANS[options.span]
    first = first_of(around)
    second = orthogonal_to(around, first, 1)
    with around.surface.progress.stage(subject.name, Cost(forward=options.evaluations)):
        plane = plane_through(around, first, second, options.reach, options.evaluations)
    draw_plane(files.plot, subject.name, plane, files.width, options.scale)
    write_values(files.values, [*_places(subject.name, plane)])
    seed = around.options.seed + 1
    caption = (
        f"Loss in the plane of v ({first.name}) and w ({second.name}, seed {seed}) through θ (cross). "
        f"{subject.described} {_of_the_sharpest(first)} {counted(len(plane.places), 'evaluation')} at the white dots, "
        "straight lines between them."
    )
    return " ".join(caption.split()), _cost(subjects)


def _between(subjects: Sequence[_Subject], options: FigureOptions, files: FigureFiles) -> tuple[str, Cost]:
    """L on the straight line between two networks, rows matched up to T_a, and as they are."""
    first, second = subjects
    surface, ends = first.around.surface, [subject.around.point for subject in subjects]
    alike = matched(ends[1], ends[0], first.around.blocks)
    with surface.progress.stage("between", Cost(forward=2 * BETWEEN_STEPS)):
        lines = {
            "rows as long as the first network's": straight_line(surface, ends[0], alike),
            "rows as they are": straight_line(surface, ends[0], ends[1]),
        }
    draw_between(files.plot, [subject.name for subject in subjects], lines, files.width, options.scale)
    write_values(files.values, [row for label, line in lines.items() for row in _way(label, line)])
    own, plain = (f"{line.barrier:.4g} ± {_error_of(line)}" for line in lines.values())
    caption = (
        f"Loss on the straight line from {shown(first.name)} to {shown(second.name)}. Barrier: {own}, with the "
        f"scale-invariant rows of the second as long as those of the first; {plain} with rows as they are, which "
        f"belongs to the parametrisation. ± is the standard error by the choice of samples. {first.described} "
        f"{counted(BETWEEN_STEPS, 'step')} a line."
    )
    return caption, _cost(subjects)


def _error_of(line: Between) -> str:
    return "unknown, of one batch" if line.error is None else f"{line.error:.2g}"


def _way(label: str, line: Between) -> Iterator[Mapping[str, Any]]:
    for step, loss in zip(line.steps, line.losses, strict=True):
        yield {"line": label, "step": step, "loss": loss}


def _places(name: str, plane: Plane) -> Iterator[Mapping[str, Any]]:
    for (s, t), loss in zip(plane.places, plane.losses, strict=True):
        yield {"network": name, "s": s, "t": t, "loss": loss}


def _cost(subjects: Sequence[_Subject]) -> Cost:
    total = Cost()
    for subject in subjects:
        total = total + subject.around.surface.counter.cost
    return total


KINDS: Mapping[str, Callable[[Sequence[_Subject], FigureOptions, FigureFiles], tuple[str, Cost]]] = {
    "profile": _profile,
    "landscape": _landscape,
    "between": _between,
}
"""What draws each kind: it writes the files, and answers with the caption and the cost."""
