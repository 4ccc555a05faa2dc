"""BN-Sharpness, Definition 3.1 of Yi et al. (IJCAI 2019)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from bnsharp_cli.core.point import Point
from bnsharp_cli.core.spheres import Spheres
from bnsharp_cli.errors import UsageError
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.measures.bn_errors import ErrorEstimates, estimate_errors
from bnsharp_cli.measurement.measures.breakdown import divided, require_few_parts
from bnsharp_cli.measurement.measures.integral import Integral, integrate_to_precision
from bnsharp_cli.measurement.measures.measurement import Measurement, Search, Status
from bnsharp_cli.measurement.measures.objective import SegmentObjective
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.population import objective_and_noise
from bnsharp_cli.measurement.measures.supremum import Supremum, find_supremum, settles_with_more_nodes
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.option_records import shortest


def bn_sharpness(surface: LossSurface, point: Point, blocks: Blocks, options: MeasureOptions) -> Measurement:
    r"""BN-Sharpness of Definition 3.1: search, integral, errors.

    .. math:: \sup_{v ∈ φ(θ)} δ^{-1/p} \left(∫_{-δ}^{δ} |(L(θ+tv) - L(θ))/δ|^p dt\right)^{1/p}

    The search runs in normalised coordinates, so the computed number, not only the supremum, is the same for every
    copy T_a(θ); it is a lower bound on the supremum. For δ → 0 it tends to (2/(p+1))^{1/p} (Σ_i ‖∇_iL‖‖θ_i‖ + ‖∇_*L‖),
    which is reported as ``limit``. Where the partition leaves nothing to θ_*, its last term is not there.

    Args:
        surface: L.
        point: θ.
        blocks: which numbers share a radius.
        options: δ, p, search and precision.

    Raises:
        UsageError: δ ≥ 1 with relative radii; single numbers as parts.
        NotMeasurableError: L or its gradient is not finite within δ.
    """
    _require_radius(blocks, options)
    require_few_parts(blocks, options)
    before = surface.counter.cost
    objective, noise = objective_and_noise(surface, point, blocks, options)

    supremum = find_supremum(objective, options)
    integral = integrate_to_precision(objective, supremum, options)
    errors = estimate_errors(objective, blocks, supremum, integral, noise, options)
    parts = divided(objective, blocks, integral.value, errors, supremum.direction, noise, options)

    return Measurement(
        name=measure_name(blocks.partition),
        value=integral.value,
        status=_status(objective, integral, errors, supremum, options),
        uncertainty=errors.uncertainty,
        cost=surface.counter.cost - before,
        uncertainty_cost=errors.cost,
        search=Search(options.search, len(supremum.values), options.steps, supremum.values),
        details={**_details(objective, supremum, integral, errors), **parts},
        direction=supremum.direction,
        segment=integral.mean.nodes,
        notes=tuple(_notes(blocks, objective.spheres)),
    )


def measure_name(partition: str) -> str:
    """The name of BN-Sharpness by a partition: ``bn``, or ``bn-filter`` and the like."""
    return "bn" if partition == "paper" else f"bn-{partition}"


def _notes(blocks: Blocks, spheres: Spheres) -> Iterator[str]:
    if blocks.probed and not blocks.invariant:
        yield (
            "none of the measured weights is scale-invariant: for small δ this is the plain gradient norm, which a "
            "rescaling that changes nothing can change; the partition filter has radii relative to every row"
        )
    yield from blocks.zero_notes(spheres)


def _require_radius(blocks: Blocks, options: MeasureOptions) -> None:
    if blocks.relative and options.delta >= 1:
        raise UsageError.of(
            "delta",
            "less than 1 where radii are relative to weights",
            shortest(options.delta),
            "At δ = 1 a direction reaches −θ_i; use a smaller radius.",
        )


def _status(
    objective: SegmentObjective, integral: Integral, errors: ErrorEstimates, supremum: Supremum, options: MeasureOptions
) -> Status:
    if integral.value <= errors.floor or integral.value == 0:
        return Status.BELOW_RESOLUTION
    if not options.rule.monotone or options.steps == 0:
        return Status.AS_PRESCRIBED
    if _is_local_supremum(objective, integral, errors, supremum, options):
        return Status.CONVERGED
    close = supremum.best.settled or supremum.best.expected_gain() <= options.rtol * supremum.best.best_value
    return Status.WITHIN_TOLERANCE if close else Status.ITERATION_LIMIT


def _is_local_supremum(
    objective: SegmentObjective, integral: Integral, errors: ErrorEstimates, supremum: Supremum, options: MeasureOptions
) -> bool:
    """Whether the search ended at a local supremum of F, and not only of the few nodes by which it saw F.

    Where these give another value than the integral, more of them are asked.
    """
    if not supremum.best.settled:
        return False
    allowed = options.rtol * integral.value + errors.quadrature + errors.floor
    same = abs(supremum.best.best_value - integral.value) <= allowed
    return same or settles_with_more_nodes(objective, supremum.best)


def _details(
    objective: SegmentObjective, supremum: Supremum, integral: Integral, errors: ErrorEstimates
) -> dict[str, Any]:
    """What only this measure reports."""
    limit, gap = objective.limit, supremum.best.gap
    return {
        "delta": objective.delta,
        "power": "inf" if math.isinf(objective.power) else objective.power,
        "limit": limit,
        "limit_ratio": limit / integral.value if integral.value else None,
        "gap": gap if math.isfinite(gap) else None,
        "precision": str(integral.surface.dtype).removeprefix("torch."),
        "population": errors.population and errors.population.to_dict(),
        "sampling": errors.sampling and errors.sampling.to_dict(),
    }
