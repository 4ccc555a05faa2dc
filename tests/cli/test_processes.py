"""Several processes: the same numbers, one voice, one end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bnsharp_cli.models import lenet_bn
from tests.cli.helpers import bnsharp
from tests.cli.launch import Launcher
from tests.measurement.row_networks import made

SAMPLE = "sample:digits-small-batch"
FAST = ("--samples", 320, "--batch-size", 64)
EPSILON = torch.finfo(torch.float32).eps

FAILING = """
import os, signal
from bnsharp_cli.models import lenet_bn

calls = 0

def fail(inputs):
    global calls
    calls += len(inputs) == 64
    if os.environ.get("RANK") == "{rank}" and calls == {call}:
        {failure}

def net():
    network = lenet_bn(1, 10, 8)
    own = network.forward

    def forward(inputs):
        fail(inputs)
        return own(inputs)

    network.forward = forward
    return network
"""


LANGUAGE_MODEL = """
import torch
from tests.measurement.row_networks import made

def net():
    return made("llama")[0]

def texts(split):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(40, (12, 7), generator=generator)
    return torch.utils.data.TensorDataset(ids, ids.roll(-1, 1))
"""


def failing_network(folder: Path, rank: int, failure: str, call: int = 14) -> tuple[object, ...]:
    """A checkpoint whose network fails on one process, in the middle of a pass; and how to measure it."""
    torch.manual_seed(0)
    torch.save(lenet_bn(1, 10, 8).state_dict(), folder / "net.pt")
    (folder / "mine.py").write_text(FAILING.format(rank=rank, call=call, failure=failure))
    return ("measure", "net.pt", "--arch", "mine.py:net", "--data", "digits", *FAST)


def test_the_result_is_the_same_for_1_2_and_4_processes(tmp_path: Path, launch: Launcher) -> None:
    """Five batches: every count but one shares them unevenly. The losses are summed in batch order on every process."""
    names = (
        *("bn", "delta-linf", "relative-flatness", "gradient-norm", "loss", "margin", "entropy", "weight-norm"),
        *("noise", "critical-radius", "pac-bayes-sigma", "adaptive", "hessian"),
    )
    asked = (*(word for name in names for word in ("--measure", name)), "--noise-draws", 2, "--sigma-draws", 2)
    arguments = ("measure", SAMPLE, *FAST, *asked, "--delta", 1e-2, "--json")
    alone = json.loads(bnsharp(*arguments, folder=tmp_path).stdout)
    assert alone["environment"]["world_size"] == 1
    for count in (2, 4):
        first, *others = launch(count, *arguments, "--output", "result.json", folder=tmp_path)
        assert {rank.code for rank in (first, *others)} == {0}, first.stderr
        assert {rank.stdout + rank.stderr for rank in others} == {""}
        document = json.loads(first.stdout)
        assert (tmp_path / "result.json").read_text() == first.stdout
        assert document["environment"]["world_size"] == count
        assert document["blocks"] == alone["blocks"]
        for name, measured in document["measures"].items():
            expected = alone["measures"][name]
            assert measured["cost"] == expected["cost"]
            assert abs(measured["value"] - expected["value"]) <= (expected["uncertainty"]["rounding"] or 0.0)
            sampling, wanted = (each["uncertainty"]["sampling"] for each in (measured, expected))
            assert sampling == (None if wanted is None else pytest.approx(wanted, rel=1e-3))
        assert abs(document["loss"] - alone["loss"]) <= 4 * EPSILON * alone["loss"]


@pytest.mark.slow(
    reason="starts torchrun once more, with the name of the module instead of a file",
    quick="tests/cli/test_processes.py::test_torchrun_starts_a_file_and_no_thread_of_the_group_is_left_at_its_end",
)
def test_torchrun_starts_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "--", "bnsharp_cli"]
    arguments = ["check", SAMPLE, *map(str, FAST), "--max", "loss=1", "--json"]
    finished = subprocess.run([*command, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    document = json.loads(finished.stdout)
    assert document["verdict"]["passed"] is True
    assert document["environment"]["world_size"] == 2


WATCHED = """
import atexit, os
from pathlib import Path
from bnsharp_cli.cli.main import main

def threads():
    return [task.joinpath("comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]

atexit.register(lambda: Path("threads" + os.environ["RANK"]).write_text(" ".join(threads())))
main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are listed in /proc")
def test_torchrun_starts_a_file_and_no_thread_of_the_group_is_left_at_its_end(tmp_path: Path) -> None:
    """One that is left may drop a tensor when the interpreter is gone, which aborts the process."""
    (tmp_path / "watched.py").write_text(WATCHED)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "watched.py"]
    arguments = ["measure", SAMPLE, *map(str, FAST), "--json"]
    finished = subprocess.run([*command, *arguments], cwd=tmp_path, capture_output=True, check=True)
    assert json.loads(finished.stdout)["environment"]["world_size"] == 2
    for rank in "01":
        left = (tmp_path / f"threads{rank}").read_text()
        assert left
        assert "gloo" not in left


@pytest.mark.slow(
    reason="starts processes once more",
    quick="tests/cli/test_processes.py::test_the_result_is_the_same_for_1_2_and_4_processes",
)
def test_the_test_of_invariance_writes_its_copies_once(tmp_path: Path, launch: Launcher) -> None:
    arguments = ("rescale-test", SAMPLE, "--samples", 64, "--batch-size", 32, "--save-copies", "copies")
    first, second = launch(2, *arguments, folder=tmp_path)
    assert (first.code, second.code) == (0, 0), first.stderr
    assert "BN-Sharpness is invariant" in first.stdout
    assert second.stdout + second.stderr == ""
    assert len(list((tmp_path / "copies").iterdir())) == 12


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("measure", SAMPLE, "--delta", "-1"), 2, "--delta: expected a positive number"),
        (("measure", "missing.pt"), 3, "No such file"),
        (("measure", SAMPLE, "--samples", 128, "--batch-size", 64), 2, "3 processes need at least as many whole"),
        (("inspect", SAMPLE), 2, "bnsharp inspect runs in one process"),
        (("train", "--output", "net.pt"), 2, "--batch-size: 3 processes cannot share 128 samples equally"),
    ],
)
def test_what_fails_on_every_process_is_said_once(
    tmp_path: Path, launch: Launcher, arguments: tuple[object, ...], code: int, says: str
) -> None:
    first, *others = launch(3, *arguments, folder=tmp_path)
    assert [rank.code for rank in (first, *others)] == [code] * 3
    assert says in first.stderr
    assert len(first.stderr.splitlines()) == 2
    assert {rank.stdout + rank.stderr for rank in others} == {""}


