"""The ratio of two measurements on the same batches."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from bnsharp_cli.measurement.comparison.paired_ratio import paired_ratio
from bnsharp_cli.measurement.measures.measurement import Measurement, Status, Uncertainty
from bnsharp_cli.measurement.surface.cost import Cost


def of(numbers: list[float], rounding: float = 0.0, population: float | None = None) -> Measurement:
    details = {} if population is None else {"population": {"value": population}}
    value = sum(numbers) / len(numbers)
    errors = Uncertainty(rounding=rounding)
    return Measurement("bn", value, Status.CONVERGED, errors, Cost(), details=details, by_batch=tuple(numbers))


HARD = [1.0, 9.0, 2.0, 4.0, 0.5, 7.0, 3.0, 5.0]


def test_two_copies_of_one_network_are_never_told_apart() -> None:
    first, second = of(HARD, rounding=1e-6), of([(1 + 3e-7) * one for one in HARD], rounding=1e-6)
    for samples, available in ((256, 4096), (256, 256), (256, None)):
        found = paired_ratio(first, second, samples, available)
        assert found.larger is None
        assert found.samples_needed is None
        assert found.low is not None
        assert found.high is not None
        assert found.low < 1 < found.high < 1 + 1e-5


def test_what_is_twice_as_sharp_on_every_batch_is_told_apart_however_much_batches_differ() -> None:
    doubled = of([2 * one for one in HARD])
    found = paired_ratio(doubled, of(HARD), 256, 4096)
    assert found.ratio == pytest.approx(2)
    assert found.larger is True
    assert (found.low, found.high) == pytest.approx((2, 2))
    assert paired_ratio(of(HARD), doubled, 256, 4096).larger is False
    unpaired = paired_ratio(of([2 * one for one in HARD[::-1]]), of(HARD), 256, 4096)
    assert unpaired.larger is None


def test_the_interval_holds_both_estimates_and_the_roles_are_alike() -> None:
    first, second = of(HARD, population=2.0), of([one + 1 for one in HARD], population=4.5)
    found, other = paired_ratio(first, second, 256, 4096), paired_ratio(second, first, 256, 4096)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 2 / 4.5 < first.value / second.value < found.high
    assert found.ratio == pytest.approx(2 / 4.5)
    assert (other.low, other.high) == pytest.approx((1 / found.high, 1 / found.low))


def test_the_whole_split_leaves_only_the_errors_of_the_computation() -> None:
    found = paired_ratio(of(HARD, rounding=0.001), of([one + 1 for one in HARD]), 256, 256)
    ratio = np.mean(HARD) / (np.mean(HARD) + 1)
    assert found.larger is False
    assert found.low == pytest.approx(ratio * math.exp(-0.001 / np.mean(HARD)))


def test_where_nothing_is_known_of_the_samples_nothing_is_decided() -> None:
    alone = replace(of(HARD), by_batch=())
    assert paired_ratio(alone, of([9 * one for one in HARD]), 256, 4096).larger is None
    assert paired_ratio(alone, of([9 * one for one in HARD]), 256, 4096).low is None
    below = replace(of(HARD), status=Status.BELOW_RESOLUTION)
    assert paired_ratio(below, of(HARD), 256, 4096).ratio is None
    assert paired_ratio(of([-1.0, 0.5]), of([1.0, 2.0]), 256, 4096).ratio is None


def test_so_many_samples_as_are_said_to_be_needed_tell_two_networks_apart() -> None:
    generator = np.random.default_rng(0)
    hard = generator.lognormal(size=4096)
    first, second = 1.3 * hard * generator.lognormal(0, 0.5, 4096), hard * generator.lognormal(0, 0.5, 4096)
    few = paired_ratio(of([*first[:16]]), of([*second[:16]]), 16 * 32, None)
    assert few.larger is None
    assert few.samples_needed is not None
    enough = few.samples_needed // 32
    decided = [
        paired_ratio(of([*first[i : i + enough]]), of([*second[i : i + enough]]), 32 * enough, None).larger
        for i in range(0, 4096 - enough, enough)
    ]
    assert decided.count(True) >= len(decided) / 2
    assert False not in decided


@given(some.lists(some.floats(0.1, 10), min_size=2, max_size=6), some.floats(1.01, 3))
def test_more_samples_are_needed_than_there_are(numbers: list[float], times: float) -> None:
    """Of two batches a ratio is hardly known, though few more would do: Student's factor falls from 12.7 to 4.3."""
    other = [times * one + 0.3 * number for number, one in enumerate(numbers)]
    for available in (None, 4096):
        found = paired_ratio(of(numbers), of(other), 64 * len(numbers), available)
        assert found.samples_needed is None or found.samples_needed > 64 * len(numbers)
        assert available is None or found.samples_needed is None or found.samples_needed <= available


def test_a_search_that_was_still_climbing_decides_nothing() -> None:
    climbing = replace(of([9 * one for one in HARD]), status=Status.ITERATION_LIMIT)
    for available in (256, 4096):
        found = paired_ratio(climbing, of(HARD), 256, available)
        assert found.larger is None
        assert found.climbing
        assert found.ratio == pytest.approx(9)


def test_what_a_search_within_its_tolerance_leaves_is_in_the_interval() -> None:
    near = [replace(of([factor * one for one in HARD]), status=Status.WITHIN_TOLERANCE) for factor in (1.001, 1.0)]
    assert paired_ratio(*near, 256, 256).larger is None
    assert paired_ratio(*near, 256, 256, rtol=1e-5).larger is True


NUMBERS = some.floats(allow_nan=False, allow_infinity=False)


@given(
    some.lists(some.tuples(NUMBERS, NUMBERS), min_size=2, max_size=6),
    some.tuples(NUMBERS, NUMBERS),
    some.tuples(NUMBERS, NUMBERS),
    some.sampled_from([*Status]),
    some.sampled_from([(64, 4096), (64, 64), (64, None)]),
)
def test_whatever_numbers_a_stranger_writes_give_an_answer(
    batches: list[tuple[float, float]],
    values: tuple[float, float],
    errors: tuple[float, float],
    status: Status,
    samples: tuple[int, int | None],
) -> None:
    made = [
        Measurement(
            "bn",
            value,
            status,
            Uncertainty(rounding=error),
            Cost(),
            details={"population": {"value": value / 2}},
            by_batch=tuple(each),
        )
        for value, error, each in zip(values, errors, zip(*batches, strict=True), strict=True)
    ]
    found = paired_ratio(*made, *samples)
    if found.low is not None:
        assert found.high is not None
        assert found.ratio is not None
        assert 0 < found.low <= found.high < math.inf
    assert found.samples_needed is None or 0 < found.samples_needed < 1e13
