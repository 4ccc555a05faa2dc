"""``bnsharp train``: seeded, atomic, and readable by the other commands."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bnsharp_cli.io.checkpoint import load_checkpoint
from tests.cli.helpers import bnsharp, one_error

RUN = ("train", "--arch", "lenet-bn", "--data", "digits", "--rule", "sgd", "--batch-size", 128)


def test_the_same_seed_gives_the_same_network_and_another_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        bnsharp(*RUN, "--epochs", 2, "--seed", seed, "--output", f"{name}.pt", folder=tmp_path)
    a, b, c = (load_checkpoint(tmp_path / f"{name}.pt").state_dict for name in "abc")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["conv1.weight"], c["conv1.weight"])


def test_the_record_says_how_it_was_made_and_it_learned(tmp_path: Path) -> None:
    arguments = ("--epochs", 6, "--weight-decay", 5e-4, "--milestone", 4, "--nesterov", "--output", "net.pt")
    finished = bnsharp(*RUN, *arguments, folder=tmp_path)
    assert "test   loss" in finished.stdout
    assert finished.stderr == ""
    record = load_checkpoint(tmp_path / "net.pt").metadata
    assert record["architecture_options"] == {"in_channels": 1, "classes": 10, "image_size": 8}
    assert record["training"]["milestones"] == [4]
    assert record["training"]["test_accuracy"] > 0.9
    assert 0 < record["training"]["train_loss"] < record["training"]["test_loss"]
    finished = bnsharp("measure", "net.pt", "--samples", 256, "--quiet", folder=tmp_path)
    assert "226 scale-invariant blocks" in finished.stdout


def test_a_diverging_loss_is_exit_4_and_writes_nothing(tmp_path: Path) -> None:
    finished = bnsharp(*RUN, "--epochs", 3, "--learning-rate", 1e30, "--output", "net.pt", folder=tmp_path, expect=4)
    assert "training loss became" in one_error(finished)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--rule", "adam"), "--rule: expected one of sgd"),
        (("--epochs", 0), "--epochs: 0 is out of range"),
        (("--momentum", 1), "--momentum: 1.0 is out of range"),
        (("--data", "nothing"), "Unknown data"),
    ],
)
def test_options_that_cannot_be_meant_exit_2(tmp_path: Path, arguments: tuple[object, ...], says: str) -> None:
    finished = bnsharp("train", "--output", "net.pt", *arguments, folder=tmp_path, expect=2)
    assert says in one_error(finished)
