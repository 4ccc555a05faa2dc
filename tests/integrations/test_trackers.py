"""Figures sent elsewhere: what each tracker is told, without any of them installed; TensorBoard for real if it is."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from bnsharp_cli.errors import UsageError
from bnsharp_cli.integrations.trackers import open_tracker
from tests.cli.helpers import bnsharp, one_error

OPTIONS = {"--epochs": 3, "--seed": 0}
TRAIN = ("train", "--batch-size", 718, "--output", "run.pt")


class Calls:
    """Notes what is called, with what."""

    def __init__(self) -> None:
        self.made: list[tuple[Any, ...]] = []

    def __call__(self, name: str, answer: object = None) -> Callable[..., Any]:
        def note(*args: Any, **keywords: Any) -> Any:
            self.made.append((name, *args, *keywords.items()))
            return answer

        return note


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Stand-ins for the three libraries."""
    calls = Calls()
    tensorboard, mlflow, wandb = (ModuleType(name) for name in ("torch.utils.tensorboard", "mlflow", "wandb"))
    writer = SimpleNamespace(**{name: calls(name) for name in ("add_scalar", "add_text", "flush", "close")})
    tensorboard.SummaryWriter = calls("SummaryWriter", writer)
    client = SimpleNamespace(
        **{name: calls(name) for name in ("update_run", "log_param", "log_metric", "set_terminated")},
        get_experiment_by_name=calls("get_experiment_by_name"),
        create_experiment=calls("create_experiment", "7"),
        create_run=calls("create_run", SimpleNamespace(info=SimpleNamespace(run_id="m1"))),
    )
    mlflow.MlflowClient = calls("MlflowClient", client)
    mlflow.client = client
    for name in ("MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    wandb.init = calls("init", SimpleNamespace(id="w1", log=calls("log"), finish=calls("finish")))
    for module in (tensorboard, mlflow, wandb):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return calls


def test_tensorboard(calls: Calls) -> None:
    tracker = open_tracker("tensorboard:logs/a:b", "run", OPTIONS)
    tracker.log(1, {"loss": 0.5})
    tracker.close()
    assert tracker.identity == ""
    assert calls.made[0] == ("SummaryWriter", "logs/a:b/run", ("purge_step", 1))
    assert calls.made[1][0] == "add_text"
    assert calls.made[2:] == [("add_scalar", "loss", 0.5, 1), ("flush",), ("close",)]
    calls.made.clear()
    open_tracker("tensorboard:logs", "run", OPTIONS, epoch=4)
    assert calls.made == [("SummaryWriter", "logs/run", ("purge_step", 5))]


def test_mlflow(calls: Calls) -> None:
    tracker = open_tracker("mlflow:http://localhost:5000", "run", OPTIONS)
    tracker.log(2, {"loss": 0.5})
    tracker.close()
    assert tracker.identity == "m1"
    assert calls.made == [
        ("MlflowClient", ("tracking_uri", "http://localhost:5000")),
        ("get_experiment_by_name", "Default"),
        ("create_experiment", "Default"),
        ("create_run", "7", ("run_name", "run")),
        *(("log_param", "m1", key, value) for key, value in OPTIONS.items()),
        ("log_metric", "m1", "loss", 0.5, ("step", 2)),
        ("set_terminated", "m1"),
    ]
    calls.made.clear()
    open_tracker("mlflow:u", "run", OPTIONS, "m1", 2)
    assert calls.made[1:] == [("update_run", "m1", ("status", "RUNNING"))]


def test_mlflow_takes_the_experiment_that_its_environment_names(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "sharp")
    open_tracker("mlflow:u", "run", {})
    assert calls.made[1:] == [
        ("get_experiment_by_name", "sharp"), ("create_experiment", "sharp"), ("create_run", "7", ("run_name", "run")),
    ]  # fmt: skip


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="mlflow is not installed")
def test_mlflow_itself_keeps_its_server_and_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    before = mlflow.get_tracking_uri()
    tracker = open_tracker(f"mlflow:file:{tmp_path}", "run", OPTIONS)
    tracker.log(1, {"loss": 0.5})
    tracker.close()
    again = open_tracker(f"mlflow:file:{tmp_path}", "run", OPTIONS, tracker.identity, 1)
    again.log(2, {"loss": 0.25})
    again.close()
    assert mlflow.get_tracking_uri() == before
    assert mlflow.active_run() is None
    run = mlflow.MlflowClient(f"file:{tmp_path}").get_run(tracker.identity)
    assert (run.info.run_name, run.info.status, run.data.metrics) == ("run", "FINISHED", {"loss": 0.25})


