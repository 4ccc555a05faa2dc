"""The difference of two means on the same samples."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from scipy.stats import t as students_t

from bnsharp_cli.measurement.comparison.paired_difference import MeanPart, paired_difference

HARD = (1.0, 9.0, 2.0, 4.0, 0.5, 7.0, 3.0, 5.0)
ONES = (1,) * 8


def part(figures: tuple[float, ...], **more: object) -> MeanPart:
    return MeanPart(figures, ONES[: len(figures)], **more)  # type: ignore[arg-type]


def test_a_network_and_itself_are_never_told_apart() -> None:
    for share in (True, False):
        found = paired_difference([part(HARD, share=share)], [part(HARD, share=share)])
        assert found.difference == 0
        assert found.larger is None
        assert found.samples_needed is None


def test_hard_samples_of_both_do_not_blur_the_difference() -> None:
    higher = tuple(one + 0.5 for one in HARD)
    found = paired_difference([part(higher)], [part(HARD)])
    assert found.difference == pytest.approx(0.5)
    assert found.larger is True
    assert paired_difference([part(HARD)], [part(higher)]).larger is False
    assert paired_difference([part(higher[::-1])], [part(HARD)]).larger is None


def test_the_interval_of_a_loss_is_students_and_widened() -> None:
    other = (0.0, 8.0, 2.5, 3.0, 0.5, 6.0, 3.0, 4.0)
    apart = [a - b for a, b in zip(HARD, other, strict=True)]
    mean = sum(apart) / 8
    error = math.sqrt(sum((one - mean) ** 2 for one in apart) / 7 / 8)
    found = paired_difference([part(HARD, fraction=0.5)], [part(other, fraction=0.5)])
    assert found.high is not None
    assert found.high - mean == pytest.approx(1.7 * float(students_t.ppf(0.975, 7)) * error * 0.5**0.5)


def test_a_gap_has_the_errors_of_both_parts_and_the_whole_split_none() -> None:
    test, tested = part(HARD), part(HARD[::-1])
    for fraction, more in ((1.0, False), (0.0, True)):
        trained = part((1.0, 2.0), fraction=fraction, sign=-1)
        other = part((2.0, 1.5), fraction=fraction, sign=-1)
        alone, both = paired_difference([test], [tested]), paired_difference([test, trained], [tested, other])
        assert both.difference == pytest.approx(0.25)
        assert alone.high is not None
        assert both.high is not None
        assert (both.high - both.difference > alone.high - alone.difference + 1e-9) is more


def test_shares_that_differ_on_few_samples_are_not_told_apart() -> None:
    right = tuple([1.0] * 300)
    sizes = (1,) * 300
    for wrong, decided in ((1, None), (3, None), (12, True)):
        other = tuple([0.0] * wrong + [1.0] * (300 - wrong))
        found = paired_difference([MeanPart(right, sizes, share=True)], [MeanPart(other, sizes, share=True)])
        assert found.larger is decided, wrong
        if decided is None:
            assert found.samples_needed is not None
            assert found.samples_needed > 300


def test_as_many_samples_as_are_said_to_be_needed_decide() -> None:
    def of(count: int) -> tuple[MeanPart, MeanPart]:
        count -= count % 2
        return MeanPart((1.2, -0.8) * (count // 2), (1,) * count), MeanPart((0.0,) * count, (1,) * count)

    few = paired_difference(*([one] for one in of(100)))
    assert few.larger is None
    assert few.samples_needed is not None
    assert paired_difference(*([one] for one in of(int(1.1 * few.samples_needed)))).larger is True
    assert paired_difference(*([one] for one in of(int(0.9 * few.samples_needed)))).larger is None


def test_a_single_group_and_groups_that_differ_have_no_interval() -> None:
    for own, their in ((part((1.0,)), part((2.0,))), (part(HARD), part(HARD[:4]))):
        found = paired_difference([own], [their])
        assert found.low is found.high is found.larger is found.samples_needed is None


@given(
    some.lists(some.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5),
    some.lists(some.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5),
    some.floats(0, 1),
)
def test_whatever_numbers_there_are_there_is_an_answer(first: list[float], second: list[float], f: float) -> None:
    found = paired_difference(
        *([part(tuple(each), fraction=f), part(tuple(each), share=True)] for each in (first, second))
    )
    if found.low is not None and found.high is not None and math.isfinite(found.high - found.low):
        assert found.low <= found.difference <= found.high


def test_the_interval_of_a_share_holds_the_true_difference() -> None:
    generator = torch.Generator().manual_seed(3)
    held = 0
    for _ in range(2000):
        both = torch.rand(300, generator=generator)
        first, second = (both < 0.95).double(), (both < 0.93).double()
        flips = torch.rand(2, 300, generator=generator) < 0.02
        first, second = ((1 - one) * flip + one * ~flip for one, flip in zip((first, second), flips, strict=True))
        parts = [[MeanPart(tuple(one.tolist()), (1,) * 300, share=True)] for one in (first, second)]
        found = paired_difference(*parts)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.02 * 0.96 <= found.high
    assert held >= 1878  # 95 %, less what chance takes off in one of a hundred such trials
