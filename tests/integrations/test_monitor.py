"""The monitor: a run with it ends with the same bits as one without, and nothing that fails in it ends a run."""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

import bnsharp_cli
from bnsharp_cli.errors import NotMeasurableError, UsageError
from bnsharp_cli.integrations import moment
from bnsharp_cli.integrations.monitor import SharpnessMonitor

DELTA = 1e-2


def network() -> nn.Sequential:
    torch.manual_seed(1)
    layers = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)
    made = nn.Sequential(*layers)
    made[0].bias.requires_grad_(False)
    return made


def examples() -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(torch.randn(96, 6, generator=generator), torch.randint(3, (96,), generator=generator))


def batches() -> list[tuple[Tensor, Tensor]]:
    return [examples()[:48], examples()[48:]]


class Run:
    """A plain loop of three epochs that is called before the first and after each step, and all that it leaves."""

    def __init__(self, monitor: Callable[..., object] | None) -> None:
        self.model = network()
        self.model[4].eval()  # a mode of its own
        optimizer = torch.optim.Adam([p for p in self.model.parameters() if p.requires_grad], 0.05)
        torch.manual_seed(2)
        np.random.seed(2)  # noqa: NPY002 - the generator that training shares
        random.seed(2)
        self.steps, self.kept = 0, [tensor.clone() for tensor in self.model.state_dict().values()]
        for _ in range(3):
            for inputs, targets in DataLoader(examples(), 32, shuffle=True):
                if monitor is not None:
                    monitor(self.model, step=self.steps)
                with torch.autocast("cpu", torch.bfloat16):
                    loss = functional.cross_entropy(self.model(inputs), targets)
                    if monitor is not None:
                        monitor(self.model, step=self.steps)
                loss.backward()
                if monitor is not None:
                    monitor(self.model, step=self.steps)
                self.kept += [p.grad.clone() for p in self.model.parameters() if p.grad is not None]
                optimizer.step()
                optimizer.zero_grad()
                self.steps += 1
        self.kept += [*self.model.state_dict().values()]
        self.kept += [one for state in optimizer.state_dict()["state"].values() for one in state.values()]
        self.drawn = torch.rand(3).tolist(), np.random.rand(), random.random()  # noqa: NPY002
        self.modes = [module.training for module in self.model.modules()]
        self.gradients = [p.grad is not None for p in self.model.parameters()]
        self.free = [p.requires_grad for p in self.model.parameters()]


SOURCES: dict[str, Callable[[], Any]] = {
    "list": batches,
    "loader": lambda: DataLoader(examples(), 32, shuffle=True),
    "generator": lambda: iter(batches()),
}


