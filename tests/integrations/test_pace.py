"""When a monitor measures: never more than its share of the time, once the first measurement is paid."""

from __future__ import annotations

import pytest
import torch

from bnsharp_cli.integrations.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def measured(pace: Pace, clock: Clock, step: float, costs: list[float], steps: int) -> list[tuple[float, float]]:
    """When each measurement of a run ended, and the share of the training that all had cost until then."""
    taken, spent, ends = 0, 0.0, []
    for number in range(steps):
        if pace.is_due():
            pace.begin()
            clock.now += costs[taken % len(costs)]
            spent += costs[taken % len(costs)]
            taken += 1
            pace.end()
            trained = number * step
            ends.append((clock.now, spent / trained if trained else float("inf")))
            assert pace.measuring == pytest.approx(spent)
            assert pace.training == pytest.approx(trained)
        clock.now += step
    return ends


@pytest.mark.parametrize("share", [0.02, 0.1, 1.0])
@pytest.mark.parametrize("step", [0.01, 0.3, 30.0])
def test_after_the_first_measurement_the_run_pays_at_most_the_share(share: float, step: float) -> None:
    clock = Clock()
    ends = measured(Pace(None, share, clock), clock, step, [3.0, 0.7], 40_000)
    assert len(ends) > 1
    assert ends[0][0] == 3.0  # the first call measures
    assert all(paid <= share * (1 + 1e-9) for _, paid in ends[1:])


def test_the_share_is_used_and_not_hoarded() -> None:
    clock = Clock()
    ends = measured(Pace(None, 0.02, clock), clock, 0.01, [1.0], 40_000)
    assert ends[-1][1] == pytest.approx(0.02, rel=0.02)
    clock.now += 1e6  # a night without a call pays for one measurement, and not for a thousand
    pace = Pace(None, 0.02, clock)
    assert len(measured(pace, clock, 0.01, [1.0], 5_000)) == 1
    clock.now += 1e6
    assert [pace.is_due() for _ in range(3)] == [True] * 3  # due until it is done
    pace.begin()
    clock.now += 1.0
    pace.end()
    clock.now += 49.0
    assert not pace.is_due()
    clock.now += 1.0
    assert pace.is_due()


def test_a_measurement_that_grows_dearer_is_paid_by_a_longer_wait() -> None:
    clock, generator = Clock(), torch.Generator().manual_seed(0)
    costs = (1 + 20 * torch.rand(50, generator=generator)).tolist()
    ends = measured(Pace(None, 0.02, clock), clock, 1.0, costs, 60_000)
    assert len(ends) > 50
    assert 0.01 < ends[-1][1] <= 0.021


def test_every_counts_calls_whatever_the_time_is() -> None:
    clock = Clock()
    pace = Pace(3, 0.02, clock)
    assert [pace.is_due() for _ in range(7)] == [True, False, False, True, False, False, True]


def test_costs_are_shares_of_the_time_outside_of_measurements() -> None:
    clock = Clock()
    pace = Pace(1, 0.02, clock)
    for trained, took in ((0.0, 2.0), (40.0, 1.0), (60.0, 3.0)):
        clock.now += trained
        assert pace.is_due()
        pace.begin()
        clock.now += took
        pace.end()
    assert pace.costs == {"seconds": 3.0, "training_seconds": 60.0, "share": 3 / 60, "overall_share": 6 / 100}
    assert Pace(1, 0.02, clock).costs["share"] is None
