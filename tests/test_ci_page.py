"""The workflows of docs/ci.md run as they are written, as far as that is possible offline.

A step of GitHub's and a line of GitLab's is what their runners give to ``bash -e``; what pip would install is there.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from junitparser import JUnitXml

from bnsharp_cli.cli.configured import options_of_command
from tests.documents import ROOT, Document
from tests.report.test_check_formats import runner_reads

PAGE = Document(ROOT / "docs/ci.md")
LIMITS = PAGE.fences("toml")[0]
FEW = LIMITS.replace('"all"', "1280")
UNDECIDED = LIMITS.replace('"all"', "512").replace("bn = 4.5", "bn = 1e9")
"""Two batches: a change of ``bn`` is open then, and a limit that no value reaches is not."""
"""The same limits on fewer samples, where a verdict on them is not what is tested."""
TIGHT = FEW.replace("bn = 4.5", "bn = 1e-9")
HOOK = ROOT / ".pre-commit-hooks.yaml"


def workflow(key: str) -> Any:
    """The example of the page that has this key at its top."""
    (found,) = [one for text in PAGE.fences("yaml") if key in (one := yaml.safe_load(text))]
    return found


@pytest.fixture
def repository(tmp_path: Path, sample_path: Path) -> Path:
    """A repository with a checkpoint and its limits, and beside it what an installation would have put on the path."""
    folder, programs = tmp_path / "repository", tmp_path / "bin"
    folder.mkdir()
    programs.mkdir()
    (programs / "bnsharp").write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m bnsharp_cli "$@"\n')
    (programs / "pip").write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/pip.log"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    shutil.copy(sample_path, folder / "model.pt")
    (folder / "bnsharp.toml").write_text(FEW)
    (folder / ".git").mkdir()
    return folder


def run(script: str, repository: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{repository.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=repository,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("limits", [FEW, TIGHT], ids=["keeps", "fails"])
def test_the_workflow_of_github(limits: str, repository: Path) -> None:
    (repository / "bnsharp.toml").write_text(limits)
    job = workflow("jobs")
    assert job[True] == ["push", "pull_request"]  # YAML 1.1 reads ``on`` so, GitHub does not
    steps = job["jobs"]["check"]["steps"]
    scripts = [step["run"] for step in steps if "run" in step]
    summary = repository.parent / "summary.md"
    finished = [run(script, repository, GITHUB_STEP_SUMMARY=str(summary)) for script in scripts]
    fails = limits is TIGHT
    assert [one.returncode for one in finished] == [0, int(fails)], finished[-1].stderr
    assert (repository.parent / "pip.log").read_text() == "install bnsharp\n"
    read = [command for line in finished[-1].stdout.splitlines() if (command := runner_reads(line))]
    assert [command[0] for command in read[2:]] == (["error"] if fails else []) + ["notice"]
    assert ("**fail** | bn |" in summary.read_text()) == fails
    assert "options from bnsharp.toml" in finished[-1].stderr
    (artifact,) = [step["with"]["path"] for step in steps if "upload-artifact" in step.get("uses", "")]
    assert json.loads((repository / artifact).read_text())["verdict"]["passed"] is not fails


@pytest.mark.parametrize("limits", [FEW, TIGHT], ids=["keeps", "fails"])
@pytest.mark.slow(
    reason="runs the same command as the workflow of GitHub",
    quick="tests/test_ci_page.py::test_the_workflow_of_github",
)
def test_the_job_of_gitlab(limits: str, repository: Path) -> None:
    (repository / "bnsharp.toml").write_text(limits)
    job = workflow("sharpness")["sharpness"]
    finished = [run(line, repository) for line in job["script"]]
    fails = limits is TIGHT
    assert [one.returncode for one in finished] == [0, int(fails)], finished[-1].stderr
    assert job["artifacts"]["when"] == "always"
    read = JUnitXml.fromfile(str(repository / job["artifacts"]["reports"]["junit"]))
    assert (read.failures, read.errors) == (int(fails), 0)
    assert read.tests >= 5


@pytest.mark.slow(
    reason="installs pre-commit's hook and commits twice",
    quick="tests/test_ci_page.py::test_the_workflow_of_github",
)
def test_the_hook_of_pre_commit(repository: Path) -> None:
    (hook,) = workflow("repos")["repos"][0]["hooks"]
    (own,) = yaml.safe_load(HOOK.read_text())
    shared = ("id", "name", "entry", "files", "require_serial")
    assert [hook[key] for key in shared] == [own[key] for key in shared]
    (repository / "notes.txt").write_text("")
    shutil.copy(repository / "model.pt", repository / "second model.pth")
    chosen = sorted(path.name for path in repository.iterdir() if re.search(hook["files"], path.name))
    assert chosen == ["model.pt", "second model.pth"]
    words = [*shlex.split(hook["entry"]), *chosen]  # pre-commit puts the names of files behind the entry
    assert run(shlex.join(words), repository).returncode == 0
    (repository / "bnsharp.toml").write_text(TIGHT)
    assert run(shlex.join(words), repository).returncode == 1


@pytest.mark.slow(
    reason="runs a job of the page three times, each in a process of its own",
    quick="tests/test_ci_page.py::test_the_workflow_of_github",
)
def test_the_baseline_of_the_page(repository: Path) -> None:
    """The same checkpoint passes; one that is sharper fails on all samples, and is undecided on few."""
    (repository / "bnsharp.toml").write_text(LIMITS)
    begin, hold = PAGE.fences("sh")
    shutil.copy(ROOT / "sample_checkpoints/digits-large-batch.pt", repository / "sharper.pt")
    assert run(begin, repository).returncode == 0
    assert run(hold, repository).returncode == 0
    sharper = run(hold.replace("model.pt", "sharper.pt"), repository)
    assert sharper.returncode == 1
    assert sharper.stdout.splitlines()[-1] == "FAILED: bn vs baseline"
    (repository / "bnsharp.toml").write_text(UNDECIDED)
    (repository / "baseline.json").unlink()
    assert run(begin, repository).returncode == 0
    few = run(hold.replace("model.pt", "sharper.pt"), repository)
    assert few.returncode == 0
    assert few.stdout.splitlines()[-1].startswith("INCONCLUSIVE: bn vs baseline")
    strict = hold.replace("model.pt", "sharper.pt").rstrip() + " --fail-on inconclusive --format github"
    finished = run(strict, repository)
    assert finished.returncode == 1
    assert "::error file=sharper.pt,title=bnsharp sharper.pt%3A bn vs baseline::" in finished.stdout


def test_the_limits_of_the_page_are_options() -> None:
    flags = {one.field.flag for one in options_of_command("check").values()}
    assert {*tomllib.loads(LIMITS)["check"]} <= flags


def test_the_formats_of_the_page_are_those_of_the_command() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", PAGE.text, re.MULTILINE)
    (form,) = [one.field for one in options_of_command("check").values() if one.field.flag == "format"]
    assert tuple(listed) == form.choices
