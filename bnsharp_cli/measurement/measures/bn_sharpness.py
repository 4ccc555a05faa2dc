"""BN-Sharpness, Definition 3.1 of Yi et al. (IJCAI 2019)."""

from __future__ import annotations

import math

import torch

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import UsageError
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.measures.measurement import Measurement, Search, Status, Uncertainty
from bnsharp_cli.measurement.measures.objective import SegmentObjective, objective_at
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.rounding import direction_rounding
from bnsharp_cli.measurement.measures.sampling import LINEAR, GradientSplit, Sampling, measured_sampling
from bnsharp_cli.measurement.measures.supremum import Supremum, find_supremum, integrate, integrate_best
from bnsharp_cli.measurement.surface.loss_surface import LossSurface


def bn_sharpness(surface: LossSurface, point: Point, blocks: Blocks, options: MeasureOptions) -> Measurement:
    r"""BN-Sharpness, Definition 3.1.

    .. math:: \sup_{v ∈ φ(θ)} δ^{-1/p} \left(∫_{-δ}^{δ} |(L(θ+tv) - L(θ))/δ|^p dt\right)^{1/p}

    The search runs in normalised coordinates, so the computed number, not only the supremum, is the same for every
    copy T_a(θ); it is a lower bound on the supremum. For δ → 0 it tends to (2/(p+1))^{1/p} (Σ_i ‖∇_iL‖‖θ_i‖ + ‖∇_*L‖),
    which is reported as ``limit``.

    Args:
        surface: L.
        point: θ.
        blocks: which rows scale together.
        options: δ, p, search and precision.

    Raises:
        UsageError: δ ≥ 1 with invariant blocks.
        NotMeasurableError: L or its gradient is not finite within δ.
    """
    if blocks.invariant and options.delta >= 1:
        raise UsageError(
            f"--delta: expected less than 1 where weights are scale-invariant, found {options.delta:g}.",
            "At δ = 1 a direction reaches −θ_i; use a smaller radius.",
        )
    before = surface.counter.cost
    split = GradientSplit(surface.count)
    objective = objective_at(surface, point, blocks, options, split.observe)
    by_gradients = split.sampling(objective.spheres, objective.gradient, surface.processes)
    found = find_supremum(objective, options)
    integral = integrate_best(objective, found, options)
    spent = integral.floor_cost
    coarse = options.precision == "auto" and integral.floor > options.rtol * integral.mean.value
    precise = surface.in_precision(torch.float64) if coarse else surface
    if precise.dtype != surface.dtype:
        integral = integrate(precise, point, precise.value(point), found.direction, options)
        spent = spent + integral.floor_cost
    value, limit = integral.mean.value, _limit(objective)
    floor = integral.floor + direction_rounding(integral.mean, found.best.gap, surface, options)
    before_sampling = surface.counter.cost
    if options.uncertainty == "full":
        sampling = measured_sampling(precise, point, blocks, options, value)
    else:
        sampling = by_gradients.in_proportion(value) if by_gradients and _linear(value, limit) else None
    spent = spent + (surface.counter.cost - before_sampling)
    return Measurement(
        name="bn" if blocks.partition == "paper" else "bn-extended",
        value=value,
        status=_status(value, floor, found, options),
        uncertainty=Uncertainty(integral.mean.error, floor, _sampling_error(value, sampling)),
        cost=surface.counter.cost - before,
        uncertainty_cost=spent,
        search=Search(options.search, len(found.values), options.steps, found.values),
        details={
            "delta": options.delta,
            "power": "inf" if math.isinf(options.power) else options.power,
            "limit": limit,
            "limit_ratio": limit / value if value else None,
            "gap": found.best.gap if math.isfinite(found.best.gap) else None,
            "precision": str(precise.dtype).removeprefix("torch."),
            "sampling": sampling and sampling.to_dict(),
        },
        direction=found.direction,
        segment=integral.mean.nodes,
    )


def _limit(objective: SegmentObjective) -> float:
    """(2/(p+1))^{1/p} (Σ_i ‖∇_iL‖‖θ_i‖ + ‖∇_*L‖)."""
    p, spheres = objective.power, objective.spheres
    slope = float(spheres.norms(spheres.to_coordinates_gradient(objective.gradient)).sum())
    return slope if math.isinf(p) else float((2 / (p + 1)) ** (1 / p) * slope)


def _linear(value: float, limit: float) -> bool:
    """Whether gradients alone tell how the value depends on the samples."""
    return value != 0 and abs(limit / value - 1) <= LINEAR


def _sampling_error(value: float, sampling: Sampling | None) -> float | None:
    """How far the other end of the hull [cross-fitted, in-sample] lies."""
    return None if sampling is None else abs(value - sampling.cross_fitted)


def _status(value: float, floor: float, found: Supremum, options: MeasureOptions) -> Status:
    if value <= floor or value == 0:
        return Status.BELOW_RESOLUTION
    if not options.rule.monotone or options.steps == 0:
        return Status.AS_PRESCRIBED
    if found.best.settled:
        return Status.CONVERGED
    close = found.best.expected_gain() <= options.rtol * found.best.best_value
    return Status.WITHIN_TOLERANCE if close else Status.ITERATION_LIMIT
