"""The classical sharpness: δ-L^p (Definition 2.1), δ-L∞ and Keskar's box. None of them is invariant under T_a."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from bnsharp_cli.core.ball import BallMaximum, ascend_on_sphere, log_volume, maximise_in_box, random_in_ball
from bnsharp_cli.core.point import Point, add_scaled, norm, random_normal, scaled
from bnsharp_cli.errors import NotMeasurableError, UnfitMeasureError, UsageError, named
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.measures.batch_parts import around, of_power_mean, of_relative_change
from bnsharp_cli.measurement.measures.expected_passes import BALL_STEPS, BOX_STEPS
from bnsharp_cli.measurement.measures.measurement import Measurement, Search, Status, Uncertainty
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.rounding import difference_rounding, loss_rounding, turning_error
from bnsharp_cli.measurement.measures.sharpness_entries import BallOptions
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

_BOX_TURNS = 10.0
"""From ``benchmarks/rounding.py``. In a box rounding also decides which bounds are active, so the answer turns more."""


def delta_lp(surface: LossSurface, point: Point, blocks: Blocks, options: MeasureOptions) -> Measurement:
    r"""δ-L^p sharpness, Eq. (1), without the volume of the ball.

    .. math:: \left(E_{θ' ∼ U(B(θ, δ))} |L(θ') - L(θ)|^p\right)^{1/p} / (1 + L(θ))

    Eq. (1) integrates instead of averaging, which multiplies by V_n(δ)^{1/p}; its decimal logarithm is in the details
    as ``log10_integral``. The error is the standard error of the Monte-Carlo mean, carried through the root.

    Raises:
        UsageError: p = ∞ (use δ-L∞).
        NotMeasurableError: a loss in the ball is not finite.
    """
    del blocks
    if math.isinf(options.power):
        raise UsageError(
            f"delta-lp needs a finite {named('power')}.",
            "For p = inf use delta-linf.",
            argument="power",
            expected="a finite number",
            found=options.power,
        )
    before = surface.counter.cost
    (losses,) = surface.batch_losses([point])
    loss = math.fsum(losses) / len(losses)
    scale = relative_scale(loss)
    by_draw, highest = _changes_in_ball(surface, point, losses, options)
    changes = [abs(math.fsum(each)) / len(each) for each in by_draw]
    root, error = _power_mean(changes, options.power)
    parts = of_power_mean(by_draw, options.power)
    (there,) = surface.batch_losses([highest])
    floor = _floor(surface, highest, there, options)
    return Measurement(
        name="delta-lp",
        value=root / scale,
        status=Status.SAMPLED if root > floor else Status.BELOW_RESOLUTION,
        uncertainty=Uncertainty(rounding=floor / scale, sampling=error / scale),
        cost=surface.counter.cost - before,
        details={
            "delta": options.delta,
            "power": options.power,
            "samples": len(changes),
            "log10_integral": _log10_integral(root, loss, sum(tensor.numel() for tensor in point.values()), options),
        },
        by_batch=of_relative_change(parts, losses) if parts else (),
    )


def _changes_in_ball(
    surface: LossSurface, point: Point, losses: Sequence[float], options: MeasureOptions
) -> tuple[list[list[float]], Point]:
    """ΔL of every batch at random points of the ball, and the point where |ΔL| is largest.

    Raises:
        NotMeasurableError: one of them is not finite.
    """
    generator = torch.Generator().manual_seed(options.seed)
    changes: list[list[float]] = []
    highest, largest = point, 0.0
    for _ in range(options.of(BallOptions).ball_samples):
        moved = add_scaled(point, random_in_ball(point, options.delta, generator), 1.0)
        (there,) = surface.batch_losses([moved])
        _require_finite(there, options.delta)
        changes.append([after - before for after, before in zip(there, losses, strict=True)])
        change = abs(math.fsum(changes[-1])) / len(there)
        highest, largest = (moved, change) if change >= largest else (highest, largest)
    return changes, highest


def _log10_integral(root: float, loss: float, dimension: int, options: MeasureOptions) -> float | None:
    """log₁₀ of Eq. (1) with its volume, V_n(δ)^{1/p} times the value; None for a value of zero."""
    if root == 0:
        return None
    log_integral = log_volume(dimension, options.delta) / options.power + math.log(root)
    return (log_integral - math.log1p(loss)) / math.log(10)


def delta_linf(
    surface: LossSurface, point: Point, blocks: Blocks, options: MeasureOptions, candidates: Sequence[Point] = ()
) -> Measurement:
    r"""δ-L∞ sharpness: max |L(θ') − L(θ)| over the ball of radius δ, divided by 1 + L(θ).

    Projected ascent from the gradient and from random starts; the best point seen is the answer, a lower bound.

    Args:
        surface: L.
        point: θ.
        blocks: not used; the ball is the same for every partition.
        options: δ, restarts and seed.
        candidates: displacements of norm at most δ that are tried too, such as that of Theorem 3.1's vanishing layer.

    Raises:
        NotMeasurableError: a loss or the gradient is not finite, or the loss is below −1.
    """
    del blocks
    before = surface.counter.cost
    generator = torch.Generator().manual_seed(options.seed)
    loss, gradient = surface.value_and_gradient(point)
    scale, size = relative_scale(loss), norm(gradient)
    _require_gradient(size)
    steepest = gradient if size > 0 else random_normal(point, generator)
    starts = [steepest, *(random_normal(point, generator) for _ in range(options.restarts))]
    iterations = BALL_STEPS if options.iterations is None else max(1, options.iterations)
    maxima = [
        ascend_on_sphere(surface.value_and_gradient, point, loss, start, options.delta, iterations) for start in starts
    ]
    best = max(maxima, key=lambda maximum: maximum.value)
    for displacement in candidates:
        best = best.seen(surface.value(add_scaled(point, displacement, 1.0)) - loss, displacement)
    _require_finite([best.value], options.delta)
    parts, floor = _parts_and_floor(surface, point, best.displacement, options)
    floor += turning_error(best.value, best.gap, surface.roundoff)
    return Measurement(
        name="delta-linf",
        value=best.value / scale,
        status=_status(best, floor),
        uncertainty=Uncertainty(rounding=floor / scale),
        cost=surface.counter.cost - before,
        search=Search("sphere", len(starts), iterations, tuple(maximum.value / scale for maximum in maxima)),
        details={"delta": options.delta},
        direction=scaled(best.displacement, 1 / options.delta),
        by_batch=around(best.value / scale, parts),
    )


def keskar(surface: LossSurface, point: Point, blocks: Blocks, options: MeasureOptions) -> Measurement:
    """Keskar et al. (2017): 100 · (max L − L(θ)) / (1 + L(θ)) over the box |z_i| ≤ δ(|θ_i| + 1), by L-BFGS-B.

    The best point that the solver met is the answer, a lower bound.
    """
    del blocks
    before = surface.counter.cost
    (losses,) = surface.batch_losses([point])
    loss = math.fsum(losses) / len(losses)
    scale = relative_scale(loss)
    best = maximise_in_box(surface.value_and_gradient, point, options.delta, BOX_STEPS)
    _require_finite([best.loss], options.delta)
    parts, floor = _parts_and_floor(surface, point, best.displacement, options)
    floor += _BOX_TURNS * turning_error(best.loss - loss, best.gap, surface.roundoff)
    value = 100 * (best.loss - loss) / scale
    status = Status.CONVERGED if best.converged else Status.ITERATION_LIMIT
    return Measurement(
        name="keskar",
        value=value,
        status=status if best.loss - loss > floor else Status.BELOW_RESOLUTION,
        uncertainty=Uncertainty(rounding=100 * floor / scale),
        cost=surface.counter.cost - before,
        search=Search("l-bfgs-b", 1, BOX_STEPS, (value,)),
        details={"delta": options.delta, "unit": "percent"},
        by_batch=around(value, [100 * part for part in parts]),
    )


def _parts_and_floor(
    surface: LossSurface, point: Point, displacement: Point, options: MeasureOptions
) -> tuple[tuple[float, ...], float]:
    """What each batch adds to the relative change of the loss by a displacement, and the change's rounding floor."""
    moved = add_scaled(point, displacement, 1.0)
    (losses,), (there,) = (surface.batch_losses([each]) for each in (point, moved))
    parts = of_relative_change([after - before for after, before in zip(there, losses, strict=True)], losses)
    return parts, _floor(surface, moved, there, options)


def relative_scale(loss: float) -> float:
    """1 + L(θ), by which the classical measures divide.

    Raises:
        UnfitMeasureError: it is not positive, so that a change relative to it means nothing.
    """
    if loss <= -1:
        raise UnfitMeasureError(
            f"The loss is {loss:.6g}, and the classical measures divide by 1 + L, for losses that are not negative.",
            "Add a constant to the loss: that changes neither its slopes nor BN-Sharpness.",
            argument="criterion",
            expected="a loss above -1",
            found=loss,
        )
    return 1 + loss


def _floor(surface: LossSurface, highest: Point, losses: Sequence[float], options: MeasureOptions) -> float:
    """The error of a loss difference by rounding, taken where the loss and so its error is largest."""
    error = loss_rounding(surface, highest, losses, options.seed)
    return difference_rounding(error, error)


def _power_mean(changes: Sequence[float], power: float) -> tuple[float, float]:
    """(mean |ΔL|^p)^{1/p} and its standard error by the delta method, scaled by the largest so as not to underflow."""
    largest = max(changes)
    if largest == 0:
        return 0.0, 0.0
    powered = [(change / largest) ** power for change in changes]
    mean = math.fsum(powered) / len(powered)
    variance = math.fsum((value - mean) ** 2 for value in powered) / (len(powered) - 1)
    root = mean ** (1 / power)
    return largest * root, largest * root * math.sqrt(variance / len(powered)) / (power * mean)


def _status(best: BallMaximum, floor: float) -> Status:
    if best.value <= floor:
        return Status.BELOW_RESOLUTION
    return Status.CONVERGED if best.settled else Status.ITERATION_LIMIT


def _require_gradient(size: float) -> None:
    if not math.isfinite(size):
        raise NotMeasurableError(
            "The gradient of the loss is not finite, or its square is not.",
            "Check the data, or divide the loss by a constant.",
        )


def _require_finite(values: Sequence[float], delta: float) -> None:
    if not all(math.isfinite(value) for value in values):
        raise NotMeasurableError(
            f"The loss is not finite in the ball or box of δ = {delta:g}.",
            f"Lower {named('delta')}, or use {named('precision')} float64.",
            argument="delta",
        )
