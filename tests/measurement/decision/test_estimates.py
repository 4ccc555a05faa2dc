"""What a measurement says of all the data, and whether that keeps a limit."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from scipy import stats

from bnsharp_cli.measurement.decision.estimate import IntervalEstimate, SampleCount, estimate_of, share_estimate
from bnsharp_cli.measurement.decision.outcome import Limit, Outcome
from bnsharp_cli.measurement.decision.sentences import percent, samples_needed, sentence_of
from bnsharp_cli.measurement.measures.measurement import Measurement, Status, Uncertainty
from bnsharp_cli.measurement.surface.cost import FORWARD, NO_PASSES

SOME = SampleCount(256, 10_000)
ALL = SampleCount(256, 256)


def measured(value: float = 4.0, **more: Any) -> Measurement:
    known = {"name": "bn", "status": Status.CONVERGED, "uncertainty": Uncertainty(), "cost": FORWARD}
    return Measurement(value=value, **{**known, **more})


@pytest.mark.parametrize(
    ("low", "high", "upper", "outcome"),
    [
        (3.0, 4.0, True, "pass"),
        (3.0, 4.5, True, "pass"),
        (4.0, 5.0, True, "inconclusive"),
        (4.6, 5.0, True, "fail"),
        (4.6, None, True, "fail"),
        (4.0, None, True, "inconclusive"),
        (None, 4.0, True, "pass"),
        (None, None, True, "inconclusive"),
        (5.0, 6.0, False, "pass"),
        (4.5, None, False, "pass"),
        (4.0, 5.0, False, "inconclusive"),
        (3.0, 4.4, False, "fail"),
        (None, 4.4, False, "fail"),
        (None, 5.0, False, "inconclusive"),
    ],
)
def test_an_interval_decides_only_where_all_of_it_does(
    low: float | None, high: float | None, upper: bool, outcome: str
) -> None:
    assert Limit(4.5, upper).outcome(IntervalEstimate(4.4, low, high)) is Outcome(outcome)


def test_all_samples_leave_the_error_of_the_computation() -> None:
    errors = Uncertainty(quadrature=0.25, rounding=0.125, sampling=99.0)
    found = estimate_of(measured(uncertainty=errors), ALL)
    assert (found.low, found.high, found.whole) == (3.625, 4.375, True)


def test_a_search_that_was_climbing_can_fail_an_upper_limit_and_never_pass_it() -> None:
    for status in (Status.ITERATION_LIMIT, Status.AS_PRESCRIBED):
        found = estimate_of(measured(status=status), ALL)
        assert (found.low, found.high) == (4.0, None)
        assert Limit(3.0).outcome(found) is Outcome.FAIL
        assert Limit(1e9).outcome(found) is Outcome.INCONCLUSIVE
        assert Limit(3.0, upper=False).outcome(found) is Outcome.PASS


def test_a_search_within_its_tolerance_may_gain_that_much() -> None:
    found = estimate_of(measured(status=Status.WITHIN_TOLERANCE), ALL, rtol=0.01)
    assert (found.low, found.high) == (4.0, pytest.approx(4.04))


def test_the_population_of_a_measure_counts_before_its_batches() -> None:
    population = {"value": 3.0, "low": 2.0, "high": 5.0}
    found = estimate_of(measured(details={"population": population}, by_batch=(3.9, 4.1)), SOME)
    assert (found.low, found.high) == (2.0, 5.0)
    unknown = measured(details={"population": {"value": 3.0, "low": None, "high": None}}, by_batch=(3.9, 4.1))
    assert estimate_of(unknown, SOME) == estimate_of(measured(by_batch=(3.9, 4.1)), SOME)


def test_batches_give_the_interval_of_student() -> None:
    values = (1.0, -2.0, 3.0, 4.0, 1.5, -0.5)
    mean = math.fsum(values) / 6
    interval = stats.t.interval(0.95, 5, loc=mean, scale=stats.sem(values) * math.sqrt(1 - 256 / 10_000))
    found = estimate_of(measured(mean, by_batch=values), SOME)
    assert found.high == pytest.approx(mean + 1.7 * (interval[1] - mean))
    assert found.low == pytest.approx(mean - 1.7 * (mean - interval[0]))
    positive = tuple(value + 3 for value in values)
    found = estimate_of(measured(mean + 3, by_batch=positive), SOME)
    reach = 1.7 * (interval[1] - mean) / (mean + 3)
    assert found.high == pytest.approx((mean + 3) * math.exp(reach))
    assert found.low == pytest.approx((mean + 3) * math.exp(-reach))


def test_what_is_not_known_of_other_samples_leaves_both_ends_open() -> None:
    for measurement in (measured(), measured(by_batch=(4.0,)), measured(by_batch=(1e308, 1e308, -1e308))):
        found = estimate_of(measurement, SOME)
        assert (found.low, found.high, found.sampled) == (None, None, False)
    bracketed = measured(status=Status.BRACKETED, uncertainty=Uncertainty(sampling=0.1, bracket=0.1))
    assert estimate_of(bracketed, SOME).low is None, "draws say nothing of samples"


def test_what_asks_no_samples_is_known() -> None:
    found = estimate_of(measured(cost=NO_PASSES), SOME)
    assert (found.low, found.high) == (4.0, 4.0)


def test_random_draws_widen_by_student_of_their_number() -> None:
    drawn = measured(status=Status.SAMPLED, uncertainty=Uncertainty(sampling=0.1), details={"draws": 8})
    found = estimate_of(drawn, ALL)
    assert found.high == pytest.approx(4 + 0.1 * stats.t.ppf(0.975, 7))


def test_a_share_has_the_interval_of_wilson() -> None:
    for share in (0.0, 0.5, 0.97, 1.0):
        exact = stats.binomtest(round(share * 100), 100).proportion_ci(0.95, method="wilson")
        found = share_estimate(share, SampleCount(100))
        assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-12)
    half = share_estimate(0.5, SampleCount(100, 200))
    exact = stats.binomtest(100, 200).proportion_ci(0.95, method="wilson")
    assert (half.low, half.high) == pytest.approx((exact.low, exact.high))
    assert share_estimate(0.5, ALL) == IntervalEstimate(0.5, 0.5, 0.5, whole=True)


def test_the_number_of_samples_that_decides_brings_the_end_to_the_limit() -> None:
    limit, before = Limit(4.5), IntervalEstimate(4.0, 3.0, 5.0)
    needed = samples_needed(before, limit, SOME)
    assert needed is not None

    def reach(samples: float) -> float:
        return math.sqrt(1 / samples - 1 / 10_000)

    assert reach(needed) / reach(256) == pytest.approx(0.5, rel=1e-2)
    assert samples_needed(IntervalEstimate(4.5, 4.0, 5.0), limit, SampleCount(256)) is None
    ratio = IntervalEstimate(0.1, 1 / 1.5 - 1, 0.5, logarithmic=True, paired=True)
    assert samples_needed(ratio, Limit(math.sqrt(1.5) - 1), SampleCount(100)) == pytest.approx(400, abs=1)


SENTENCES = [
    (measured(by_batch=(4.0, 4.0)), SOME, "4, at most 4.5 allowed"),
    (
        measured(details={"population": {"low": 3.0, "high": 4.4}}),
        SOME,
        "4 on these samples, 3 … 4.4 on the whole split, at most 4.5 allowed",
    ),
    (measured(), ALL, "4, at most 4.5 allowed"),
    (
        measured(),
        SOME,
        "4 on these samples, unknown on the whole split, at most 4.5 allowed: what other samples would change is not "
        "known: samples all would decide",
    ),
    (
        measured(status=Status.ITERATION_LIMIT),
        ALL,
        "4 (4 or more), at most 4.5 allowed: a lower bound, since its search was still climbing: more iterations or "
        "restarts may decide",
    ),
    (
        measured(status=Status.AS_PRESCRIBED),
        ALL,
        "4 (4 or more), at most 4.5 allowed: a lower bound, since its direction is prescribed: search power may decide",
    ),
    (
        measured(status=Status.BELOW_RESOLUTION, uncertainty=Uncertainty(rounding=2.0)),
        ALL,
        "4 (2 … 6), at most 4.5 allowed: its error is too large: precision float64 or a larger delta may decide",
    ),
    (
        measured(name="noise", status=Status.SAMPLED, uncertainty=Uncertainty(sampling=1.0), by_batch=(4.0, 4.0)),
        SampleCount(256),
        "4 on these samples, 2.04 … 5.96 on fresh data, at most 4.5 allowed: other random draws would change it: a "
        "larger noise_draws may decide",
    ),
]


@pytest.mark.parametrize(("measurement", "samples", "sentence"), SENTENCES, ids=lambda case: str(case)[:20])
def test_a_sentence_says_what_would_decide(measurement: Measurement, samples: SampleCount, sentence: str) -> None:
    from bnsharp_cli.errors import spelt

    said = sentence_of(estimate_of(measurement, samples), Limit(4.5), samples, measurement.name)
    assert spelt(said) == sentence


def test_a_sentence_says_how_many_samples_would_decide() -> None:
    found = estimate_of(measured(details={"population": {"low": 3.0, "high": 5.0}}), SOME)
    assert sentence_of(found, Limit(4.5), SOME, "bn").endswith("about 710 samples would decide")
    near = replace(found, low=4.05)
    assert "all would decide" in sentence_of(near, Limit(4.5), SOME, "bn")
    assert sentence_of(share_estimate(0.9, ALL), Limit(0.8, upper=False), ALL, "accuracy", percent) == (
        "90.00%, at least 80.00% allowed"
    )
