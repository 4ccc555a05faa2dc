"""The loss itself: a control, since whatever follows the training loss tells no more than it does."""

from __future__ import annotations

from bnsharp_cli.core.point import Point
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.of_outputs import Reading, read_off
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.loss_surface import LossSurface


def loss(surface: LossSurface, point: Point, blocks: Blocks, options: MeasureOptions) -> Measurement:
    """L(θ), the mean loss over all samples, with the standard error of the mean.

    The error is that over samples where the loss is a cross entropy, whose samples can be told apart, and else that
    over batches. Invariant under whatever leaves the function as it is. One forward; then one for rounding, or up to
    four where batches are few.

    Args:
        surface: L.
        point: θ.
        blocks: not used.
        options: the seed.

    Raises:
        NotMeasurableError: it is not finite.
    """
    del blocks
    return read_off(
        "loss",
        surface,
        point,
        options,
        lambda _: None,
        lambda figures, others: Reading.of(figures.loss, [one.loss for one in others]),
    )
