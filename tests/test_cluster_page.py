"""The scripts of docs/cluster.md run with bash as they are written, with a stand-in for Slurm's own programs.

The stand-in for ``sbatch`` runs a job at once, each task of an array with the variables that Slurm sets, and starts a
job that depends on another only if that one has ended well.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bnsharp_cli.workflows.shard import shard_of
from tests.documents import ROOT, Document
from tests.page_files import template

PAGE = Document(ROOT / "docs/cluster.md")
MEASURE, COMPARE, SUBMIT, LARGE = PAGE.fences("bash")
TASKS = 2
SBATCH = """\
import os, re, subprocess, sys
from pathlib import Path

given, script = sys.argv[1:-1], Path(sys.argv[-1])
text = script.read_text()
assert text.startswith("#!/bin/bash\\n")
head = text[: text.index("\\nset ")].splitlines()[1:]
assert all(line.startswith("#SBATCH --") for line in head), "Slurm reads no option below the first command"
asked = dict(line.removeprefix("#SBATCH --").split("=", 1) for line in head)
jobs = Path("jobs")
jobs.mkdir(exist_ok=True)
number = len([*jobs.iterdir()]) + 1
needed = [word.split(":")[1] for word in given if word.startswith("--dependency=afterok:")]
if any((jobs / one).read_text() != "ok" for one in needed):
    (jobs / str(number)).write_text("never started")
    sys.exit()
first, last = map(int, asked.get("array", "0-0").split("-"))
codes = []
for task in range(first, last + 1):
    own = {"SLURM_JOB_ID": str(number), "SLURM_CPUS_PER_TASK": asked.get("cpus-per-task", "1")}
    own |= {"SLURM_ARRAY_TASK_ID": str(task)} if "array" in asked else {}
    with Path(f"log-{number}-{task}.txt").open("w") as log:
        ended = subprocess.run(["bash", str(script)], env={**os.environ, **own}, stdout=log, stderr=log)
    codes.append(ended.returncode)
(jobs / str(number)).write_text("failed" if any(codes) else "ok")
print(number if "--parsable" in given else f"Submitted batch job {number}")
"""


REAL = f'#!/bin/sh\nexec "{sys.executable}" -P -m bnsharp_cli "$@"\n'
RECORDING = '#!/bin/sh\necho "$@" >> commands.txt\ncase "$*" in *aborted.pt*) exit 3;; esac\n'
"""Writes down how it was called, and fails where a checkpoint of that name is among the arguments."""

RUN_FOR_REAL = pytest.mark.slow(
    reason="starts the command once for each job",
    quick="tests/test_cluster_page.py::test_the_shards_are_all_checkpoints_and_the_comparison_comes_last",
)


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def cluster(place: Path, command: str) -> Path:
    """The folder that the jobs run in, with three checkpoints, and beside it the programs of the cluster."""
    folder, programs = place / "folder", place / "bin"
    (folder / "runs").mkdir(parents=True)
    programs.mkdir()
    program(programs / "sbatch", f"#!{sys.executable} -S\n{SBATCH}")
    program(programs / "bnsharp", command)
    program(programs / "torchrun", f'#!/bin/sh\nexec "{sys.executable}" -m torch.distributed.run "$@"\n')
    program(programs / "srun", '#!/bin/sh\nexec "$@"\n')
    program(programs / "scontrol", "#!/bin/sh\necho localhost\n")
    for name in ("large-batch", "small-batch", "small-batch-decay"):
        shutil.copy(ROOT / "sample_checkpoints" / f"digits-{name}.pt", folder / "runs" / f"{name}.pt")
    few = MEASURE.replace("1-8", f"1-{TASKS}").replace("/8", f"/{TASKS}").replace("=4\n", "=1\n")
    assert few.count(str(TASKS)) == MEASURE.count("8")
    (folder / "measure.sbatch").write_text(few)
    (folder / "compare.sbatch").write_text(COMPARE)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that every page takes for granted."""
    return template(tmp_path_factory.mktemp("pages") / "template")


