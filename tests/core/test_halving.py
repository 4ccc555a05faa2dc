"""The search for a crossing: what it finds, what it cannot see, and how many values it takes."""

from __future__ import annotations

import math

import pytest

from bnsharp_cli.core.halving import HalvingSearch, last_crossing

SEARCH = HalvingSearch(start=0.25, doublings=4, halvings=10, bisections=6)


@pytest.mark.parametrize("root", [3e-4, 0.01, 0.2, 0.25, 0.3, 1.0, math.pi, 3.999])
def test_a_crossing_lies_in_its_interval_and_within_reach_of_the_middle(root: float) -> None:
    found = SEARCH.crossing(lambda t: t**3 - root**3)
    assert found is not None
    assert found.low <= root < found.high
    assert abs(found.middle - root) <= found.reach <= root * 2**-6
    assert found.step[0] <= found.low < found.high <= found.step[1] == 2 * found.step[0]
    assert found.values[found.low] <= 0 < found.values[found.high]
    assert len(found.values) <= SEARCH.most


def test_what_never_rises_has_no_crossing_and_what_rises_at_once_has_one_at_zero() -> None:
    tried: list[float] = []
    assert SEARCH.crossing(lambda t: tried.append(t) or -1.0) is None
    assert tried == [0.25, 0.5, 1.0, 2.0, 4.0]
    assert SEARCH.largest == 4.0
    found = SEARCH.crossing(lambda t: t)
    assert found is not None
    assert (found.low, found.high) == (0.0, 0.25 * 2**-10)
    assert len(found.values) == 11


def test_the_first_of_several_crossings_is_seen_only_between_powers_of_two() -> None:
    def hump(t: float) -> float:
        return -1.0 if t < 0.3 or 0.4 < t < 0.9 else 1.0

    found = SEARCH.crossing(hump)
    assert found is not None
    assert found.low <= 0.9 < found.high  # the hump lies between 0.25 and 0.5
    wide = SEARCH.crossing(lambda t: -1.0 if t < 0.3 or 0.6 < t < 0.9 else 1.0)
    assert wide is not None
    assert wide.low <= 0.3 < wide.high


def test_the_last_crossing_of_straight_lines() -> None:
    assert last_crossing({0.0: -1.0, 1.0: 1.0, 2.0: -3.0, 4.0: 1.0}) == pytest.approx(3.5)
    assert last_crossing({0.0: -1.0, 1.0: -0.5}) == 1.0
    assert last_crossing({1.0: 0.0, 0.0: -1.0, 2.0: 1.0}) == 1.0
