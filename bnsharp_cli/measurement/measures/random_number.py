"""A number that has nothing to do with the network: whatever predicts no better than it predicts nothing."""

from __future__ import annotations

import torch

from bnsharp_cli.core.point import Point
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.measures.measurement import Measurement, Status, Uncertainty
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.cost import NO_PASSES
from bnsharp_cli.measurement.surface.loss_surface import LossSurface


def random_number(surface: LossSurface, point: Point, blocks: Blocks, options: MeasureOptions) -> Measurement:
    """A number from 0 to 1 that the seed alone decides: give every network of a study a seed of its own.

    It is invariant under everything, which shows that invariance alone is no merit. It takes no pass.

    Args:
        surface: whose batches all have the same number.
        point: not used.
        blocks: not used.
        options: the seed.
    """
    del point, blocks
    generator = torch.Generator().manual_seed(options.seed)
    value = float(torch.rand((), generator=generator, dtype=torch.float64))
    details, same = {"seed": options.seed}, (value,) * surface.count
    return Measurement("random", value, Status.COMPUTED, Uncertainty(), NO_PASSES, details=details, by_batch=same)
