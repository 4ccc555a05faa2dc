"""How far a number is from that of a baseline, with its interval."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bnsharp_cli.measurement.comparison.paired_difference import MeanPart, paired_difference
from bnsharp_cli.measurement.comparison.paired_ratio import paired_ratio
from bnsharp_cli.measurement.decision.change import Quantity, absolute_change, relative_change
from bnsharp_cli.measurement.decision.estimate import SampleCount, estimate_of, share_estimate
from bnsharp_cli.measurement.measures.measurement import Measurement, Status, Uncertainty
from bnsharp_cli.measurement.surface.cost import FORWARD

SOME, ALL = SampleCount(512, 10_000), SampleCount(512, 512)
RTOL = 1e-3


def quantity(by_batch: tuple[float, ...] = (), samples: SampleCount = SOME, **more: Any) -> Quantity:
    known: dict[str, Any] = {"status": Status.CONVERGED, "uncertainty": Uncertainty(), "cost": FORWARD}
    value = more.pop("value", None)
    mean = math.fsum(by_batch) / len(by_batch) if value is None else value
    measurement = Measurement("bn", mean, **{**known, **more}, by_batch=by_batch)
    return Quantity(measurement, estimate_of(measurement, samples, RTOL))


NEW, OLD = quantity((1.1, 2.3, 3.2, 4.6)), quantity((1.0, 2.0, 3.0, 4.0))


def test_a_relative_change_is_the_paired_ratio_less_one() -> None:
    ratio = paired_ratio(NEW.measurement, OLD.measurement, 512, 10_000, RTOL)
    found = relative_change(NEW, OLD, SOME, RTOL)
    assert ratio.low is not None
    assert ratio.high is not None
    assert (found.low, found.high) == pytest.approx((ratio.low - 1, ratio.high - 1))
    assert found.value == pytest.approx(11.2 / 10 - 1)
    assert found.paired


def test_an_absolute_change_has_the_interval_of_the_differences() -> None:
    differences = (0.1, 0.3, 0.2, 0.6)
    reach = 1.7 * stats.t.ppf(0.975, 3) * stats.sem(differences) * math.sqrt(1 - 512 / 10_000)
    found = absolute_change(NEW, OLD, SOME, RTOL)
    assert (found.low, found.high) == pytest.approx((0.3 - reach, 0.3 + reach))


def test_the_estimates_for_the_population_are_in_the_interval() -> None:
    details = {"population": {"value": 1.0, "low": 0.5, "high": 9.0}}
    shifted = absolute_change(quantity((1.1, 2.3, 3.2, 4.6), details=details), OLD, SOME, RTOL)
    plain = absolute_change(NEW, OLD, SOME, RTOL)
    assert shifted.low == pytest.approx(plain.low + (1.0 - 2.5) - (2.8 - 2.5))
    assert shifted.high == plain.high


def test_shared_noise_of_the_batches_cancels() -> None:
    shared = np.random.default_rng(0).uniform(0.1, 10, 8)
    new, old = quantity(tuple(1.2 * shared)), quantity(tuple(shared))
    found = relative_change(new, old, SOME, RTOL)
    assert (found.low, found.high) == pytest.approx((0.2, 0.2), abs=1e-9)
    assert new.estimate.low is not None
    assert old.estimate.high is not None
    assert new.estimate.low < old.estimate.high, "by themselves the two overlap"


def test_without_batches_the_two_intervals_are_put_together() -> None:
    own, their = (Quantity(quantity(value=share).measurement, share_estimate(share, SOME)) for share in (0.9, 0.95))
    found = absolute_change(own, their, SOME, RTOL)
    (l1, u1), (l2, u2) = ((one.estimate.low or 0, one.estimate.high or 0) for one in (own, their))
    assert found.low == pytest.approx(-0.05 - math.hypot(0.9 - l1, u2 - 0.95))
    assert found.high == pytest.approx(-0.05 + math.hypot(u1 - 0.9, 0.95 - l2))
    assert found.paired is False
    relative = relative_change(own, their, SOME, RTOL)
    below = math.hypot(math.log(0.9 / l1), math.log(u2 / 0.95))
    assert relative.low == pytest.approx(0.9 / 0.95 * math.exp(-below) - 1)


def test_accuracies_are_held_against_each_other_group_by_group() -> None:
    figures = {0.9: (0.8, 1.0, 0.9, 0.9), 0.95: (0.9, 1.0, 1.0, 0.9), 0.0: (0.0,) * 4}

    def share(value: float) -> Quantity:
        part = MeanPart(figures[value], (128,) * 4, SOME.fraction, share=True)
        return Quantity(quantity(value=value).measurement, share_estimate(value, SOME), (part,))

    found, expected = (
        absolute_change(share(0.9), share(0.95), SOME, RTOL),
        paired_difference(*(share(value).parts for value in (0.9, 0.95))),
    )
    assert (found.low, found.high, found.paired) == (expected.low, expected.high, True)
    assert expected.low is not None
    relative, old = relative_change(share(0.9), share(0.95), SOME, RTOL), share(0.95).estimate
    assert relative.value == pytest.approx(0.9 / 0.95 - 1)
    assert relative.low == pytest.approx(expected.low / (old.low or 0))
    worst = relative_change(share(0.0), share(0.95), SOME, RTOL)
    assert worst.high is not None
    assert worst.high < -0.8, "no right answer is a change like any other"


@pytest.mark.parametrize("change", [relative_change, absolute_change])
def test_a_search_that_was_climbing_opens_the_end_to_which_it_may_move(change: Any) -> None:
    batches = {"new": (1.1, 2.3, 3.2, 4.6), "old": (1.0, 2.0, 3.0, 4.0)}
    climbing = {name: quantity(each, status=Status.ITERATION_LIMIT) for name, each in batches.items()}
    settled = change(NEW, OLD, SOME, RTOL)
    found = change(climbing["new"], OLD, SOME, RTOL)
    assert (found.low, found.high) == (pytest.approx(settled.low), None)
    found = change(NEW, climbing["old"], SOME, RTOL)
    assert (found.low, found.high) == (None, pytest.approx(settled.high))


def test_all_samples_leave_the_errors_of_the_computation() -> None:
    errors = Uncertainty(quadrature=0.25, rounding=0.125)
    new, old = quantity((), ALL, value=4.0, uncertainty=errors), quantity((), ALL, value=2.0, uncertainty=errors)
    found = absolute_change(new, old, ALL, RTOL)
    assert (found.low, found.high) == (2 - 0.75, 2 + 0.75)
    found = relative_change(new, old, ALL, RTOL)
    assert found.high == pytest.approx(2 * math.exp(0.375 * (1 / 4 + 1 / 2)) - 1)


def test_what_is_not_positive_has_no_ratio() -> None:
    found = relative_change(quantity((-1.0, -2.0)), OLD, SOME, RTOL)
    assert (found.low, found.high, found.sampled) == (None, None, False)
    found = absolute_change(quantity((-1.0, -2.0, 0.0, 0.1)), OLD, SOME, RTOL)
    assert found.high is not None
    assert found.high < 0


def test_numbers_of_a_strangers_document_are_no_failure() -> None:
    huge = quantity((1e308, -1e308, 1e308, -1e308), value=1.0)
    for change in (relative_change, absolute_change):
        found = change(huge, OLD, SOME, RTOL)
        assert found.low is None
