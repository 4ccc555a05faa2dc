"""What several seeds say of two networks, against counts and means by hand."""

from __future__ import annotations

import math
import statistics

import pytest

from bnsharp_cli.measurement.comparison.comparison import NetworkComparison
from bnsharp_cli.measurement.comparison.paired_difference import PairedDifference
from bnsharp_cli.measurement.comparison.paired_ratio import PairedRatio
from bnsharp_cli.measurement.comparison.seed_comparison import SeedComparison, compared_over_seeds

NETWORKS = ("A", "B")


def by_ratio(ratio: float | None, low: float, high: float, measure: str = "noise") -> NetworkComparison:
    return NetworkComparison(measure, None, NETWORKS, (2.0 * (ratio or 1), 2.0), PairedRatio(ratio, low, high))


def by_difference(difference: float, low: float, high: float) -> NetworkComparison:
    by = PairedDifference(difference, low, high)
    return NetworkComparison("gap", None, NETWORKS, (difference, 0.0), by, large_is_sharp=None)


def test_all_seeds_agree() -> None:
    found = SeedComparison.of([by_ratio(2.0, 1.5, 3.0), by_ratio(8.0, 2.0, 9.0)])
    assert found.verdict == "sharper"
    assert found.sentence == "A is sharper with 2 of 2 seeds; A/B 4 (2 … 8)"
    record = found.to_dict()
    assert (record["ratio"], record["lowest"], record["highest"]) == (pytest.approx(4), 2, 8)
    assert record["deviation"] == pytest.approx(statistics.stdev([math.log(2), math.log(8)]))
    assert record["values"] == [10.0, 2.0]
    assert record["verdicts"] == {"sharper": 2}


def test_swapped_networks_have_the_inverse_ratio() -> None:
    pairs = [(2.0, 1.5, 3.0), (5.0, 2.0, 9.0), (1.1, 0.9, 1.2)]
    forth = SeedComparison.of([by_ratio(*pair) for pair in pairs])
    back = SeedComparison.of([by_ratio(1 / ratio, 1 / high, 1 / low) for ratio, low, high in pairs])
    assert forth.ratio is not None
    assert back.ratio == pytest.approx(1 / forth.ratio)
    assert back.to_dict()["deviation"] == pytest.approx(forth.to_dict()["deviation"])


def test_seeds_that_disagree_decide_nothing() -> None:
    found = SeedComparison.of([by_ratio(2.0, 1.5, 3.0), by_ratio(0.5, 0.4, 0.6), by_ratio(0.5, 0.4, 0.6)])
    assert found.verdict == "undecided"
    assert found.sentence.startswith("B is sharper with 2, A is sharper with 1 of 3 seeds; A/B 0.794 (0.5 … 2)")
    mixed = SeedComparison.of([by_ratio(2.0, 1.5, 3.0), by_ratio(1.2, 0.9, 1.6)])
    assert mixed.verdict == "undecided", "a mean over seeds is no interval"
    assert mixed.sentence.startswith("A is sharper with 1, undecided with 1 of 2 seeds")
    none = SeedComparison.of([by_ratio(1.1, 0.9, 1.3), by_ratio(1.2, 0.9, 1.6)])
    assert none.sentence.startswith("~ cannot be told apart with any of 2 seeds")


def test_differences() -> None:
    found = SeedComparison.of([by_difference(0.1, 0.05, 0.2), by_difference(0.3, 0.2, 0.4)])
    assert found.verdict == "larger"
    assert found.sentence == "A is larger with 2 of 2 seeds; A − B 0.2 (0.1 … 0.3)"
    assert found.to_dict()["deviation"] == pytest.approx(statistics.stdev([0.1, 0.3]))


def test_ratios_that_are_not_known_are_left_out() -> None:
    unknown = NetworkComparison("noise", None, NETWORKS, (-1.0, 2.0), PairedRatio(None))
    found = SeedComparison.of([unknown, by_ratio(2.0, 1.5, 3.0)])
    assert (found.ratio, found.to_dict()["deviation"]) == (pytest.approx(2), None)
    assert found.sentence == "A is sharper with 1, undecided with 1 of 2 seeds; A/B 2 (2 … 2)"
    nothing = SeedComparison.of([unknown, unknown])
    assert (nothing.ratio, nothing.sentence) == (None, "~ cannot be told apart with any of 2 seeds")


def test_differences_that_are_not_finite() -> None:
    odd = NetworkComparison("gap", None, NETWORKS, (math.inf, 1.0), PairedDifference(math.inf), large_is_sharp=None)
    found = SeedComparison.of([odd, odd])
    assert found.sentence == "~ cannot be told apart with any of 2 seeds"
    assert found.to_dict()["lowest"] is None


def test_only_what_all_seeds_have_is_compared() -> None:
    every = [[by_ratio(2.0, 1.5, 3.0), by_ratio(2.0, 1.5, 3.0, "margin")], [by_ratio(3.0, 1.5, 4.0)]]
    assert [one.measure for one in compared_over_seeds(every)] == ["noise"]
