"""How far a value of BN-Sharpness may be off: by its integral, by rounding, and by the choice of samples."""

from __future__ import annotations

from dataclasses import dataclass

from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.measures.drowned_slots import drowned_rounding
from bnsharp_cli.measurement.measures.integral import Integral
from bnsharp_cli.measurement.measures.measurement import Uncertainty
from bnsharp_cli.measurement.measures.objective import SegmentObjective
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.population import GradientNoise, Population
from bnsharp_cli.measurement.measures.rounding import direction_rounding
from bnsharp_cli.measurement.measures.sampling import Sampling, measured_sampling
from bnsharp_cli.measurement.measures.supremum import Supremum
from bnsharp_cli.measurement.surface.cost import Cost

_NEARLY_LINEAR = 0.1
"""Where limit/value is within this of one, gradients alone tell how the value depends on the samples."""


@dataclass(frozen=True)
class ErrorEstimates:
    """The errors of one value.

    Attributes:
        quadrature: of the integral.
        floor: what rounding alone can have contributed, through the losses and through the direction.
        population: what more samples would bring the value to, where it is nearly a gradient norm.
        sampling: how the value depends on the samples, if that was measured on parts of them.
        sampling_error: the distance to the farther end of the population's interval, or to the cross-fitted value.
        cost: the passes that only the errors needed.
    """

    quadrature: float
    floor: float
    population: Population | None
    sampling: Sampling | None
    sampling_error: float | None
    cost: Cost

    @property
    def uncertainty(self) -> Uncertainty:
        """The errors as a measurement has them."""
        return Uncertainty(self.quadrature, self.floor, self.sampling_error)


def estimate_errors(
    objective: SegmentObjective,
    blocks: Blocks,
    supremum: Supremum,
    integral: Integral,
    noise: GradientNoise,
    options: MeasureOptions,
) -> ErrorEstimates:
    """The errors of F(v)^{1/p}.

    Args:
        objective: F^{1/p}.
        blocks: which rows scale together.
        supremum: where v was found.
        integral: F(v)^{1/p}.
        noise: of the gradients of single batches.
        options: δ, the wanted error, and whether the samples' part may cost passes.
    """
    counter, value = objective.surface.counter, integral.value
    by_direction = direction_rounding(integral.mean, supremum.best.gap, objective.surface, options)
    before = counter.cost
    by_direction += drowned_rounding(objective, value, options.seed)
    population = noise.population(value, integral.batch_slopes) if _nearly_linear(objective, value) else None
    sampling = None
    if options.uncertainty == "full" and not integral.surface.holds_all_data:
        sampling = measured_sampling(integral.surface, objective.theta, blocks, options, value)
    return ErrorEstimates(
        quadrature=integral.mean.error,
        floor=integral.floor + by_direction,
        population=population,
        sampling=sampling,
        sampling_error=_sampling_error(value, population, sampling),
        cost=integral.floor_cost + (counter.cost - before),
    )


def _sampling_error(value: float, population: Population | None, sampling: Sampling | None) -> float | None:
    """How far more samples may lead away from ``value``; None where nothing is known, or the samples are all."""
    if population is not None:
        if population.whole:
            return None
        headline = population.headline
        return max(abs(value - (end or 0.0)) for end in (headline.low, headline.value, headline.high or value))
    return None if sampling is None else abs(value - sampling.cross_fitted)


def _nearly_linear(objective: SegmentObjective, value: float) -> bool:
    return value != 0 and abs(objective.limit / value - 1) <= _NEARLY_LINEAR
