"""Names of files that would act on a terminal, forge a line or pass for an option; and streams that are full."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from bnsharp_cli.io.checkpoints.run_files import RunFiles
from tests.cli.helpers import bnsharp, one_error

NAME = os.fsdecode("a\nb\x1b[31m\u202e\ue000delta\ue001$x_$".encode() + b"\xff")
SHOWN = r"a\nb\x1b[31m\u202e\ue000delta\ue001$x_$\udcff"
FAST = ("--samples", "64", "--batch-size", "64")
SAMPLE = "sample:digits-small-batch"


def require_printable(*texts: str) -> None:
    for text in texts:
        assert all(line.isprintable() for line in text.split("\n")), repr(text)


@pytest.mark.parametrize("as_json", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("measure", f"{NAME}.pt"), 3),
        (("measure", f"{NAME}.pt", f"{NAME}.pt"), 3),
        (("inspect", f"{NAME}.pt"), 3),
        (("check", f"{NAME}.pt"), 3),
        (("measure", SAMPLE, "--output", f"{NAME}/none/x.json"), 2),
        (("measure", SAMPLE, "--plot", NAME), 2),
        (("measure", SAMPLE, "--data", NAME), 2),
        (("measure", SAMPLE, "--data", f"npz:{NAME}"), 3),
        (("measure", SAMPLE, "--data", f"folder:{NAME}"), 3),
        (("measure", SAMPLE, "--data", f"{NAME}:data"), 2),
        (("measure", SAMPLE, "--arch", f"{NAME}.py:net"), 2),
        (("measure", SAMPLE, "--samples", NAME), 2),
        (("measure", f"sample:{NAME}"), 2),
    ],
)
def test_a_refusal_is_one_line_that_does_nothing(
    tmp_path: Path, arguments: tuple[str, ...], code: int, as_json: tuple[str, ...]
) -> None:
    finished = bnsharp(*arguments, *as_json, folder=tmp_path, expect=code)
    require_printable(finished.stdout)
    checkpoints = [word for word in arguments[1:] if word == f"{NAME}.pt"] or [arguments[1]]
    lines = finished.stdout.splitlines() if len(checkpoints) == 2 else [finished.stdout] * bool(as_json)
    assert [json.loads(line)["path"] for line in lines] == checkpoints * bool(as_json)
    require_printable(finished.stderr)
    refusals = max(1, sum(f"{NAME}.pt" == argument for argument in arguments))
    lines = finished.stderr.removesuffix("\n").split("\n")
    assert [line[:9] for line in lines] == ["bnsharp: ", " " * 9] * refusals
    assert all(SHOWN in line for line in lines[::2])
    assert "--delta" not in finished.stderr


@pytest.mark.parametrize("arguments", [("measure", f"--{NAME}"), ("inspect", "a", NAME), (NAME,)])
def test_what_the_parser_refuses_does_nothing_either(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    finished = bnsharp(*arguments, folder=tmp_path, expect=2)
    assert finished.stdout == ""
    require_printable(finished.stderr)
    assert finished.stderr.count("\n") == 4
    assert "delta" in finished.stderr.split("\n")[-2]


def test_results_of_such_a_file_are_printed_written_and_drawn(tmp_path: Path, sample_path: Path) -> None:
    shutil.copy(sample_path, tmp_path / f"{NAME}.pt")
    arguments = ("measure", f"{NAME}.pt", *FAST, "--plot", f"{NAME}.svg", "--output", f"{NAME}.json")
    command = [sys.executable, "-m", "bnsharp_cli", *arguments]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    stdout = finished.stdout.decode()
    require_printable(stdout, finished.stderr.decode())
    assert f"{SHOWN}.pt: lenet-bn" in stdout
    assert (tmp_path / f"{NAME}.svg").stat().st_size > 1000
    written = (tmp_path / f"{NAME}.json").read_bytes().decode()
    require_printable(written)
    assert json.loads(written)["checkpoint"]["path"] == f"{NAME}.pt"


def test_such_a_file_does_not_lose_the_rest_of_a_batch(tmp_path: Path, sample_path: Path) -> None:
    shutil.copy(sample_path, tmp_path / f"{NAME}.pt")
    finished = bnsharp("measure", f"{NAME}.pt", SAMPLE, *FAST, "--json", "--output", "all.jsonl", folder=tmp_path)
    require_printable(finished.stdout, finished.stderr)
    assert (tmp_path / "all.jsonl").read_text() == finished.stdout
    first, second = map(json.loads, finished.stdout.splitlines())
    assert first["checkpoint"]["sha256"] == second["checkpoint"]["sha256"]


def test_the_exit_code_stands_where_stderr_is_full_from_the_beginning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bnsharp_cli", "measure", SAMPLE, "--no-such-option"]
    with Path("/dev/full").open("w") as full:
        finished = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=full, check=False)
    assert finished.returncode == 2
    assert finished.stdout == b""


FULL = {
    ("measure", "none.pt"): 3,
    ("measure", "none.pt", "none2.pt"): 3,
    ("measure", SAMPLE, "--no-such-option"): 2,
    ("measure", SAMPLE, "--device", "none"): 2,
    ("inspect", SAMPLE): 0,
    ("train", "--epochs", "1", "--output", "x.pt"): 0,
    ("train", "--epochs", "1", "--output", "none/x.pt"): 2,
    ("reproduce", "none", "--output", "x"): 2,
}
"""Commands, and the exit codes that a full stderr does not change."""

IN_TURN = """
import json, os, sys
import sklearn.datasets, torch, torchvision
from bnsharp_cli.cli.main import main