@pytest.mark.parametrize(
    ("source", "bn", "measures", "every"),
    [("list", "batch", "all", 5), ("loader", "running", ["bn"], 1), ("generator", "batch", ["bn", "loss"], 1)],
)
def test_a_run_ends_with_the_same_bits_with_and_without(source: str, bn: Any, measures: Any, every: int) -> None:
    monitor = SharpnessMonitor(SOURCES[source](), every=every, measures=measures, delta=DELTA, bn=bn)
    without, run = Run(None), Run(monitor)
    assert len(monitor.records) == -(-3 * run.steps // every)
    assert all(record["bn"] > 0 and not record["reasons"] for record in monitor.records)
    assert all(torch.equal(*pair) for pair in zip(without.kept, run.kept, strict=True))
    for name in ("drawn", "modes", "gradients", "free"):
        assert getattr(run, name) == getattr(without, name)


def test_reading_the_batches_leaves_every_generator_as_it_was() -> None:
    own = torch.Generator().manual_seed(3)
    sampler = RandomSampler(examples(), generator=torch.Generator().manual_seed(4))
    before = torch.get_rng_state()
    SharpnessMonitor(DataLoader(examples(), 32, shuffle=True, generator=own))
    SharpnessMonitor(DataLoader(examples(), 32, sampler=sampler))
    assert torch.equal(own.get_state(), torch.Generator().manual_seed(3).get_state())
    assert torch.equal(sampler.generator.get_state(), torch.Generator().manual_seed(4).get_state())
    assert torch.equal(torch.get_rng_state(), before)


def test_a_record_is_what_measure_says_and_plain() -> None:
    model, names = network(), ["bn", "keskar", "loss"]
    monitor = SharpnessMonitor(batches(), measures=names, delta=[DELTA, 0.1], seed=3, search="gradient")
    record = monitor(model, step=np.int64(7), epoch=torch.tensor(1.5))
    expected = bnsharp_cli.measure(model, batches(), measure=names, delta=[DELTA, 0.1], seed=3, search="gradient")
    for one in expected.profile("bn"):
        radius = f"{one.details['delta']:g}"
        assert record[f"bn/{radius}"] == one.value
        assert record[f"bn_error/{radius}"] == one.largest_error[1]
        assert record[f"bn_status/{radius}"] == one.status.value
    assert record["loss"] == expected["loss"].value
    plain = float(np.mean([functional.cross_entropy(without_dropout(model)(x), y).item() for x, y in batches()]))
    assert record["loss"] == pytest.approx(plain, rel=1e-5)
    assert (record["call"], record["step"], record["epoch"]) == (0, 7, 1.5)
    assert record["forwards"] > sum(one.cost.forward for one in expected.profile("bn"))
    assert 0 < record["seconds"] < 60
    assert record["samples"] == 96
    assert json.loads(json.dumps(record)) == record
    assert monitor.records == [record]


def test_a_list_is_read_to_its_end_and_a_loader_for_eight_batches() -> None:
    single = [examples()[number : number + 4] for number in range(0, 48, 4)]
    loader = DataLoader(examples(), 4)
    for source, limit, samples in ((single, None, 48), (loader, None, 32), (loader, 10, 40), (single, 2, 8)):
        assert SharpnessMonitor(source, measures="loss", limit_batches=limit)(network())["samples"] == samples


def without_dropout(model: nn.Sequential) -> nn.Sequential:
    copy = network()
    copy.load_state_dict(model.state_dict())
    copy[3].eval()
    return copy


def test_every_counts_calls_and_the_first_one_measures() -> None:
    monitor = SharpnessMonitor(batches(), every=3)
    answers = [monitor(network(), epoch=epoch) for epoch in range(7)]
    assert [answer is not None for answer in answers] == [True, False, False, True, False, False, True]
    assert [record["epoch"] for record in monitor.records] == [0, 3, 6]


def test_the_search_for_blocks_is_shorter_from_the_second_time_on_and_finds_the_same() -> None:
    monitor, model = SharpnessMonitor(batches(), every=1, delta=DELTA), network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    monitor(model)
    for _ in range(2):
        functional.cross_entropy(model(batches()[0][0]), batches()[0][1]).backward()
        optimizer.step()
        again, fresh = monitor(model), SharpnessMonitor(batches(), delta=DELTA)(model)
        assert again["bn"] == fresh["bn"]
        assert again["forwards"] < fresh["forwards"]
        assert again["backwards"] < fresh["backwards"]


def test_a_network_that_is_rebuilt_between_calls_has_the_blocks_of_the_new_one() -> None:
    monitor, model = SharpnessMonitor(batches(), every=1, delta=DELTA), network()
    values = [monitor(model)["bn"]]
    model[1] = nn.Identity()
    values.append(monitor(model)["bn"])
    model[1] = nn.GroupNorm(4, 8)
    values.append(monitor(model)["bn"])
    model[2] = nn.BatchNorm1d(8)
    values.append(monitor(model)["bn"])
    for value, parts in zip(values, [{}, {1: nn.Identity()}, {1: nn.GroupNorm(4, 8)}], strict=False):
        fresh = network()
        for number, part in parts.items():
            fresh[number] = part
        assert value == bnsharp_cli.measure(fresh, batches(), delta=DELTA).value
    assert values[3] == bnsharp_cli.measure(model, batches(), delta=DELTA).value
    assert len({*values}) == 4


FAILURES = [
    torch.OutOfMemoryError("CUDA out of memory"),
    MemoryError(),
    KeyError("width"),
    RuntimeError("broken"),
    NotMeasurableError("It is flat.", "Wait."),
    UsageError("It is gone.", "Look.", argument="model"),
    RecursionError("too deep"),
    StopIteration(),
    AssertionError(),
    UserWarning("a warning that is an error"),
]


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_whatever_fails_is_warned_of_once_and_recorded(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*args: Any, **options: Any) -> None:
        raise error

    monitor = SharpnessMonitor(batches(), every=1)
    monitor(network())
    monkeypatch.setattr(moment, "find_partitions", failing)
    with pytest.warns(UserWarning, match="Sharpness was not measured") as caught:
        Run(monitor)
    (message,) = [str(one.message) for one in caught]
    memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
    assert ("limit_batches" if memory else (str(error) or type(error).__name__).strip("'")) in message
    assert "Training goes on" in message
    assert caught[0].filename == __file__
    assert monitor.records[0]["reasons"] == {}
    assert all(record["reasons"]["all"] in message for record in monitor.records[1:])
    assert "bn" not in monitor.records[1]
    monkeypatch.undo()
    assert monitor(network())["bn"] > 0


def test_warnings_that_are_errors_end_no_run(caplog: pytest.LogCaptureFixture) -> None:
    monitor = SharpnessMonitor([(torch.zeros(4, 5), torch.zeros(4).long())], every=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            monitor(network())
    assert caplog.text.count("Sharpness was not measured") == 1
    assert len(monitor.records) == 2


def test_an_interruption_passes() -> None:
    def interrupted(outputs: Tensor, targets: Tensor) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SharpnessMonitor(batches(), interrupted)(network())


def regression() -> list[tuple[Tensor, Tensor]]:
    return [(inputs, torch.randn(48, 3)) for inputs, _ in batches()]


def test_a_measure_that_does_not_exist_leaves_the_others_their_values() -> None:
    monitor = SharpnessMonitor(regression(), nn.MSELoss(), every=1, measures=["entropy", "bn", "margin"])
    model = network()
    with pytest.warns(UserWarning, match="was not measured") as caught:
        records = [monitor(model), monitor(model)]
    assert {str(one.message).partition(" ")[0] for one in caught} == {"entropy", "margin"}
    assert len(caught) == 2
    for record in records:
        assert record["bn"] > 0
        assert {*record["reasons"]} == {"entropy", "margin"}
        assert "cross entropy" in record["reasons"]["entropy"]


def test_all_leaves_out_what_does_not_exist_without_a_word() -> None:
    record = SharpnessMonitor(regression(), nn.MSELoss(), measures="all")(network())
    assert record["reasons"] == {}
    assert "noise" in record
    assert "entropy" not in record


def test_a_network_that_has_diverged_has_a_record_that_any_reader_of_json_takes() -> None:
    model, monitor = network(), SharpnessMonitor(batches())
    with torch.no_grad():
        model[4].weight.fill_(float("nan"))
    with pytest.warns(UserWarning, match="bn was not measured"):
        record = monitor(model)
    assert record["loss"] is None
    assert {*record["reasons"]} == {"bn"}
    assert json.loads(json.dumps(record, allow_nan=False)) == record


@pytest.mark.parametrize("model", [None, 3, nn.Sequential(), "resnet18"])
def test_what_is_no_network_is_warned_of(model: Any) -> None:
    monitor = SharpnessMonitor(batches())
    with pytest.warns(UserWarning, match="Sharpness was not measured: model: "):
        record = monitor(model)
    assert record["reasons"]


def test_a_lazy_network_is_measured_once_it_has_weights() -> None:
    model, monitor = nn.Sequential(nn.LazyLinear(3)), SharpnessMonitor(batches())
    assert monitor(model) is None
    model(examples()[:2][0])
    assert monitor(model)["bn"] > 0


def test_another_default_device_makes_no_difference() -> None:
    model, monitor = network(), SharpnessMonitor(batches(), every=1)
    value = monitor(model)["bn"]
    with torch.device("meta"):
        assert monitor(model)["bn"] == value
        assert torch.get_default_device().type == "meta"
