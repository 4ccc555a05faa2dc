"""``bnsharp audit`` from the outside."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bnsharp_cli.measurement.audit import search
from bnsharp_cli.measurement.measures import bn_sharpness
from bnsharp_cli.measurement.measures.measurement import Status
from tests.cli.helpers import bnsharp, one_error

SAMPLE = "sample:digits-small-batch"
FAST = ("--samples", 64, "--batch-size", 16)
LONG = pytest.mark.slow(
    reason="audits a network once more",
    quick="tests/cli/test_audit.py::test_stated_errors_that_are_too_small_exit_1",
)
NAMES = ["loss", "integral", "rounding", "order", "threads", "search", "population", "invariance"]


@pytest.fixture(autouse=True)
def few_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit of a search by many starts is tested where the network is small."""
    monkeypatch.setattr(search, "STARTS", 2)
    monkeypatch.setattr(search, "ITERATIONS", 20)


def test_the_embedded_sample_holds_and_the_cost_is_said_first(tmp_path: Path) -> None:
    finished = bnsharp("audit", SAMPLE, *FAST, "--output", "audit.json", folder=tmp_path)
    assert "audit: up to " in finished.stderr
    assert "forwards and" in finished.stderr
    lines = finished.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    rows = lines[lines.index(next(line for line in lines if line.startswith("statement"))) + 1 :][: len(NAMES)]
    assert [row.split()[0] for row in rows] == NAMES
    assert lines[-1].startswith("HOLDS: ")
    document = json.loads((tmp_path / "audit.json").read_text())
    assert [finding["name"] for finding in document["findings"]] == NAMES
    assert document["verdict"] == {"holds": True, "sentence": lines[-1]}
    said = [finding for finding in document["findings"] if finding["holds"]]
    assert len(said) >= 7
    assert all(finding["found"] <= finding["stated"] for finding in said if finding["stated"] is not None)


@pytest.mark.parametrize(
    ("change", "fails"),
    [
        pytest.param({"floor": 1e-30}, "rounding, order, invariance", marks=LONG),
        ({"floor": 1e-30, "quadrature": 0.0}, "integral, rounding, order, invariance"),
    ],
)
def test_stated_errors_that_are_too_small_exit_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, float], fails: str
) -> None:
    right = bn_sharpness.estimate_errors
    monkeypatch.setattr(bn_sharpness, "estimate_errors", lambda *given: replace(right(*given), **change))
    finished = bnsharp("audit", SAMPLE, *FAST, "--quiet", folder=tmp_path, expect=1)
    verdict = finished.stdout.splitlines()[-1]
    assert verdict.startswith("DOES NOT HOLD: ")
    assert {*fails.split(", ")} <= {*verdict.removeprefix("DOES NOT HOLD: ").split(", ")}
    assert "DOES NOT HOLD" in next(line for line in finished.stdout.splitlines() if line.startswith("rounding "))


@LONG
def test_a_status_that_is_not_true_exits_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps at δ = 0.1 end far below the next supremum."""
    monkeypatch.setattr(bn_sharpness, "_status", lambda *_: Status.CONVERGED)
    few = ("--samples", 32, "--batch-size", 16, "--delta", 0.1)
    finished = bnsharp("audit", SAMPLE, *few, "--json", "--quiet", folder=tmp_path, expect=1)
    document = json.loads(finished.stdout)
    found = next(finding for finding in document["findings"] if finding["name"] == "search")
    assert found["holds"] is False
    assert document["verdict"]["holds"] is False


def test_options_of_other_measures_are_none_of_it(tmp_path: Path) -> None:
    for option in ("--ball-samples", "--by", "--measure"):
        assert f"No such option: {option}" in bnsharp("audit", SAMPLE, option, 4, folder=tmp_path, expect=2).stderr


def test_it_runs_in_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnsharp_cli.workflows.torchrun.launched", lambda: True)
    monkeypatch.setattr("bnsharp_cli.cli.main.torchrun.together", lambda: __import__("contextlib").nullcontext())
    monkeypatch.setattr("bnsharp_cli.cli.main.torchrun.wait_for_the_first", lambda: None)
    monkeypatch.setattr("bnsharp_cli.workflows.torchrun.is_first", lambda: True)
    assert "runs in one process" in one_error(bnsharp("audit", SAMPLE, *FAST, folder=tmp_path, expect=2))
