"""What ``train`` finds under its output's name is never lost unasked; more epochs extend a run; its data is found."""

from __future__ import annotations

import math
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from bnsharp_cli.io.data.recorded_data import recorded_data
from tests.cli.helpers import bnsharp, one_error
from tests.cli.test_resume import BATCHES, fresh

RUN = ("train", "--arch", "mine.py:net", *BATCHES, "--output", "run.pt")
FILES = ("run.pt", "run.best.pt", "run.metrics.jsonl", "run.state")


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES if (folder / name).exists()}


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    folder = fresh(tmp_path / "run")
    bnsharp(*RUN, "--epochs", 2, folder=folder)
    return folder


def test_a_finished_run_is_replaced_only_where_that_is_asked_for(finished: Path) -> None:
    before = contents(finished)
    refused = bnsharp(*RUN, "--epochs", 2, "--seed", 1, folder=finished, expect=2)
    assert "run.state holds a run of which 2 of 2 epochs are done." in one_error(refused)
    assert "Add --resume and more --epochs to extend it, --overwrite to start anew" in refused.stderr
    assert contents(finished) == before
    bnsharp(*RUN, "--epochs", 1, "--seed", 1, "--overwrite", folder=finished)
    assert load_checkpoint(finished / "run.pt").metadata["training"]["seed"] == 1


@pytest.mark.parametrize("resume", [(), ("--resume",)], ids=["anew", "resume"])
@pytest.mark.parametrize("gone", [("run.state",), ("run.state", "run.metrics.jsonl")], ids=len)
def test_a_network_whose_state_is_gone_is_not_lost(finished: Path, gone: tuple[str], resume: tuple[str]) -> None:
    for name in gone:
        (finished / name).unlink()
    before = contents(finished)
    refused = bnsharp(*RUN, *resume, "--epochs", 2, folder=finished, expect=2)
    assert "run.pt is there already" in one_error(refused)
    assert contents(finished) == before
    bnsharp(*RUN, "--overwrite", "--epochs", 1, folder=finished)


def test_resume_and_overwrite_exclude_each_other(tmp_path: Path) -> None:
    refused = bnsharp(*RUN, "--resume", "--overwrite", folder=fresh(tmp_path / "run"), expect=2)
    assert "--overwrite loses the run that --resume goes on with" in one_error(refused)


def test_an_extended_run_is_the_longer_one(finished: Path, tmp_path: Path) -> None:
    """With a schedule that looks at the epoch alone, bit for bit."""
    longer = ("--epochs", 4)
    extended = bnsharp(*RUN, *longer, "--resume", folder=finished)
    assert "the run is extended from 2 to 4 epochs, as if it had been begun with 4" in extended.stderr
    bnsharp(*RUN, *longer, folder=fresh(tmp_path / "whole"))
    weights, whole = (load_checkpoint(folder / "run.pt").state_dict for folder in (finished, tmp_path / "whole"))
    assert all(torch.equal(weights[name], whole[name]) for name in whole)
    again = bnsharp(*RUN, *longer, "--resume", folder=finished)
    assert "extended" not in again.stderr


def test_an_extended_cosine_says_what_the_learning_rate_does(tmp_path: Path) -> None:
    folder = fresh(tmp_path / "run")
    cosine = (*RUN, "--schedule", "cosine", "--learning-rate", 0.08)
    bnsharp(*cosine, "--epochs", 2, folder=folder)
    said = " ".join(bnsharp(*cosine, "--epochs", 3, "--resume", folder=folder).stderr.split())
    now, last = (0.04 * (1 + math.cos(math.pi * epoch)) for epoch in (2 / 3, 1 / 2))
    assert f"epoch 3 has the learning rate {now:.3g}, after {last:.3g} in epoch 2, because schedule cosine" in said
    bnsharp(*cosine, "--epochs", 5, "--resume", folder=folder)
    assert len((folder / "run.metrics.jsonl").read_text().splitlines()) == 5


def test_fewer_epochs_are_another_run(finished: Path) -> None:
    refused = bnsharp(*RUN, "--epochs", 1, "--resume", folder=finished, expect=2)
    assert "--epochs 2 (now 1)" in one_error(refused)


MEASURE = ("measure", "--samples", 64, "--batch-size", 32)


