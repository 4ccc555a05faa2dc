"""The Euclidean norm of the weights: the simplest control of all."""

from __future__ import annotations

import torch

from bnsharp_cli.core.point import Point, norm
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.measures.measurement import Measurement, Status, Uncertainty
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.cost import NO_PASSES
from bnsharp_cli.measurement.surface.loss_surface import LossSurface


def weight_norm(surface: LossSurface, point: Point, blocks: Blocks, options: MeasureOptions) -> Measurement:
    """‖θ‖, over the parameters that are varied; of a complex number its modulus counts.

    Changes under every rescaling. It takes no pass and sees no data.

    Args:
        surface: whose batches all have the same value.
        point: θ.
        blocks: not used.
        options: not used.
    """
    del blocks, options
    value = norm(point)
    error = Uncertainty(rounding=torch.finfo(torch.float64).eps * value)
    same = (value,) * surface.count
    return Measurement("weight-norm", value, Status.COMPUTED, error, NO_PASSES, by_batch=same)
