"""The program for a GPU, tried without one: every step on small problems, and steps that fail, hang or are done."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

from benchmarks import cuda
from benchmarks.cuda_steps import STEPS, Step
from benchmarks.device_checks import GPU_TESTS
from benchmarks.device_timing import SMOKE, Bench
from benchmarks.timing import ROOT

OF_LIBRARIES = {
    "resnet18-curvlinops": "curvlinops",
    "resnet18-pyhessian": "pyhessian",
    "lenet-eigenvalues": "pyhessian",
}
SLOW = {"tests", "tf32", "crossover", "resnet50-whole", "resnet18-peers", "resnet18-curvlinops", "resnet18-pyhessian"}
"""More of what others run: the same functions, larger networks; ``tests`` is tried with the command."""


@pytest.mark.parametrize("name", [name for name in STEPS if name not in SLOW])
def test_every_step_writes_rows_of_its_table(name: str, tmp_path: Path) -> None:
    if name in OF_LIBRARIES:
        pytest.importorskip(OF_LIBRARIES[name], reason="part of the benchmark extra")
    written: list[str] = []
    module, _, function = STEPS[name].load.partition(":")
    step = getattr(import_module(f"benchmarks.{module}"), function)
    step(Bench(torch.device("cpu"), SMOKE, written.append, tmp_path), *STEPS[name].arguments)
    rows = [line for part in written for line in part.splitlines() if line.startswith("|")]
    heading, rule, *filled = rows
    assert set(rule) == set("| -")
    assert filled
    for row in filled:
        assert row.count("|") == heading.count("|")
        assert re.search(r"\d", row)


def test_every_file_with_tests_for_a_gpu_is_run() -> None:
    marked = {path for path in (ROOT / "tests").rglob("*.py") if re.search(r"mark\.gpu\b|ON_A_GPU", path.read_text())}
    named = [ROOT / name for name in GPU_TESTS]
    assert all(path.exists() for path in named)
    missing = {path for path in marked if not any(path.is_relative_to(name) for name in named)}
    assert missing == {Path(__file__)}


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> cuda.Plan:
    """Three steps that are programs: one hangs, one fails, one ends well."""
    programs = {
        "hangs": "rows.write('| first row |\\n'); rows.flush(); import time; time.sleep(600)",
        "fails": "1 / 0",
        "ends": "rows.write('| a row |\\n')",
    }

    def command(plan: cuda.Plan, step: str) -> list[str]:
        return [sys.executable, "-c", f"rows = open({str(plan.rows(step))!r}, 'a'); {programs[step]}"]

    monkeypatch.setattr(cuda, "STEPS", {name: Step(name.title(), "", 60.0) for name in programs})
    monkeypatch.setattr(cuda.Plan, "command", command)
    return cuda.Plan(tmp_path / "folder", tmp_path / "page.md", "cpu", True, "", (*programs,), 60.0, longest=3.0)


def test_a_step_that_hangs_or_fails_loses_only_itself(plan: cuda.Plan) -> None:
    ended = cuda.run(plan)
    assert ended["hangs"].startswith("stopped after its time of 3 s")
    assert ended["fails"].startswith("failed with exit code 1")
    assert ended["ends"].startswith("done")
    page = plan.output.read_text()
    assert [line for line in page.splitlines() if line.startswith("|")] == ["| first row |", "| a row |"]
    assert "ZeroDivisionError" in (plan.folder / "fails.log").read_text()


def test_what_came_to_its_end_is_not_repeated_and_the_rest_is(plan: cuda.Plan) -> None:
    cuda.run(plan)
    again = cuda.run(plan)
    assert again["ends"] == "done before"
    assert again["fails"].startswith("failed")
    assert "| a row |" in plan.output.read_text()
    assert plan.rows("ends").read_text() == "| a row |\n"


def test_nothing_is_started_when_the_time_is_over(plan: cuda.Plan) -> None:
    object.__setattr__(plan, "seconds", 0.0)
    assert set(cuda.run(plan).values()) == {"not started, the time was over"}
    assert plan.output.exists()


@pytest.mark.slow(
    reason="runs tests in a process of their own",
    quick="tests/benchmarks/test_cuda.py::test_a_step_that_hangs_or_fails_loses_only_itself",
)
def test_the_command_runs_the_tests_and_a_step(tmp_path: Path) -> None:
    """As it is started on a machine with a GPU, from anywhere."""
    page = tmp_path / "page.md"
    command = [str(ROOT / "benchmarks/cuda.sh"), "--smoke", "--device", "cpu", "--output", str(page)]
    command += ["--folder", str(tmp_path / "folder"), "--steps", "tests", "lenet-points", "--longest", "200"]
    finished = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert re.search(r"`pytest -m gpu`: \d+ passed", page.read_text())
    assert "| loop |" in page.read_text()
