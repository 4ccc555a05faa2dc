"""Training in several processes: one network, one voice, and no bit lost when one of them dies."""

from __future__ import annotations

from pathlib import Path

import torch

from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from tests.cli.helpers import bnsharp
from tests.cli.launch import Launcher

NETWORK = """
import os, signal
import torch
from torch import nn

class Net(nn.Sequential):
    \"\"\"Leaves the weights that each process evaluates in a file, and dies in the training step that it is told.\"\"\"

    steps = 0

    def forward(self, images):
        rank = os.environ.get("RANK", "0")
        if not self.training:
            torch.save(self.state_dict(), f"weights.{rank}")
        self.steps += self.training
        if rank == os.environ.get("DIES") and self.steps == 20:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(images)

def plain():
    return Net(nn.Flatten(), nn.Linear(64, 20), nn.Tanh(), nn.Linear(20, 10))

def normalised():
    return Net(nn.Flatten(), nn.Linear(64, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Dropout(0.2), nn.Linear(20, 10))
"""
TRAIN = ("train", "--batch-size", 150, "--epochs", 4, "--learning-rate", 0.1, "--output", "run.pt")


def fresh(folder: Path) -> Path:
    folder.mkdir()
    (folder / "mine.py").write_text(NETWORK)
    return folder


def weights(folder: Path, name: str = "run.pt") -> dict[str, torch.Tensor]:
    return dict(load_checkpoint(folder / name).state_dict)


def test_both_processes_train_one_network_and_only_the_first_writes(tmp_path: Path, launch: Launcher) -> None:
    folder = fresh(tmp_path / "two")
    first, second = launch(2, *TRAIN, "--arch", "mine.py:normalised", "--augment", "flip", folder=folder)
    assert (first.code, second.code) == (0, 0), first.stderr
    assert first.stderr == "bnsharp: 36 gradients of 150 samples (4 epochs of 9 steps)\n"
    assert second.stdout + second.stderr == ""
    assert len(first.stdout.splitlines()) == 4
    written = weights(folder)
    for rank in (0, 1):
        own = torch.load(folder / f"weights.{rank}", weights_only=True)
        assert all(torch.equal(own[name], written[name]) for name in written), rank
    assert load_checkpoint(folder / "run.pt").metadata["training"]["processes"] == 2


def test_without_norms_two_processes_train_what_one_does(tmp_path: Path, launch: Launcher) -> None:
    """The mean of the halves' gradients is the batch's; with batch norm it is not, since each half has its own mean."""
    for name, same in (("plain", True), ("normalised", False)):
        folders = [fresh(tmp_path / f"{name}{count}") for count in (1, 2)]
        arguments = (*TRAIN, "--arch", f"mine.py:{name}", "--quiet")
        alone = bnsharp(*arguments, folder=folders[0])
        first, _ = launch(2, *arguments, folder=folders[1])
        assert first.code == 0, first.stderr
        ones, twos = map(weights, folders)
        close = all(torch.allclose(ones[key], twos[key], rtol=1e-3, atol=1e-5) for key in ones)
        assert close == same
        assert (first.stdout.splitlines()[1] == alone.stdout.splitlines()[1]) == same


def test_when_one_dies_the_run_goes_on_with_the_same_bits(tmp_path: Path, launch: Launcher) -> None:
    arguments = (*TRAIN, "--arch", "mine.py:normalised", "--nesterov", "--resume")
    whole, broken = (fresh(tmp_path / name) for name in ("whole", "broken"))
    assert launch(2, *arguments, folder=whole)[0].code == 0
    first, second = launch(2, *arguments, folder=broken, DIES="1")
    assert second.code == -9
    assert first.code == 4
    assert "lost the others" in first.stderr
    assert load_checkpoint(broken / "run.pt").metadata["training"]["epoch"] == 2
    first, second = launch(2, *arguments, folder=broken)
    assert (first.code, second.code) == (0, 0), first.stderr
    assert "after epoch 2" in first.stderr
    for name in ("run.pt", "run.best.pt", "run.state"):
        if name != "run.state":
            assert (broken / name).read_bytes() == (whole / name).read_bytes()
    alone = bnsharp(*arguments, folder=broken, expect=2)
    assert "number of processes 2 (now 1)" in alone.stderr