def test_what_fails_on_one_process_is_said_by_the_first(tmp_path: Path, launch: Launcher) -> None:
    arguments = failing_network(tmp_path, 1, "raise RuntimeError('only here')")
    first, second = launch(2, *arguments, folder=tmp_path)
    assert (first.code, second.code) == (4, 4)
    assert "only here" in first.stderr
    assert first.stdout + second.stdout + second.stderr == ""
    first, second = launch(2, *arguments, "--json", "--output", "result.json", folder=tmp_path)
    document = json.loads(first.stdout)
    assert "only here" in document["error"]["reason"]
    assert json.loads((tmp_path / "result.json").read_text()) == document
    assert second.stdout == ""


def test_a_checkpoint_that_fails_does_not_lose_the_others(tmp_path: Path, launch: Launcher) -> None:
    arguments = ("measure", SAMPLE, "missing.pt", SAMPLE, "--samples", 128, "--batch-size", 64, "--json")
    first, second = launch(2, *arguments, folder=tmp_path)
    assert (first.code, second.code) == (3, 3)
    documents = [json.loads(line) for line in first.stdout.splitlines()]
    assert ["error" in document for document in documents] == [False, True, False]
    assert documents[1]["path"] == "missing.pt"
    assert documents[0]["measures"] == documents[2]["measures"]
    assert "missing.pt" in first.stderr
    assert second.stdout + second.stderr == ""


@pytest.mark.parametrize("dead", [0, 1])
def test_a_dead_process_ends_the_others_with_one_clear_line(tmp_path: Path, launch: Launcher, dead: int) -> None:
    arguments = failing_network(tmp_path, dead, "os.kill(os.getpid(), signal.SIGKILL)")
    ranks = launch(3, *arguments, folder=tmp_path)
    assert ranks[dead].code == -9
    for rank in (0, 1, 2):
        if rank != dead:
            assert ranks[rank].code == 4, ranks[rank].stderr
            assert f"bnsharp: Process {rank} of 3 lost the others" in ranks[rank].stderr
            assert "Traceback" not in ranks[rank].stderr
            assert ranks[rank].stdout == ""
    ranks = launch(2, *arguments, "--json", folder=tmp_path)
    if dead:  # the process that speaks is alive
        assert "lost the others" in json.loads(ranks[0].stdout)["error"]["reason"]
    assert ranks[1].stdout == ""


def test_a_process_that_stops_answering_is_waited_for_until_the_time_limit(tmp_path: Path, launch: Launcher) -> None:
    arguments = failing_network(tmp_path, 1, "os.kill(os.getpid(), signal.SIGSTOP)")
    first, second = launch(2, *arguments, folder=tmp_path, BNSHARP_TIME_LIMIT="2")
    assert second.code == -19
    assert first.code == 4
    assert "lost the others" in first.stderr


def test_a_time_limit_that_cannot_be_meant_exits_2(tmp_path: Path, launch: Launcher) -> None:
    first, second = launch(2, "measure", SAMPLE, folder=tmp_path, BNSHARP_TIME_LIMIT="soon")
    assert (first.code, second.code) == (2, 2)
    assert "BNSHARP_TIME_LIMIT: expected a number of seconds, found 'soon'" in first.stderr
    assert second.stderr == ""


def test_a_language_model_is_measured_by_two_processes_with_little_memory(tmp_path: Path, launch: Launcher) -> None:
    """Each draws the same directions anew, so the two answer as one does."""
    (tmp_path / "mine.py").write_text(LANGUAGE_MODEL)
    network, _ = made("llama")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.div_(2)
    torch.save(network.state_dict(), tmp_path / "net.pt")
    data = ("--arch", "mine.py:net", "--data", "mine.py:texts", "--samples", 12, "--batch-size", 4)
    small = ("--memory", "small", "--measure", "noise", "--noise-draws", 2, "--sigma", 0.3)
    arguments = ("measure", "net.pt", *data, *small, "--json")
    alone = json.loads(bnsharp(*arguments, folder=tmp_path).stdout)
    first, second = launch(2, *arguments, folder=tmp_path)
    assert (first.code, second.code, second.stdout) == (0, 0, ""), first.stderr
    found, expected = (each["measures"]["noise"] for each in (json.loads(first.stdout), alone))
    assert expected["status"] == "sampled"
    assert abs(found["value"] - expected["value"]) <= expected["uncertainty"]["rounding"]
    assert {tensor["reason"] for tensor in alone["blocks"]["tensors"]} == {"not searched, to save memory"}
    table = bnsharp(*arguments[:-1], folder=tmp_path).stdout
    assert "scale-invariant blocks (partition paper): not searched, to save memory" in table
    refused = bnsharp("rescale-test", "net.pt", *data, "--memory", "small", folder=tmp_path, expect=2)
    assert "Only measures take small: leave --memory out." in refused.stderr
