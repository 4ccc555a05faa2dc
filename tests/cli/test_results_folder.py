"""``measure --results``: what was measured is not measured again, and only what is the same counts as measured."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

import bnsharp_cli
from bnsharp_cli.models import lenet_bn
from tests.cli.helpers import bnsharp, one_error

FAST = ("--samples", 64, "--batch-size", 16, "--results", "kept")
SLOW = ("--measure", "bn", "--measure", "noise")
NETWORK = "from bnsharp_cli.models import lenet_bn\ndef net():\n    return lenet_bn(1, 10, 8)\n"
NO_PASS = "no pass: measured before, and kept in"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    torch.save(lenet_bn(1, 10, 8).state_dict(), tmp_path / "run.pt")
    images(tmp_path, seed=0)
    (tmp_path / "mine.py").write_text(NETWORK)
    return tmp_path


def images(folder: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 255, (96, 1, 8, 8), dtype=np.uint8)
    np.savez(folder / "data.npz", x=pixels, y=generator.integers(0, 10, 96))


def measured(folder: Path, *more: str | int | float) -> str:
    arguments = ("measure", "run.pt", "--arch", "mine.py:net", "--data", "npz:data.npz", *FAST, *more)
    finished = bnsharp(*arguments, folder=folder)
    return re.sub(r"[^ ]*F \+ [^ ]*B in .* s\n", "", finished.stdout)


def test_the_same_command_again_takes_no_pass_and_says_the_same(folder: Path) -> None:
    first = measured(folder)
    (kept,) = (folder / "kept").iterdir()
    before = kept.read_bytes()
    again = measured(folder)
    assert NO_PASS in again
    assert NO_PASS not in first
    assert again.startswith(first.rstrip())
    assert kept.read_bytes() == before
    finished = bnsharp(
        *("measure", "run.pt", "--arch", "mine.py:net", "--data", "npz:data.npz", *FAST, "--json"), folder=folder
    )
    assert json.loads(finished.stdout) == json.loads(before)


def change_weights(folder: Path) -> None:
    torch.manual_seed(1)
    torch.save(lenet_bn(1, 10, 8).state_dict(), folder / "run.pt")


def change_code(folder: Path) -> None:
    (folder / "mine.py").write_text((folder / "mine.py").read_text() + "# another network, for all that is known\n")


@pytest.mark.parametrize(
    "change", [change_weights, lambda folder: images(folder, 1), change_code], ids=["weights", "data", "code"]
)
def test_other_weights_data_or_code_are_measured(folder: Path, change: Callable[[Path], None]) -> None:
    measured(folder)
    change(folder)
    assert NO_PASS not in measured(folder)
    assert len([*(folder / "kept").iterdir()]) == 2


@pytest.mark.parametrize(
    "more",
    [("--seed", 1), ("--delta", 0.01), ("--bn", "running"), ("--measure", "keskar"), ("--partition", "filter")],
    ids=lambda more: more[0],
)
def test_other_options_are_measured(folder: Path, more: tuple[str, str | int | float]) -> None:
    measured(folder)
    assert NO_PASS not in measured(folder, *more)
    assert NO_PASS in measured(folder, *more)


def test_a_file_that_holds_something_else_is_told_and_written_over(folder: Path) -> None:
    measured(folder)
    (kept,) = (folder / "kept").iterdir()
    for text, says in (("{", "cannot be used"), (kept.read_text().replace(stem(kept), "0" * 16), "another result")):
        kept.write_text(text)
        finished = bnsharp(
            *("measure", "run.pt", "--arch", "mine.py:net", "--data", "npz:data.npz", *FAST), folder=folder
        )
        assert says in finished.stderr
        assert NO_PASS not in finished.stdout
    assert NO_PASS in measured(folder)


def stem(kept: Path) -> str:
    """The digits of the key in the name of the file."""
    return kept.stem[-16:]


def test_a_link_instead_of_the_folder_is_refused_before_anything_is_measured(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    (folder / "kept").symlink_to("elsewhere")
    finished = bnsharp("measure", "sample:digits-small-batch", *FAST, folder=folder, expect=2)
    assert one_error(finished).startswith("bnsharp: Cannot write to kept: it is a link.")


def test_what_was_interrupted_goes_on_where_it_stopped(folder: Path) -> None:
    samples = ("sample:digits-small-batch", "sample:digits-large-batch")
    bnsharp("measure", samples[0], *FAST, folder=folder)
    finished = bnsharp("measure", *samples, *FAST, folder=folder)
    assert finished.stdout.count(NO_PASS) == 1
    assert len([*(folder / "kept").iterdir()]) == 2


def test_what_ctrl_c_ended_goes_on_and_says_so(folder: Path) -> None:
    """The command is interrupted as soon as it has kept its first result of several."""
    names = [f"run{number}.pt" for number in range(4)]
    for number, name in enumerate(names):
        torch.manual_seed(number)
        torch.save(lenet_bn(1, 10, 8).state_dict(), folder / name)
    arguments = ("measure", *names, "--arch", "mine.py:net", "--data", "npz:data.npz", *FAST, *SLOW)
    code, stderr = interrupted(folder, arguments)
    kept = len([*(folder / "kept").iterdir()])
    assert code == 130
    assert "Interrupted.\n" in stderr
    assert "Nothing was half-written. The same command goes on with the results in kept.\n" in stderr
    assert 1 <= kept < len(names)
    again = bnsharp(*arguments, folder=folder).stdout
    assert again.count(NO_PASS) == kept
    assert len([*(folder / "kept").iterdir()]) == len(names)
    fresh = bnsharp(*arguments, "--results", "fresh", folder=folder).stdout
    assert again[again.index("\nnetwork") :] == fresh[fresh.index("\nnetwork") :]


def interrupted(folder: Path, arguments: Sequence[object]) -> tuple[int, str]:
    """The exit code and what was said on stderr."""
    command = [sys.executable, "-P", "-m", "bnsharp_cli", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(Path(bnsharp_cli.__file__).parents[1])}
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and not [*folder.glob("kept/*.json")]:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    return process.returncode, said
