"""What a training run says while it works, by a clock that the test sets."""

from __future__ import annotations

from contextlib import suppress

import pytest

from bnsharp_cli.cli.reporter import TerminalReporter
from bnsharp_cli.errors import named
from bnsharp_cli.measurement.surface.cost import FORWARD, Cost
from bnsharp_cli.measurement.surface.progress import SILENT_PROGRESS, duration
from bnsharp_cli.workflows.reporter import SILENT

FIGURES = {"loss": 0.51234, "accuracy": 0.9125, "bn": None}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def watched(clock: Clock, epochs: int = 3, steps: int = 10, seconds: float = 20.0, quiet: bool = False) -> None:
    """Two epochs of a run, every step of which takes so many seconds."""
    display = TerminalReporter(quiet, clock)
    display.begin(0, epochs, steps, 2, 32)
    for _ in range(2):
        for step in range(steps):
            clock.now += seconds
            display.step(step + 1, 0.5)
        display.epoch(FIGURES)


def test_the_cost_is_said_first_and_the_time_after_the_first_steps(capsys: pytest.CaptureFixture[str]) -> None:
    watched(Clock())
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "bnsharp: 60 gradients of 32 samples (3 epochs of 10 steps)"
    assert "bnsharp: about 8:20 to go, by the first 5 steps" in lines  # 25 steps of 20 s


def test_a_log_gets_a_line_at_most_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    watched(Clock(), seconds=2.5)
    assert capsys.readouterr().err.splitlines()[1:] == [
        "bnsharp: epoch 1/3  step 4/10  loss 0.5  1:05 left",
        "bnsharp: about 1:02 to go, by the first 5 steps",
        "bnsharp: epoch 1/3  step 9/10  loss 0.5  0:52 left",
        "epoch 1/3  loss 0.5123  accuracy 91.25%  0:50 left",
        "bnsharp: epoch 2/3  step 4/10  loss 0.5  0:40 left",
        "bnsharp: epoch 2/3  step 8/10  loss 0.5  0:30 left",
        "epoch 2/3  loss 0.5123  accuracy 91.25%  0:25 left",
    ]


def test_a_short_run_and_a_quiet_one_say_less(capsys: pytest.CaptureFixture[str]) -> None:
    watched(Clock(), seconds=0.1)
    assert len(capsys.readouterr().err.splitlines()) == 1
    watched(Clock(), quiet=True)
    assert capsys.readouterr().err == ""


def test_a_terminal_sees_every_epoch_and_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    watched(Clock())
    said = capsys.readouterr().err
    assert "\x1b[2Kepoch 1/3  step 10/10  loss 0.5  6:40 left" in said  # 20 steps of 20 s
    assert "\x1b[2Kepoch 1/3  loss 0.5123  accuracy 91.25%  6:40 left\n" in said
    assert "epoch 2/3  loss 0.5123  accuracy 91.25%  3:20 left\n" in said


def test_a_resumed_run_counts_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    display = TerminalReporter(False, clock)
    display.begin(3, 5, 10, 1, 64)
    assert capsys.readouterr().err == "bnsharp: 20 gradients of 64 samples after epoch 3 (2 epochs of 10 steps)\n"


def test_the_line_of_progress_is_gone_once_something_else_is_said_or_the_work_ends(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    hidden, shown, erased = "\x1b[?25l", "\x1b[?25h", "\x1b[2K"
    reporter = TerminalReporter(False)
    with suppress(RuntimeError), reporter:
        reporter.activity("reading [1/2]")
        assert capsys.readouterr().err == f"{hidden}reading [1/2]"
        reporter.notice(f"see {named('batch_size')}")
        said = capsys.readouterr().err
        assert shown in said
        assert said.endswith("bnsharp: see --batch-size\n")
        assert erased in said
        reporter.activity("measuring")
        raise RuntimeError
    assert shown in capsys.readouterr().err
    reporter.activity("")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("terminal", ["dumb", "unknown"])
def test_a_terminal_that_cannot_overwrite_gets_plain_lines(
    terminal: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", terminal)
    clock = Clock()
    with TerminalReporter(False, clock) as reporter:
        reporter.activity("reading")
        reporter.notice("read")
        clock.now += 11
        reporter.activity("measuring")
        reporter.activity("")
    watched(Clock(), seconds=1)
    assert [line.split("  ")[0] for line in capsys.readouterr().err.splitlines()] == [
        "bnsharp: read",
        "bnsharp: measuring",
        "bnsharp: 60 gradients of 32 samples (3 epochs of 10 steps)",
        "bnsharp: epoch 1/3",
        "epoch 1/3",
        "bnsharp: epoch 2/3",
        "epoch 2/3",
    ]


def passes(reporter: TerminalReporter, clock: Clock) -> None:
    with reporter, reporter.progress.stage("searching", Cost(forward=200)):
        for _ in range(30):
            clock.now += 1
            reporter.progress.passed(FORWARD)


def test_a_measurement_is_followed_in_a_log_and_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    passes(TerminalReporter(False, clock), clock)
    assert capsys.readouterr().err.splitlines() == [
        "bnsharp: searching: up to 200 forwards and 0 backwards over the samples",
        "bnsharp: up to 3:19 to go, by the first pass",
        "bnsharp: searching, 6 %, up to 3:09 left",
        "bnsharp: searching, 10 %, up to 2:59 left",
    ]
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    passes(TerminalReporter(False, clock), clock)
    said = capsys.readouterr().err
    assert "bnsharp: searching: up to 200 forwards and 0 backwards over the samples\n" in said
    assert "\x1b[2Ksearching, 15 %, up to 2:50 left" in said
    assert said.endswith("\x1b[2K")
    passes(TerminalReporter(True, clock), clock)
    assert capsys.readouterr().err == ""


def test_progress_is_folded_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "20")
    reporter = TerminalReporter(False)
    reporter.activity("finding the scale-invariant blocks")
    said = capsys.readouterr().err.removeprefix("\x1b[?25l")
    assert " ".join(said.split()) == "finding the scale-invariant blocks"
    assert max(map(len, said.splitlines())) <= 20
    reporter.activity("")


def test_progress_is_for_terminals_and_python_hears_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    for reporter in (TerminalReporter(False), SILENT):
        reporter.activity("reading")
        reporter.step(1, 0.5)
    SILENT.notice("something")
    SILENT.begin(0, 1, 1, 1, 1)
    assert SILENT.progress is SILENT_PROGRESS
    assert TerminalReporter(True).progress is SILENT_PROGRESS
    SILENT.epoch(FIGURES)
    assert capsys.readouterr().err == ""


def test_durations() -> None:
    assert [duration(seconds) for seconds in (0.4, 59.6, 3599, 3600, 90_061)] == [
        "0:00",
        "1:00",
        "59:59",
        "1:00:00",
        "25:01:01",
    ]


def test_a_log_does_not_hear_of_short_work_however_late_it_begins(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with TerminalReporter(False, clock) as reporter:
        clock.now += 60
        with reporter.progress.stage("trying every batch", Cost(forward=8)):
            for _ in range(8):
                clock.now += 1
                reporter.progress.passed(FORWARD)
    assert capsys.readouterr().err == ""