def test_a_measurement_finds_the_data_of_training(finished: Path) -> None:
    found = bnsharp(*MEASURE, "run.pt", "--arch", "mine.py:net", folder=finished)
    assert "bnsharp: data: npz:data.npz, as run.pt records it; --data names other data" in found.stderr
    assert "64 samples of npz:data.npz" in found.stdout
    (finished / "elsewhere").mkdir()
    found = bnsharp(*MEASURE, "../run.pt", "--arch", "../mine.py:net", "--quiet", folder=finished / "elsewhere")
    assert "64 samples of" in found.stdout


def test_data_elsewhere_is_named_by_a_remedy_that_works(finished: Path, tmp_path: Path) -> None:
    """A stranger's checkpoint cannot make a measurement read what the user does not work on."""
    (tmp_path / "their data").mkdir()
    shutil.move(finished / "data.npz", tmp_path / "their data/data.npz")
    elsewhere = [{"npz:data.npz": "npz:../their data/data.npz"}.get(word, word) for word in map(str, RUN)]
    bnsharp(*elsewhere, "--epochs", 1, "--overwrite", folder=finished)
    refused = bnsharp(*MEASURE, "run.pt", "--arch", "mine.py:net", folder=finished, expect=2)
    assert "outside the working directory and its own folder" in one_error(refused)
    option, spec = shlex.split(refused.stderr.split("If you trust it, add ")[1].removesuffix(".\n"))
    measured = bnsharp(*MEASURE, "run.pt", "--arch", "mine.py:net", option, spec, folder=finished)
    assert "64 samples of npz:" in " ".join(measured.stdout.split())


@pytest.mark.parametrize(
    "entry",
    [
        None,
        {},
        [],
        {"data": 3},
        {"data": "evil.py:steal"},
        {"data": "os:system"},
        {"data": "npz:a\0b"},
        {"data": "npz:\ud800"},
        {"data": "mnist", "data_root": "\udfff"},
        {"data": "cifar10"},
        {"data": "folder:" + "a/" * 3000},
        {"data": "digits", "data_root": 7},
    ],
)
def test_what_no_training_recorded_is_not_followed(entry: object, tmp_path: Path) -> None:
    assert recorded_data({"data_source": entry}, tmp_path / "net.pt") is None


@pytest.mark.parametrize("path", ["/proc", "../../../../../../..", "/", ".", "link", "gone"])
def test_a_path_is_followed_into_the_own_folder_alone(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to("/usr")
    monkeypatch.chdir(tmp_path / "mine")
    found = recorded_data({"data_source": {"data": f"folder:{path}"}}, tmp_path / "net.pt")
    assert found is None or not found.usable


def test_no_function_that_a_checkpoint_names_is_called(tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text("open('called', 'w')")
    (tmp_path / "mine.py").write_text("from torch import nn\n\ndef net():\n    return nn.Linear(64, 10)\n")
    weights = {"weight": torch.ones(10, 64), "bias": torch.zeros(10)}
    recorded = {"data": "evil.py", "data_source": {"data": "evil.py:steal"}}
    save_checkpoint(tmp_path / "net.pt", weights, **recorded)
    refused = bnsharp("measure", "net.pt", "--arch", "mine.py:net", folder=tmp_path, expect=2)
    assert "net.pt needs data to be measured on (it was trained on 'evil.py' data)" in one_error(refused)
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize("command", [("measure",), ("check",), ("bound", "--kl", 5), ("rescale-test",)])
def test_data_that_only_the_checkpoint_names_is_not_written_over(tmp_path: Path, command: tuple[object, ...]) -> None:
    generator = np.random.default_rng(0)
    images, labels = generator.random((64, 1, 8, 8), dtype=np.float32), np.arange(64) % 10
    np.savez(tmp_path / "data.npz", x=images, y=labels, x_test=images, y_test=labels)
    before = (tmp_path / "data.npz").read_bytes()
    few = ("--batch-size", 32)
    bnsharp("train", "--data", "npz:data.npz", *few, "--epochs", 1, "--output", "run.pt", folder=tmp_path)
    name, *more = command
    for output in ("data.npz", "./data.npz"):
        finished = bnsharp(name, "run.pt", *more, *few, "--output", output, "--quiet", folder=tmp_path, expect=2)
        assert "data.npz: this command reads it" in one_error(finished)
    assert (tmp_path / "data.npz").read_bytes() == before
