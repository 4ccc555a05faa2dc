"""A measurement that is read off what the network answers to the samples: one forward pass, which several share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import NotMeasurableError, UnfitMeasureError, named
from bnsharp_cli.measurement.measures.measurement import Measurement, Status, Uncertainty
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.output_figures import (
    Figure,
    OutputFigures,
    figure_rounding,
    output_figures,
    rounded_figures,
)
from bnsharp_cli.measurement.surface.loss_surface import LossSurface


@dataclass(frozen=True)
class Reading:
    """A value that was read off, with its errors.

    Attributes:
        value: the number.
        rounding: its error by the arithmetic.
        sampling: its standard error; None where it is not known.
        details: further plain entries.
        by_batch: numbers of the batches whose mean is the value; empty where it is no such mean.
    """

    value: float
    rounding: float
    sampling: float | None
    details: Mapping[str, Any] = field(default_factory=dict)
    by_batch: tuple[float, ...] = ()

    @classmethod
    def of(cls, figure: Figure, others: Sequence[Figure], details: Mapping[str, Any] | None = None) -> Reading:
        """A mean over examples.

        Args:
            figure: at the point.
            others: where every parameter was moved by its last bit.
            details: further plain entries.
        """
        return cls(figure.value, figure_rounding(figure, others), figure.error, details or {}, figure.batches)


def read_off(
    name: str,
    surface: LossSurface,
    point: Point,
    options: MeasureOptions,
    require: Callable[[OutputFigures], None],
    read: Callable[[OutputFigures, Sequence[OutputFigures]], Reading],
) -> Measurement:
    """A measurement of the network's answers.

    Args:
        name: of the measure.
        surface: L.
        point: θ.
        options: the seed.
        require: refuses answers of which it does not exist.
        read: makes a value of the answers, and of those where every parameter was moved by its last bit.

    Raises:
        UnfitMeasureError: ``require`` does.
        NotMeasurableError: the loss or the value is not finite.
    """
    before = surface.counter.cost
    figures = output_figures(surface, point)
    _require_finite(figures.loss.value)
    require(figures)
    known = surface.counter.cost
    reading = read(figures, rounded_figures(surface, point, options.seed))
    _require_finite(reading.value)
    return Measurement(
        name=name,
        value=reading.value,
        status=Status.COMPUTED,
        uncertainty=Uncertainty(
            rounding=reading.rounding, sampling=None if surface.holds_all_data else reading.sampling
        ),
        cost=surface.counter.cost - before,
        uncertainty_cost=surface.counter.cost - known,
        details=reading.details,
        by_batch=reading.by_batch,
    )


def require_cross_entropy(figures: OutputFigures) -> None:
    """Refuse a loss that is not the cross entropy of the outputs.

    Raises:
        UnfitMeasureError: it is another function of them.
    """
    if not figures.cross_entropy:
        raise UnfitMeasureError(
            "The loss is not the cross entropy of one tensor of outputs, as its values show.",
            "Leave it out, or measure with cross entropy.",
            argument="criterion",
            expected="the cross entropy of the outputs",
        )


def _require_finite(value: float) -> None:
    if not math.isfinite(value):
        raise NotMeasurableError(
            "The loss or what is computed from the outputs is not finite.",
            f"Check the data, or use {named('precision')} float64.",
            argument="batches",
            expected="finite outputs",
            found=value,
        )
