"""Where a monitor's records go: lines of a file, a tracker; what cannot be written or sent ends no run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from bnsharp_cli.errors import UsageError
from bnsharp_cli.integrations.monitor import SharpnessMonitor

BATCHES = [(torch.linspace(-1, 1, 48).reshape(8, 6), torch.arange(8) % 3)]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_record_is_a_line_and_a_run_that_goes_on_appends(tmp_path: Path) -> None:
    path = tmp_path / "sharpness.jsonl"
    first = SharpnessMonitor(BATCHES, every=1, file=path)
    assert not path.exists()
    for step in range(2):
        first(network(), step=step)
    second = SharpnessMonitor(BATCHES, file=str(path))
    second(network(), step=2)
    assert lines(path) == [*first.records, *second.records]
    assert [line["step"] for line in lines(path)] == [0, 1, 2]


def test_what_others_append_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "sharpness.jsonl"
    monitors = [SharpnessMonitor(BATCHES, every=1, file=path) for _ in range(2)]
    for step, monitor in enumerate(monitors * 2):
        monitor(network(), step=step)
    assert [line["step"] for line in lines(path)] == [0, 1, 2, 3]


@pytest.mark.parametrize("content", ["import torch\n", "[1, 2]\n", '{"step": 1', "\n"])
def test_a_file_of_something_else_is_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "train.py"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"Cannot append to .*train\.py: it holds something else.* Name another file"):
        SharpnessMonitor(BATCHES, file=path)
    assert path.read_text() == content


def test_a_link_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text("")
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "own.jsonl")
    for path in (tmp_path / "link.jsonl", tmp_path / "none" / "sharpness.jsonl"):
        with pytest.raises(UsageError) as refused:
            SharpnessMonitor(BATCHES, file=path)
        assert refused.value.argument == "file"


def test_a_file_that_cannot_be_written_later_is_warned_of_once(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    monitor = SharpnessMonitor(BATCHES, every=1, file=folder / "sharpness.jsonl")
    folder.rmdir()
    with pytest.warns(UserWarning, match=r"sharpness\.jsonl was not written: Cannot write") as caught:
        records = [monitor(network()) for _ in range(3)]
    assert len(caught) == 1
    assert all(record["bn"] > 0 for record in records)


class Wandb:
    """A stand-in for Weights & Biases."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
        self.sent: list[tuple[int, dict[str, float]]] = []
        self.begun: list[dict[str, Any]] = []
        self.finished, self._fails = 0, fails
        module = ModuleType("wandb")
        module.init = self._init
        monkeypatch.setitem(sys.modules, "wandb", module)

    def _init(self, **options: Any) -> SimpleNamespace:
        self.begun.append(options)
        return SimpleNamespace(id="w1", log=self._log, finish=self._finish)

    def _log(self, figures: dict[str, float], step: int) -> None:
        if self._fails:
            raise ConnectionError("no route")
        self.sent.append((step, figures))

    def _finish(self) -> None:
        self.finished += 1


def test_a_tracker_gets_the_numbers_under_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = Wandb(monkeypatch, fails=False)
    with SharpnessMonitor(BATCHES, every=1, measures=["bn", "loss"], track="wandb:runs", name="first") as monitor:
        assert tracker.begun == []
        for step in (10, 20):
            monitor(network(), step=step, epoch=1)
    (begun,) = tracker.begun
    assert (begun["project"], begun["name"], begun["config"]["measures"]) == ("runs", "first", "bn,loss")
    assert [step for step, _ in tracker.sent] == [10, 20]
    for record, (_, figures) in zip(monitor.records, tracker.sent, strict=True):
        assert figures["sharpness/bn"] == record["bn"]
        assert figures["sharpness/bn_error"] == record["bn_error"]
        assert figures["sharpness/seconds"] == record["seconds"]
        assert not any(name in figures for name in ("sharpness/step", "sharpness/epoch", "sharpness/bn_status"))
    assert tracker.finished == 1


def test_a_tracker_whose_server_is_gone_is_warned_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    Wandb(monkeypatch, fails=True)
    monitor = SharpnessMonitor(BATCHES, every=1, track="wandb:runs")
    with pytest.warns(UserWarning, match="The tracker got no figures: ConnectionError: no route") as caught:
        records = [monitor(network()) for _ in range(3)]
    assert len(caught) == 1
    assert all(record["bn"] > 0 for record in records)


def test_a_tracker_that_is_not_installed_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    monitor = SharpnessMonitor(BATCHES, track="wandb:runs")
    with pytest.warns(UserWarning, match=r"wandb is not installed\. Install it with `pip install 'bnsharp\[wandb\]'`"):
        assert monitor(network())["bn"] > 0
