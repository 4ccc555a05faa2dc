"""The output margin of Jiang et al. (ICLR 2020): how clearly the right class wins."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import UnfitMeasureError
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.of_outputs import Reading, read_off
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.output_figures import MOST_MARGINS, OutputFigures, margin_rounding
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

_SHARE = 0.1
"""Of the samples, whose margins are smaller: the 10th percentile."""


def margin(surface: LossSurface, point: Point, blocks: Blocks, options: MeasureOptions) -> Measurement:
    """The 10th percentile over all samples of f_y − max_{j≠y} f_j, f the outputs before softmax and y the label.

    It is the margin γ of Jiang et al. (2020, Section 4 and appendix), where it takes the place of the smallest one,
    which a single sample decides; not divided by any norm. Percentiles are interpolated linearly. The standard error is
    half the distance of the samples one binomial standard deviation of ranks below and above. Where each sample has
    several labels, as in segmentation, every label counts. Invariant under whatever leaves the function as it is. One
    forward; then one for rounding, or up to four where batches are few.

    Args:
        surface: L.
        point: θ.
        blocks: not used.
        options: the seed.

    Raises:
        UnfitMeasureError: there are no class labels, or too many to keep the margin of each.
        NotMeasurableError: the loss or the margin is not finite.
    """
    del blocks
    return read_off("margin", surface, point, options, _require_margins, _read)


def _require_margins(figures: OutputFigures) -> None:
    if figures.margins is not None and len(figures.margins):
        return
    if figures.labels:
        raise UnfitMeasureError(
            f"There are {figures.labels:,} labels, and it keeps the margin of each, {MOST_MARGINS:,} at most.",
            "Measure fewer samples.",
            argument="batches",
            expected=f"at most {MOST_MARGINS:,} labels",
            found=figures.labels,
        )
    raise UnfitMeasureError(
        "It needs a class number of two or more for each row of the outputs, and there is none.",
        "Leave it out.",
        argument="batches",
        expected="class numbers",
    )


def _read(figures: OutputFigures, others: Sequence[OutputFigures]) -> Reading:
    margins = _of(figures)
    ordered = margins.sort().values
    count = len(ordered)
    rank, spread = _SHARE * (count - 1), math.sqrt(count * _SHARE * (1 - _SHARE))
    around = _at(ordered, rank + spread) - _at(ordered, rank - spread)
    return Reading(
        _at(ordered, rank),
        margin_rounding(margins, [_of(one) for one in others]),
        around / 2,
        {"percentile": 100 * _SHARE, "labels": count},
    )


def _of(figures: OutputFigures) -> Tensor:
    assert figures.margins is not None
    return figures.margins


def _at(ordered: Tensor, rank: float) -> float:
    """The value at a rank, between two of them by linear interpolation; at the ends the last one."""
    inside = min(max(rank, 0.0), len(ordered) - 1.0)
    below = math.floor(inside)
    low, high = float(ordered[below]), float(ordered[min(below + 1, len(ordered) - 1)])
    return low + (inside - below) * (high - low)