@pytest.fixture
def working(tmp_path: Path, data: Path) -> Path:
    """A cluster with small data, whose jobs run the command."""
    folder = cluster(tmp_path / "cluster", REAL)
    shutil.copytree(data / "images", folder / "images")
    shutil.copy(data / "bnsharp.toml", folder)
    return folder


def run(script: str, folder: Path, **environment: str) -> None:
    path = f"{folder.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
    own = {"PATH": path, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1", **environment}
    finished = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        check=False,
    )
    logs = "".join(log.read_text() for log in sorted(folder.glob("log-*.txt")))
    assert finished.returncode == 0, finished.stderr + logs


def comparison(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "comparison.json").read_text())
    return found


def names(found: dict[str, Any]) -> list[str]:
    return [Path(one["checkpoint"]["path"]).stem for one in found["networks"]]


def jobs(folder: Path) -> list[str]:
    return [path.read_text() for path in sorted((folder / "jobs").iterdir(), key=lambda path: int(path.name))]


def test_the_shards_are_all_checkpoints_and_the_comparison_comes_last(tmp_path: Path) -> None:
    """And a task that fails keeps the comparison from starting."""
    folder = cluster(tmp_path / "cluster", RECORDING)
    run(SUBMIT, folder)
    assert jobs(folder) == ["ok", "ok"]
    *measured, compared = [line.split() for line in (folder / "commands.txt").read_text().splitlines()]
    paths = sorted((folder / "runs").iterdir())
    shards = [shard_of([folder / word for word in words if word.endswith(".pt")], words[-1]) for words in measured]
    assert sorted(path for shard in shards for path in shard) == paths
    assert {words[0] for words in measured} == {"measure"}
    assert len({words[words.index("--results") + 1] for words in measured} | {compared[1]}) == 1
    assert compared[0] == "compare"
    (folder / "runs" / "aborted.pt").write_bytes(b"no checkpoint")
    (folder / "commands.txt").unlink()
    run(SUBMIT, folder)
    assert jobs(folder)[2:] == ["failed", "never started"]


@RUN_FOR_REAL
def test_the_array_measures_every_checkpoint_once_and_one_job_compares_them(working: Path) -> None:
    """Submitted again, what is there stays, what has changed is measured, and its earlier result is told."""
    run(SUBMIT, working)
    assert jobs(working) == ["ok", "ok"]
    assert names(comparison(working)) == ["large-batch", "small-batch-decay", "small-batch"]
    assert comparison(working)["cost"]["forward"] == 0
    kept = {path.name: path.stat().st_mtime_ns for path in (working / "results").iterdir()}
    assert len(kept) == 3
    shutil.copy(ROOT / "sample_checkpoints/digits-large-batch-decay.pt", working / "runs" / "small-batch.pt")
    run(SUBMIT, working)
    again = {path.name: path.stat().st_mtime_ns for path in (working / "results").iterdir()}
    assert again.items() > kept.items()
    assert len(again) == 4
    found = comparison(working)
    assert names(found) == ["large-batch", "small-batch-decay", "small-batch"]
    (stale,) = [note for note in found["notes"] if "stale" in note]
    assert stale.startswith("results/small-batch.pt-")
    assert stale.endswith("since runs/small-batch.pt has other content than what was measured")


@RUN_FOR_REAL
def test_the_job_of_one_large_measurement(working: Path) -> None:
    """Its result is one more network of the folder."""
    run(SUBMIT, working)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    shutil.copy(ROOT / "sample_checkpoints/digits-large-batch-decay.pt", working / "large.pt")
    variables = {"SLURM_NNODES": "1", "SLURM_GPUS_ON_NODE": "2", "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node[1-2]"}
    run(LARGE.replace("29500", port), working, **variables)
    (own,) = (working / "results").glob("large.pt-*.json")
    assert json.loads(own.read_text())["environment"]["world_size"] == 2
    run(COMPARE, working)
    assert names(comparison(working))[1] == "large"
