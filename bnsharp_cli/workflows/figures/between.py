"""The loss between two networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import UsageError, counted, shown
from bnsharp_cli.measurement.blocks.blocks import PROBED_PARTITIONS
from bnsharp_cli.measurement.blocks.probe import Probe
from bnsharp_cli.measurement.landscape.bend import bend_cost
from bnsharp_cli.measurement.landscape.between import BETWEEN_STEPS, Between, matched, straight_line
from bnsharp_cli.measurement.landscape.channel_groups import find_channel_groups
from bnsharp_cli.measurement.landscape.channel_matching import match_channels
from bnsharp_cli.measurement.landscape.valley import Valley, valley_cost, valley_from
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.cost import FORWARD, NO_PASSES, Cost
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.report.figure_values import write_values
from bnsharp_cli.report.landscape_figures import draw_between
from bnsharp_cli.workflows.figure_options import FigureFiles, FigureOptions
from bnsharp_cli.workflows.figures.drawn_network import DrawnNetwork, about_figure, cost_of
from bnsharp_cli.workflows.figures.kind import FigureKind
from bnsharp_cli.workflows.options import Data

_CURVE, _CHANNELS, _ROWS, _PLAIN = (
    "curve, bend trained",
    "line, channels and rows matched",
    "line, rows matched in length",
    "line, rows as they are",
)


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


def _draw_between(networks: Sequence[DrawnNetwork], options: FigureOptions, files: FigureFiles) -> tuple[str, Cost]:
    """L on ways between two networks: the straight line, and a curve whose bend is trained."""
    first, second = networks
    surface, ways = first.around.surface, _Ways(networks, options)
    with surface.progress.stage("between", ways.most):
        lines, valley = ways.lines(), None
        if options.bend:
            valley = ways.valley(lines)
            lines = {_CURVE: valley.between, **lines}
    draw_between(files.plot, [first.name, second.name], lines, files.width, options.scale)
    barriers = "; ".join(f"{label} {line.barrier:.4g} ± {_error_of(line)}" for label, line in lines.items())
    sentences = [
        f"Loss on the way from {shown(first.name)} to {shown(second.name)}. Barriers: {barriers}.",
        "± is the standard error by the choice of samples. Rows as they are belong to the parametrisation.",
        ways.about_channels(),
        "" if valley is None else _about_the_curve(valley, surface, first.around.options.seed),
        f"{first.described} {counted(BETWEEN_STEPS, 'step')} a way.",
    ]
    caption = " ".join(filter(None, sentences))
    rows = [row for label, line in lines.items() for row in _way(label, line)]
    write_values(files.values, rows, about_figure("between", networks, options, caption))
    return caption, cost_of(networks)


class _Ways:
    """The ends of the ways between two networks."""

    def __init__(self, networks: Sequence[DrawnNetwork], options: FigureOptions) -> None:
        first, second = (network.around for network in networks)
        self._around, self._options = first, options
        self._first, self._plain = first.point, second.point
        self._groups = None
        if options.match == "permutations":
            self._groups = find_channel_groups(Probe.of(first.surface, first.point))

    @property
    def most(self) -> Cost:
        """What all ways cost."""
        lines = (2 if self._groups is None else 3) * BETWEEN_STEPS * FORWARD
        return lines + (valley_cost(self._around.surface, self._options.bend) if self._options.bend else NO_PASSES)

    @cached_property
    def _second(self) -> Point:
        """The second network, as much like the first as may be."""
        blocks, plain = self._around.blocks, self._plain
        if self._groups is not None:
            plain = match_channels(plain, self._first, blocks, self._groups.groups)
        return matched(plain, self._first, blocks)

    def lines(self) -> dict[str, Between]:
        """The straight lines by their labels, the one that is most matched first."""
        ends = {_CHANNELS: self._second} if self._groups is not None else {}
        ends |= {_ROWS: matched(self._plain, self._first, self._around.blocks), _PLAIN: self._plain}
        surface, kept = self._around.surface, self._around.kept
        return {label: straight_line(surface, self._first, end, kept=kept, label=label) for label, end in ends.items()}

    def valley(self, lines: Mapping[str, Between]) -> Valley:
        """The curve that begins as the first of the lines."""
        around, line = self._around, next(iter(lines.values()))
        ends = self._first, self._second
        return valley_from(around.surface, ends, around.blocks, line, self._options.bend, around.options.seed)

    def about_channels(self) -> str:
        """The channels that were permuted, and what stayed; nothing where none was to be."""
        found = self._groups
        if found is None:
            return ""
        said = f"The channels of {counted(len(found.groups), 'group')} were permuted (weight matching)"
        left = [f"{counted(found.refuted, 'group')} stayed, since outputs changed"] if found.refuted else []
        if found.untouched:
            named = f"{shown(found.untouched[0])}{' and others' if len(found.untouched) > 1 else ''}"
            left.append(f"{counted(len(found.untouched), 'weight')} ({named}) stayed as they are")
        return "; ".join([said, *left]) + "."


def _about_the_curve(valley: Valley, surface: LossSurface, seed: int) -> str:
    cost = bend_cost(surface, valley.steps)
    said = (
        f"The curve is a quadratic Bézier curve whose bend was trained for {counted(valley.steps, 'step')} "
        f"({cost.passes}, seed {seed}); its mean loss was {valley.halfway:.4g} after half of them and "
        f"{valley.trained:.4g} after all"
    )
    said += ", so training has not ended." if valley.still_falling else "."
    return said if valley.bent else f"{said} Its barrier was no lower than the line's, which is shown instead."


def _error_of(line: Between) -> str:
    return "unknown, of one batch" if line.error is None else f"{line.error:.2g}"


def _way(label: str, line: Between) -> Iterator[Mapping[str, Any]]:
    for step, loss in zip(line.steps, line.losses, strict=True):
        yield {"line": label, "step": step, "loss": loss}


BETWEEN_FIGURE = FigureKind(
    _draw_between,
    networks=2,
    refusal="There is a line between two networks.",
    remedy="Name two checkpoints.",
    require=_require_way,
)
