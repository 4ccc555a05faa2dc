"""Who is told how far long work is, by a clock that the test sets."""

from __future__ import annotations

import builtins
import logging
import re
import sys
from typing import Any

import pytest

from bnsharp_cli import measure
from bnsharp_cli.listeners import LOGGER, Lines, following
from bnsharp_cli.measurement.surface.cost import FORWARD, Cost
from bnsharp_cli.measurement.surface.progress import SILENT_PROGRESS, ToldProgress
from tests.measurement.surface.test_progress import Clock, batches, network


def work(progress: ToldProgress, clock: Clock, passes: int, seconds: float) -> None:
    with progress.stage("searching", Cost(forward=passes)):
        for _ in range(passes):
            clock.now += seconds
            progress.passed(FORWARD)


def said(passes: int, seconds: float) -> list[str]:
    clock, lines = Clock(), []
    work(ToldProgress(Lines(lines.append, clock), clock), clock, passes, seconds)
    return lines


def test_the_cost_of_long_work_is_said_first_then_its_time_then_a_line_every_ten_seconds() -> None:
    first, second, *later = said(passes=200, seconds=1.0)
    assert first == "searching: up to 200 forwards and 0 backwards over the samples"
    assert second == "up to 3:19 to go, by the first pass"
    assert later[0] == "searching, 6 %, up to 3:09 left"  # ten seconds after the line before
    assert len(later) == 19


def test_short_work_is_done_without_a_word() -> None:
    assert said(passes=20, seconds=0.1) == []


def test_many_quick_passes_are_told_without_their_time() -> None:
    assert len(said(passes=200, seconds=0.01)) == 1


def test_nothing_is_followed_unless_somebody_listens() -> None:
    with following(False) as progress:
        assert progress is SILENT_PROGRESS


def test_logging_listens_where_it_takes_lines_of_that_level(caplog: pytest.LogCaptureFixture) -> None:
    measure(network(), batches(), restarts=20, delta=0.1)
    assert caplog.text == ""
    with caplog.at_level(logging.INFO, LOGGER):
        measure(network(), batches(), restarts=20, delta=0.1)
    record = caplog.records[0]
    assert record.name == "bnsharp_cli"
    assert re.fullmatch(r"bn, δ = 0\.1: up to [\d,]+ forwards and [\d,]+ backwards over the samples", record.message)


def test_true_shows_a_bar_of_tqdm(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")
    measure(network(), batches(), restarts=2, delta=0.1, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "finding the scale-invariant blocks: 100%|" in shown.err
    assert "bn, δ = 0.1: 100%|" in shown.err


def test_without_tqdm_the_same_is_told_in_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    imports = builtins.__import__

    def without_tqdm(name: str, *more: Any) -> Any:
        if name.startswith("tqdm"):
            raise ModuleNotFoundError(name)
        return imports(name, *more)

    monkeypatch.setattr(builtins, "__import__", without_tqdm)
    monkeypatch.delitem(sys.modules, "tqdm.auto", raising=False)
    measure(network(), batches(), restarts=20, delta=0.1, progress=True)
    line, *_ = capsys.readouterr().err.splitlines()
    assert line.startswith("bn, δ = 0.1: up to ")


def test_a_bar_is_closed_where_the_work_fails(capsys: pytest.CaptureFixture[str]) -> None:
    tqdm = pytest.importorskip("tqdm")
    with pytest.raises(RuntimeError), following(True) as progress, progress.stage("failing", FORWARD):
        raise RuntimeError
    assert not tqdm.auto.tqdm._instances
    assert "failing:   0%|" in capsys.readouterr().err
