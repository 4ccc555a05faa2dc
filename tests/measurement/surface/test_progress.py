"""How far long work is, by a clock that the test sets and by passes that the surface counts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bnsharp_cli import MeasureOptions, UsageError, find_blocks, measure, rescale_test
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.surface.cost import FORWARD, GRADIENT, NO_PASSES, Cost
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.progress import SILENT_PROGRESS, Standing, ToldProgress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Heard(list[Standing]):
    def __call__(self, standing: Standing) -> None:
        self.append(standing)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))


def batches(count: int = 3) -> list[tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(1)
    return [(torch.randn(16, 4), torch.randint(3, (16,))) for _ in range(count)]


def test_stages_inside_each_other_share_the_whole_by_their_plans() -> None:
    clock, heard = Clock(), Heard()
    progress = ToldProgress(heard, clock)
    with progress.stage("all", Cost(forward=10)):
        with progress.stage("small", Cost(forward=2)):
            clock.now += 1
            progress.passed(FORWARD)
            assert heard[-1].fraction == pytest.approx(0.1)
            assert heard[-1].seconds_left == pytest.approx(9)
            assert str(heard[-1]) == "all: small, 10 %, up to 0:09 left"
        with progress.stage("large", Cost(forward=2, backward=1), items=2):  # a backward pass is worth two
            assert heard[-1].fraction == pytest.approx(0.2)  # although only half of the small stage was needed
            progress.reach(1, "second")
            assert heard[-1].fraction == pytest.approx(0.6)
            assert heard[-1].stages == ("all", "large", "second")
        clock.now += 1
    assert heard[-1].ended
    assert heard[-1].fraction == 1
    assert heard[-1].spent == FORWARD
    assert [one.begins for one in heard].count(True) == 1


def test_an_item_that_takes_more_than_planned_is_never_more_than_done() -> None:
    clock, heard = Clock(), Heard()
    progress = ToldProgress(heard, clock)
    with progress.stage("copies", FORWARD, items=4):
        for _ in range(3):
            clock.now += 1
            progress.passed(GRADIENT)
            assert heard[-1].fraction == 0.25
        progress.reach(2)
        progress.reach(1, "passed over")
        assert heard[-1].fraction == 0.5


def test_a_stage_that_is_found_out_on_the_way_makes_the_whole_longer() -> None:
    heard = Heard()
    progress = ToldProgress(heard, Clock())
    with progress.stage("blocks", Cost(forward=3)):
        progress.passed(Cost(forward=3))
        with progress.stage("joint sets", Cost(forward=9)):
            assert heard[-1].fraction == pytest.approx(0.25)
            with progress.stage("more", Cost(forward=18)):
                assert heard[-1].fraction == pytest.approx(1 / 7)


def test_passes_are_told_now_and_then_and_nothing_outside_a_stage() -> None:
    clock, heard = Clock(), Heard()
    progress = ToldProgress(heard, clock)
    progress.passed(FORWARD)
    progress.reach(0, "nowhere")
    assert not heard
    with progress.stage("long", Cost(forward=1000)):
        for _ in range(1000):
            clock.now += 0.001
            progress.passed(FORWARD)
        assert 5 < len(heard) < 15  # a second of them


def test_a_failure_that_is_caught_leaves_the_stage_around_it_open() -> None:
    heard = Heard()
    progress = ToldProgress(heard, Clock())
    with progress.stage("check", Cost(forward=4)):
        for name in ("float32", "float64"):
            try:
                with progress.stage(name, Cost(forward=2)), progress.stage("inside"):
                    if name == "float32":
                        raise ValueError
            except ValueError:
                pass
            assert heard[-1].stages[:2] == ("check", name)
    assert heard[-1].ended


NEED_A_TRAINED_NETWORK = ("critical-radius", "pac-bayes-sigma")


def trained(data: list[tuple[torch.Tensor, torch.Tensor]]) -> nn.Module:
    """The network after it has learnt the labels."""
    module = network()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    for _ in range(100):
        for inputs, targets in data:
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(inputs), targets).backward()
            optimizer.step()
    return module


@pytest.mark.parametrize("search", ["power", "ascent", "paper", "gradient"])
@pytest.mark.parametrize("restarts", [0, 3])
@pytest.mark.parametrize("name", [*MEASURES])
def test_no_measure_takes_more_passes_than_are_said_first(name: str, restarts: int, search: str) -> None:
    options = MeasureOptions(search=search, restarts=restarts, delta=0.03, uncertainty="full")
    data, settings = batches(4), {"search": search, "restarts": restarts, "delta": 0.03, "uncertainty": "full"}
    subject = trained(data) if name in NEED_A_TRAINED_NETWORK else network()
    found = measure(subject, data, name=name, **settings)
    most, extra = MEASURES[name].most(options), 4  # the rounding of norms' inputs, where that is in question
    assert (found.cost.forward > 0) is (most.forward > 0)  # some see no data
    assert found.cost.forward <= most.forward + extra
    assert found.cost.backward <= most.backward + extra


@pytest.mark.parametrize("search", ["power", "ascent"])
def test_a_search_that_goes_on_with_more_nodes_says_that_it_takes_more(search: str) -> None:
    """At a large radius two nodes are not enough, which the first start shows."""
    heard, options = Heard(), MeasureOptions(search=search, restarts=8, delta=0.9)
    found = measure(network(), batches(4), search=search, restarts=8, delta=0.9, progress=heard)
    own = [one for one in heard if one.stages[0].startswith("bn, ")]
    assert found.cost.forward <= own[-1].planned.forward
    assert found.cost.backward <= own[-1].planned.backward
    assert own[0].planned == MEASURES["bn"].most(options)
    assert own[0].planned.forward < own[-1].planned.forward


def test_the_library_tells_a_function_from_the_first_pass_to_the_end() -> None:
    heard = Heard()
    found = measure(network(), batches(), restarts=4, delta=0.3, progress=heard)
    own = [one for one in heard if one.stages[0].startswith("bn, ")]
    assert {"start 1 of 5", "start 5 of 5"} <= {one.stages[-1] for one in own}
    assert [one.fraction for one in own] == sorted(one.fraction for one in own)
    assert own[0].begins
    assert own[0].spent == NO_PASSES
    assert own[-1].ended
    assert own[-1].spent.forward == pytest.approx(found.cost.forward)
    assert own[-1].spent.backward == pytest.approx(found.cost.backward)
    assert heard[0].stages == ("trying every batch",)
    assert "finding the scale-invariant blocks" in {one.stages[0] for one in heard}


def test_every_function_of_the_library_tells_what_it_does() -> None:
    for call, expected in (
        (lambda told: find_blocks(network(), batches(), partition="extended", progress=told), "finding the scale-"),
        (lambda told: rescale_test(network(), batches(), ball_samples=2, progress=told), "rescaling"),
        (lambda told: measure(network(), batches(), measure="all", progress=told), "measuring"),
    ):
        heard = Heard()
        call(heard)
        own = [one for one in heard if one.stages[0].startswith(expected)]
        assert len(own) > 2
        assert own[-1].ended


def test_the_copies_of_a_rescaling_test_are_told_by_their_names() -> None:
    heard = Heard()
    report = rescale_test(network(), batches(), ball_samples=2, progress=heard)
    labels = [one.stages[1] for one in heard if one.stages[0] == "rescaling" and len(one.stages) > 1]
    assert {copy.name for copy in report.copies} <= {*labels}


def test_following_changes_no_number_and_silence_costs_nothing() -> None:
    plain = measure(network(), batches(), delta=0.1)
    told = measure(network(), batches(), delta=0.1, progress=Heard())
    assert plain.value == told.value
    assert plain.cost == told.cost
    surface = LossSurface.of(network(), batches())
    assert surface.progress is SILENT_PROGRESS
    answers = iter([1, 2])
    assert surface.progress.over(answers, FORWARD) is answers


def test_what_is_no_listener_is_refused() -> None:
    with pytest.raises(UsageError, match="progress: expected True, False or a function, found a str"):
        measure(network(), batches(), progress="bar")
