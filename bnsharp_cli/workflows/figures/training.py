"""Measures along the checkpoints of a training."""

from __future__ import annotations

from pathlib import Path

from bnsharp_cli.errors import counted, shown
from bnsharp_cli.report.along_table import common_values, label_of
from bnsharp_cli.report.comparison_plots import plot_stages
from bnsharp_cli.workflows.figure_options import FigureOptions
from bnsharp_cli.workflows.figures.measured import FigureRow, MeasuredKind, MeasuredNetworks


def _picture(path: Path, found: MeasuredNetworks, options: FigureOptions, width: float) -> None:
    plot_stages(path, found.stages, found.data, width, options.scale)


def _rows(found: MeasuredNetworks) -> list[FigureRow]:
    return [
        {
            "network": name,
            "measure": one.measure,
            "delta": one.delta,
            "value": one.value,
            "low": one.low,
            "high": one.high,
        }
        for name, values in found.stages
        for one in values
    ]


def _caption(found: MeasuredNetworks) -> str:
    what = ", ".join(label_of(*kind) for kind in common_values(found.stages))
    bars = found.about_bars(one for values in found.values for one in values)
    ends = f"{shown(found.names[0])} to {shown(found.names[-1])}"
    return f"{what} along {counted(len(found.names), 'checkpoint')}, {ends}: {found.described} {bars}"


TRAINING_FIGURE = MeasuredKind(
    _picture,
    _rows,
    _caption,
    networks=(2, None),
    refusal="A training is shown by several checkpoints.",
    remedy="Name at least two of its checkpoints, or the folder that they are in.",
    along=True,
)