def test_wandb(calls: Calls) -> None:
    tracker = open_tracker("wandb:sharp", "run", OPTIONS)
    tracker.log(2, {"loss": 0.5})
    tracker.close()
    assert tracker.identity == "w1"
    begun = ("init", ("project", "sharp"), ("name", "run"), ("id", None), ("resume", None), ("config", OPTIONS))
    assert calls.made == [begun, ("log", {"loss": 0.5}, ("step", 2)), ("finish",)]
    calls.made.clear()
    open_tracker("wandb:sharp", "run", OPTIONS, "w1", 2)
    assert calls.made[0][3:5] == (("id", "w1"), ("resume", "allow"))


def test_a_run_sends_every_epoch_and_finds_its_tracker_again(tmp_path: Path, calls: Calls) -> None:
    bnsharp(*TRAIN, "--epochs", 2, "--measure-every", 2, "--track", "wandb:sharp", folder=tmp_path)
    sent = [entry for entry in calls.made if entry[0] == "log"]
    lines = [json.loads(line) for line in (tmp_path / "run.metrics.jsonl").read_text().splitlines()]
    assert [entry[2] for entry in sent] == [("step", 1), ("step", 2)]
    for entry, line in zip(sent, lines, strict=True):
        assert entry[1] == {name: value for name, value in line.items() if name != "epoch" and value is not None}
    assert "bn_sharpness" not in sent[0][1]
    assert sent[1][1]["bn_sharpness"] > 0
    bnsharp(*TRAIN, "--epochs", 2, "--track", "wandb:sharp", "--resume", folder=tmp_path)
    assert [entry[3] for entry in calls.made if entry[0] == "init"] == [("id", None), ("id", "w1")]


def test_a_tracker_that_fails_does_not_stop_the_training(tmp_path: Path, calls: Calls) -> None:
    def unplugged(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    sys.modules["mlflow"].client.log_metric = unplugged
    finished = bnsharp(*TRAIN, "--epochs", 1, "--track", "mlflow:u", folder=tmp_path)
    assert "--track: epoch 1 was not sent: ConnectionError: no route" in finished.stderr
    assert (tmp_path / "run.pt").exists()
    sys.modules["mlflow"].client.create_run = unplugged
    again = (*TRAIN, "--epochs", 1, "--track", "mlflow:u", "--overwrite")
    refused = bnsharp(*again, folder=tmp_path, expect=2)
    assert "--track: mlflow does not start: ConnectionError: no route" in refused.stderr


@pytest.mark.parametrize("spec", ["tensorboard", "comet:x", ":", "wandb:"])
def test_a_tracker_that_is_none_exits_2(tmp_path: Path, spec: str) -> None:
    refused = bnsharp(*TRAIN, "--track", spec, folder=tmp_path, expect=2)
    assert "--track: expected tensorboard:DIR, mlflow:URI or wandb:PROJECT" in one_error(refused)


@pytest.mark.parametrize("package", ["tensorboard", "mlflow", "wandb"])
def test_one_that_is_not_installed_is_said(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard" if package == "tensorboard" else package, None)
    with pytest.raises(UsageError, match=rf"{package} is not installed.*pip install 'bnsharp\[{package}\]'") as caught:
        open_tracker(f"{package}:x", "run", {})
    assert (caught.value.argument, caught.value.found) == ("track", package)


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = open_tracker(f"tensorboard:{tmp_path}", "run", OPTIONS)
    for epoch in (1, 2):
        tracker.log(epoch, {"train_loss": 1.0 / epoch})
    tracker.close()
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train_loss")] == [(1, 1.0), (2, 0.5)]
