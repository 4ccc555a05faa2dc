"""The loss between two networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bnsharp_cli.errors import UsageError, counted, shown
from bnsharp_cli.measurement.blocks.blocks import PROBED_PARTITIONS
from bnsharp_cli.measurement.landscape.between import BETWEEN_STEPS, Between, matched, straight_line
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.cost import Cost
from bnsharp_cli.report.figure_values import write_values
from bnsharp_cli.report.landscape_figures import draw_between
from bnsharp_cli.workflows.figure_options import FigureFiles, FigureOptions
from bnsharp_cli.workflows.figures.drawn_network import DrawnNetwork, cost_of
from bnsharp_cli.workflows.figures.kind import FigureKind
from bnsharp_cli.workflows.options import Data


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


def _draw_between(subjects: Sequence[DrawnNetwork], options: FigureOptions, files: FigureFiles) -> tuple[str, Cost]:
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
    return caption, cost_of(subjects)


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
