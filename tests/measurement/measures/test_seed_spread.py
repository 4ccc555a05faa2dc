"""The spread over seeds, against Python's own statistics."""

from __future__ import annotations

import math
import statistics

import pytest

from bnsharp_cli.measurement.measures.measurement import Measurement, Status, Uncertainty
from bnsharp_cli.measurement.measures.measurements import Measurements
from bnsharp_cli.measurement.measures.seed_spread import SeedSpread, deviation_of, mean_of, spreads_over_seeds
from bnsharp_cli.measurement.surface.cost import NO_PASSES


def measured(value: float | None, delta: float | None = None, status: Status = Status.SAMPLED) -> Measurement:
    details = {} if delta is None else {"delta": delta}
    error = Uncertainty(sampling=None if value is None else value / 10)
    return Measurement("bn", value, status, error, NO_PASSES, details=details)  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [1.0, 1e-320, 1e-200, 1e200, 1e307])
def test_mean_and_deviation(scale: float) -> None:
    values = [1.0, 4.0, 9.0, 9.5, -3.0]
    assert mean_of([scale * value for value in values]) / scale == pytest.approx(statistics.fmean(values), rel=1e-3)
    found = deviation_of([scale * value for value in values])
    assert found is not None
    assert found / scale == pytest.approx(statistics.stdev(values), rel=1e-3)


def test_zeros_and_single_values() -> None:
    assert (mean_of([0.0, 0.0]), deviation_of([0.0, 0.0])) == (0.0, 0.0)
    assert (mean_of([2.0]), deviation_of([2.0])) == (2.0, None)


@pytest.mark.parametrize("odd", [math.inf, math.nan, None])
def test_what_is_not_finite_has_no_mean(odd: float | None) -> None:
    spread = SeedSpread("bn", (measured(1.0), measured(odd)))
    assert all(math.isnan(each or 0) for each in (spread.mean, spread.deviation, spread.lowest, spread.highest))


def test_measures_are_matched_by_name_and_radius() -> None:
    every = [
        Measurements({"bn": (measured(1.0, 0.1), measured(2.0, 0.2)), "noise": (measured(5.0),)}),
        Measurements({"bn": (measured(3.0, 0.1), measured(8.0, 0.2, Status.ITERATION_LIMIT))}),
    ]
    spreads = spreads_over_seeds(every)
    assert [(one.name, one.delta, one.mean) for one in spreads] == [
        ("bn", 0.1, 2.0),
        ("bn", 0.2, 5.0),
        ("noise", None, 5.0),
    ]
    assert [one.status for one in spreads] == [Status.SAMPLED, Status.ITERATION_LIMIT, Status.SAMPLED]
    assert [one.to_dict()["seeds"] for one in spreads] == [2, 2, 1]
    assert spreads[1].largest_error == ("sampling", 0.8)
    assert spreads[2].deviation is None
