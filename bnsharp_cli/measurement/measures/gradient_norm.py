"""The Euclidean norm of the gradient: a control, since at small radii much of a sharpness is no more than that."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point, inner_by_tensor, norm
from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.measures.batch_parts import around
from bnsharp_cli.measurement.measures.measurement import Measurement, Status, Uncertainty
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

_UNITS = 100.0
"""Units in the last place that gradients may be off by: 30 were seen, on the sample networks and a resnet18."""


def gradient_norm(surface: LossSurface, point: Point, blocks: Blocks, options: MeasureOptions) -> Measurement:
    r"""‖∇L(θ)‖ over all samples, the same for every partition.

    At a trained network it is mostly the noise of the batches. Pairs of different batches have no noise in common, so

    .. math:: U = \left(\|Σ_b g_b\|^2 - Σ_b \|g_b\|^2\right) / (B(B-1))

    is an unbiased estimate of ‖∇L‖² on fresh data, whose root, or 0, is ``fresh`` in the details; the distance to it is
    the error by sampling. The whole split of M batches has (1 − 1/M) U + (1/M) mean ‖g_b‖², whose root is ``split``.
    Changes under every rescaling. One forward and one backward; the same again for ⟨∇L, g_b⟩ of each batch, which
    tells networks apart.

    Args:
        surface: L.
        point: θ.
        blocks: not used.
        options: not used.

    Raises:
        NotMeasurableError: the gradient is not finite.
    """
    del blocks, options
    before = surface.counter.cost
    gradient, squares = surface.gradient_and_squares(point)
    value, noise = norm(gradient), math.sqrt(math.fsum(squares)) / len(squares)
    if not math.isfinite(value) or not math.isfinite(noise):
        raise NotMeasurableError(
            "The gradient of the loss is not finite, or its square is not.",
            "Check the data, or divide the loss by a constant.",
        )
    rounding = _UNITS * surface.roundoff * math.hypot(value, noise)
    fresh = _on_fresh_data(value, squares, surface.weights)
    known = surface.counter.cost
    parts = _parts(surface, point, gradient, value)
    sampling = None if fresh is None or surface.holds_all_data else abs(value - fresh)
    return Measurement(
        name="gradient-norm",
        value=value,
        status=Status.COMPUTED if value > rounding else Status.BELOW_RESOLUTION,
        uncertainty=Uncertainty(rounding=rounding, sampling=sampling),
        cost=surface.counter.cost - before,
        uncertainty_cost=surface.counter.cost - known,
        details={"fresh": fresh, "split": _on_the_split(surface, fresh, squares)},
        by_batch=parts,
    )


def _parts(surface: LossSurface, point: Point, gradient: Point, value: float) -> tuple[float, ...]:
    """⟨∇L, g_b⟩ / ‖∇L‖ of each batch; nothing where a single batch or all data leave nothing to tell."""
    if surface.count < 2 or surface.holds_all_data or not value:
        return ()
    slopes: list[Tensor] = []
    surface.value_and_batch_gradients(point, lambda _, own: slopes.append(inner_by_tensor(own, gradient)))
    own = torch.tensor(
        [math.fsum(each) for each in torch.stack(slopes).tolist()] if slopes else [], dtype=torch.float64
    )
    return around(value, [slope / value for slope in surface.processes.in_order(own, surface.count).tolist()])


def _on_the_split(surface: LossSurface, fresh: float | None, squares: list[float]) -> float | None:
    """The root of the unbiased estimate on the data that the samples were drawn from; None where it is not known."""
    sizes = surface.sizes
    if fresh is None or sizes is None or sizes.available is None:
        return None
    part = sizes.examples / sizes.available / len(squares)
    own = math.fsum(weight**2 for weight in surface.weights)
    return math.sqrt((1 - part) * fresh**2 + part * math.fsum(squares) / own)


def _on_fresh_data(value: float, squares: list[float], weights: tuple[float, ...]) -> float | None:
    """The root of the unbiased estimate of ‖∇L‖² on fresh data; None for a single batch.

    Args:
        value: ‖∇L‖ on the samples.
        squares: ‖g_b‖² of each batch, with its weight.
        weights: of the batches, 1 on average.
    """
    pairs = len(squares) ** 2 - math.fsum(weight**2 for weight in weights)
    if len(squares) < 2:
        return None
    unbiased = ((len(squares) * value) ** 2 - math.fsum(squares)) / pairs
    return math.sqrt(max(0.0, unbiased))
