"""How far the loss falls along its gradient before it rises above where it began."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bnsharp_cli.core.halving import Crossing
from bnsharp_cli.core.point import Point
from bnsharp_cli.core.row_points import displaced, inner_product
from bnsharp_cli.errors import NotMeasurableError, UnfitMeasureError, named
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.measures.measurement import Measurement, Status, Uncertainty
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.perturbation_entries import RADIUS_SEARCH, RelativeOptions
from bnsharp_cli.measurement.measures.relative_radii import relative_spheres
from bnsharp_cli.measurement.measures.rounding import difference_rounding, loss_rounding
from bnsharp_cli.measurement.surface.loss_surface import LossSurface


def critical_radius(surface: LossSurface, point: Point, blocks: Blocks, options: MeasureOptions) -> Measurement:
    r"""The smallest t > 0 with L(θ − tv) > L(θ), v along the gradient, every block as long as its weights.

    .. math:: v_b = \|θ_b\| \, ∇_bL / \|∇_bL\|

    On a quadratic loss it is 2 ∇L·v / vᵀHv. A large radius is flat. The steps 2⁻⁶, 2⁻⁵, … 1 are tried until the loss
    rises, or 2⁻⁷, 2⁻⁸, … until it does not, and then the interval is halved five times. So "smallest" is what these
    steps see: where the loss rises and falls again between two neighbouring powers of two, that is missed.

    Source: the critical learning rate of Kalra et al. (arXiv 2601.16979, 2026), here with relative radii instead of
    a learning rate.

    Cost: 1 gradient, mostly 7 to 9 forwards, and what rounding takes.

    Invariance: under every rescaling of whole blocks that leaves the loss unchanged.

    Args:
        surface: L.
        point: θ.
        blocks: of the command; they are used where ``relative_to`` says so.
        options: ``relative_to``, seed.

    Raises:
        UnfitMeasureError: all weights or the gradient are zero, or the loss does not rise up to t = 1.
        NotMeasurableError: a loss or the gradient is not finite.
    """
    before, own = surface.counter.cost, options.of(RelativeOptions)
    spheres, notes = relative_spheres(surface, point, blocks, own.relative_to)
    loss, gradient = surface.value_and_gradient(point)
    direction = spheres.direction_along(gradient)
    slope = inner_product(gradient, direction)
    _require_slope(slope)
    path = _Path(surface, point, direction, loss)
    crossing = RADIUS_SEARCH.crossing(path.change)
    if crossing is None:
        raise UnfitMeasureError(
            f"The loss does not rise down its gradient, up to the length of the weights: the radius is larger than "
            f"{RADIUS_SEARCH.largest:g}, or infinite.",
            "Measure a trained network.",
            argument="model",
            expected="a loss that rises",
            found="a loss that falls or stays",
        )
    rounding = path.rounding(crossing, options.seed)
    resolved = crossing.low > 0 and rounding < crossing.middle
    return Measurement(
        name="critical-radius",
        value=crossing.middle,
        status=Status.BRACKETED if resolved else Status.BELOW_RESOLUTION,
        uncertainty=Uncertainty(rounding=rounding, bracket=crossing.reach),
        cost=surface.counter.cost - before,
        details={
            "relative_to": own.relative_to,
            "low": crossing.low,
            "high": crossing.high,
            "slope": slope,
        },
        notes=notes,
    )


def _require_slope(slope: float) -> None:
    if slope == 0:
        raise UnfitMeasureError(
            "The gradient is zero wherever weights are not, and has no direction.",
            "Take a measure that needs none, such as noise.",
            argument="model",
            expected="a gradient that is not zero",
            found=0.0,
        )
    if not math.isfinite(slope):
        raise NotMeasurableError(
            "The gradient of the loss is not finite, or its square is not.",
            "Check the data, or divide the loss by a constant.",
        )


class _Path:
    """The loss along θ − tv."""

    def __init__(self, surface: LossSurface, point: Point, direction: Point, loss: float) -> None:
        self._surface, self._point = surface, point
        self._direction, self._loss = direction, loss
        self._losses: dict[float, Sequence[float]] = {}

    def change(self, step: float) -> float:
        """L(θ − tv) − L(θ).

        Raises:
            NotMeasurableError: it is not finite.
        """
        (self._losses[step],) = self._surface.batch_losses([self._at(step)])
        value = math.fsum(self._losses[step]) / len(self._losses[step])
        if not math.isfinite(value):
            raise NotMeasurableError(
                f"The loss is not finite at {step:g} of the length of the weights down the gradient.",
                f"Use {named('precision')} float64, or divide the loss by a constant.",
            )
        return value - self._loss

    def rounding(self, crossing: Crossing, seed: int) -> float:
        """The error of the crossing by that of the loss: divided by the slope where the loss rises.

        The slope is that over the step in which the rise was found, which is wide enough to have one.
        """
        low, high = crossing.step
        steepness = (crossing.values[high] - crossing.values.get(low, 0.0)) / (high - low)
        error = loss_rounding(self._surface, self._at(high), self._losses[high], seed)
        return difference_rounding(error, error) / steepness

    def _at(self, step: float) -> Point:
        return displaced(self._point, self._direction, -step)