codes = []
for number, arguments in enumerate(json.loads(sys.argv[1])):
    if os.fork() == 0:
        os.dup2(os.open("/dev/full", os.O_WRONLY), 2)
        os.dup2(os.open(f"stdout.{number}", os.O_WRONLY | os.O_CREAT), 1)
        sys.argv = ["bnsharp", *arguments]
        main()
    codes.append(os.waitstatus_to_exitcode(os.wait()[1]))
print(json.dumps(codes))
"""
"""A process for each, which ends as Python ends; the libraries are imported once for all."""


@pytest.mark.slow(
    reason="runs eight commands",
    quick="tests/cli/test_hostile_names.py::test_the_exit_code_stands_where_stderr_is_full_from_the_beginning",
)
def test_the_exit_code_stands_where_stderr_is_full(tmp_path: Path) -> None:
    command = [sys.executable, "-c", IN_TURN, json.dumps([*FULL])]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert dict(zip(FULL, json.loads(finished.stdout), strict=True)) == FULL
    printed = [(tmp_path / f"stdout.{number}").stat().st_size > 0 for number in range(len(FULL))]
    assert printed == [code == 0 for code in FULL.values()]


def test_what_a_checkpoint_says_of_its_data_passes_for_no_option(tmp_path: Path, sample_path: Path) -> None:
    sample = load_checkpoint(sample_path)
    marked = NAME.replace("\n", "")
    save_checkpoint(tmp_path / "net.pt", sample.state_dict, **{**sample.metadata, "data": marked})
    reason = one_error(bnsharp("measure", "net.pt", *FAST, folder=tmp_path, expect=2))
    assert "trained on 'a" in reason
    assert reason.isprintable()
    assert "--delta" not in reason


@pytest.mark.parametrize("others", [(), (SAMPLE,)], ids=["alone", "one of several"])
def test_a_file_is_named_once_in_front_of_what_is_wrong_with_it(
    tmp_path: Path, sample_path: Path, others: tuple[str, ...]
) -> None:
    state = dict(load_checkpoint(sample_path).state_dict)
    name = next(iter(state))
    state[name] = state[name] * float("nan")
    save_checkpoint(tmp_path / f"{NAME}.pt", state, architecture="lenet-bn", data="digits")
    finished = bnsharp("measure", f"{NAME}.pt", *others, *FAST, "--quiet", folder=tmp_path, expect=3)
    assert finished.stderr.startswith(f"bnsharp: {SHOWN}.pt: '{name}' has ")
    assert finished.stderr.count("\n") == 2


def test_a_run_of_such_a_name_is_trained_goes_on_and_is_refused(tmp_path: Path) -> None:
    arguments = ("train", "--epochs", "1", "--output", f"{NAME}.pt")
    for resume in ((), ("--resume",)):
        finished = bnsharp(*arguments, *resume, folder=tmp_path)
        require_printable(finished.stdout, finished.stderr)
        assert f"wrote {SHOWN}.pt (" in finished.stdout
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{NAME}{ending}" for ending in (".pt", ".best.pt", ".metrics.jsonl", ".state")
    }
    state = {**RunFiles(tmp_path / f"{NAME}.pt").load_state(), "versions": {"torch": "\x1b[31m\n", "threads": "\x1b"}}
    torch.save(state, tmp_path / f"{NAME}.state")
    finished = bnsharp(*arguments, "--resume", folder=tmp_path, expect=3)
    require_printable(finished.stderr)
    assert f"{SHOWN}.state is not the state of such a run: " in one_error(finished)
    (tmp_path / f"{NAME}.state").unlink()
    (tmp_path / f"{NAME}.state").symlink_to("nowhere")
    assert f"Cannot write {SHOWN}.state: " in one_error(bnsharp(*arguments, folder=tmp_path, expect=2))


def test_copies_go_to_a_folder_of_such_a_name(tmp_path: Path, sample_path: Path, few_copies: None) -> None:
    shutil.copy(sample_path, tmp_path / f"{NAME}.pt")
    arguments = ("rescale-test", f"{NAME}.pt", *FAST, "--save-copies", NAME, "--plot", f"{NAME}.pdf")
    finished = bnsharp(*arguments, "--output", f"{NAME}.json", folder=tmp_path)
    require_printable(finished.stdout, finished.stderr)
    assert f" copies to {SHOWN}" in finished.stderr
    assert (tmp_path / f"{NAME}.pdf").stat().st_size > 1000
    assert all(load_checkpoint(path).metadata["architecture"] == "lenet-bn" for path in (tmp_path / NAME).iterdir())
    require_printable((tmp_path / f"{NAME}.json").read_text())


def test_an_experiment_is_kept_in_a_folder_of_such_a_name(tmp_path: Path) -> None:
    arguments = ("reproduce", "figure-1", "--only", "SGD", "--output", NAME)
    for _ in range(2):
        finished = bnsharp(*arguments, folder=tmp_path)
        require_printable(finished.stdout, finished.stderr)
        assert f"wrote {SHOWN}/results.jsonl and {SHOWN}/figure-1.png" in " ".join(finished.stdout.split())
    (tmp_path / NAME / "results.jsonl").write_text("[]\n")
    assert f"{SHOWN}/results.jsonl does not hold results" in one_error(bnsharp(*arguments, folder=tmp_path, expect=3))
