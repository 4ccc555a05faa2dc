"""``bnsharp train``: seeded, atomic, and readable by the other commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from tests.cli.helpers import bnsharp, one_error

DIVERGING = """
import torch
calls = 0

def loss(outputs, targets):
    global calls
    calls += torch.is_grad_enabled()
    return torch.nn.functional.cross_entropy(outputs, targets) * (1 if calls <= 6 else float("nan"))
"""
NAMED = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.norm, self.output = nn.Linear(64, 32), nn.BatchNorm1d(32), nn.Linear(32, 10)

    def forward(self, images):
        return {"logits": self.output(self.norm(self.hidden(images.flatten(1))).relu())}
"""
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
    assert finished.stderr == "bnsharp: 66 gradients of 128 samples (6 epochs of 11 steps)\n"
    record = load_checkpoint(tmp_path / "net.pt").metadata
    assert record["architecture_options"] == {"in_channels": 1, "classes": 10, "image_size": 8}
    assert record["training"]["milestones"] == [4]
    assert record["training"]["test_accuracy"] > 0.9
    assert 0 < record["training"]["train_loss"] < record["training"]["test_loss"]
    finished = bnsharp("measure", "net.pt", "--samples", 256, "--quiet", folder=tmp_path)
    assert "226 scale-invariant blocks" in finished.stdout


def test_a_diverging_loss_is_exit_4_and_writes_nothing(tmp_path: Path) -> None:
    arguments = ("--epochs", 3, "--learning-rate", 1e30, "--output", "net.pt", "--quiet")
    finished = bnsharp(*RUN, *arguments, folder=tmp_path, expect=4)
    assert "training loss became" in one_error(finished)
    assert not list(tmp_path.iterdir())


def test_a_loss_that_diverges_later_keeps_the_last_good_epoch(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(DIVERGING)
    arguments = ("--batch-size", 718, "--loss", "mine.py:loss", "--epochs", 9, "--output", "net.pt", "--quiet")
    finished = bnsharp("train", *arguments, folder=tmp_path, expect=4)
    assert one_error(finished) == "bnsharp: The training loss became nan in epoch 3."
    remedy = "Lower --learning-rate in a new run with another --output; --resume keeps the options of the old one."
    assert finished.stderr.splitlines()[1].strip() == f"{remedy} net.pt holds epoch 2."
    assert load_checkpoint(tmp_path / "net.pt").metadata["training"]["epoch"] == 2
    assert len((tmp_path / "net.metrics.jsonl").read_text().splitlines()) == 2
    (tmp_path / "mine.py").write_text(f"{DIVERGING}\n")  # so that the function counts anew, as in another process
    again = bnsharp("train", *arguments, "--resume", folder=tmp_path, expect=4)
    assert "in epoch 5" in one_error(again)


def test_figures_of_each_epoch_and_the_best_of_them(tmp_path: Path) -> None:
    arguments = ("--epochs", 4, "--measure-every", 2, "--measure-samples", 512, "--schedule", "cosine")
    finished = bnsharp(*RUN, *arguments, "--output", "net.pt", folder=tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "net.metrics.jsonl").read_text().splitlines()]
    assert [line["gradients"] for line in lines] == [11, 22, 33, 44]
    assert [line["bn_sharpness"] is None for line in lines] == [True, False, True, False]
    best = max(lines, key=lambda line: (line["test_accuracy"], -line["test_loss"]))
    record = load_checkpoint(tmp_path / "net.best.pt").metadata["training"]
    assert (record["epoch"], record["test_loss"]) == (best["epoch"], best["test_loss"])
    assert f"in epoch {best['epoch']}: net.best.pt" in finished.stdout
    last = load_checkpoint(tmp_path / "net.pt").metadata["training"]
    assert (last["epoch"], last["test_accuracy"]) == (4, lines[-1]["test_accuracy"])
    measured = bnsharp("measure", "net.pt", "--samples", 512, "--json", folder=tmp_path)
    assert json.loads(measured.stdout)["measures"]["bn"]["value"] == lines[-1]["bn_sharpness"]


def test_measuring_and_the_display_change_no_bit(tmp_path: Path) -> None:
    for name, extra in (("a", ()), ("b", ("--measure-every", 1, "--measure-samples", 64, "--quiet"))):
        bnsharp(*RUN, "--epochs", 2, *extra, "--output", f"{name}.pt", folder=tmp_path)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


def test_data_that_does_not_fit_into_memory_trains_the_same_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, share in (("kept", 2**30), ("streamed", 1000)):
        monkeypatch.setattr("bnsharp_cli.workflows.training_setup.share_of_memory", lambda _, share=share: share)
        bnsharp(*RUN, "--epochs", 2, "--augment", "crop,flip", "--output", f"{name}.pt", folder=tmp_path)
    assert (tmp_path / "kept.pt").read_bytes() == (tmp_path / "streamed.pt").read_bytes()


def test_a_network_of_torchvisions_gets_the_datas_channels_classes_and_size(tmp_path: Path) -> None:
    arguments = ("--arch", "torchvision:shufflenet_v2_x0_5", "--data", "npz:data.npz", "--batch-size", 4, "--epochs", 1)
    generator = np.random.default_rng(0)
    x, y = generator.random((8, 1, 40, 48), np.float32), np.arange(8) % 2
    np.savez(tmp_path / "data.npz", x=x, y=y, x_test=x, y_test=y)
    bnsharp("train", *arguments, "--image-size", 64, "--output", "net.pt", folder=tmp_path)
    record = load_checkpoint(tmp_path / "net.pt").metadata
    assert record["architecture_options"] == {"in_channels": 1, "num_classes": 2}
    assert record["preprocessing"]["image_size"] == 64
    measured = bnsharp("measure", "net.pt", "--data", "npz:data.npz", "--batch-size", 4, "--json", folder=tmp_path)
    assert json.loads(measured.stdout)["measures"]["bn"]["value"] > 0


def test_a_network_that_answers_with_more_than_a_tensor_is_trained(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(NAMED)
    bnsharp(*RUN[:1], "--arch", "mine.py:Net", "--epochs", 1, "--output", "net.pt", folder=tmp_path)
    assert load_checkpoint(tmp_path / "net.pt").metadata["training"]["test_accuracy"] > 0.2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--rule", "adam"), "--rule: expected one of sgd"),
        (("--epochs", 0), "--epochs: expected at least 1, found 0"),
        (("--momentum", 1), "--momentum: expected a number in [0, 1), found 1."),
        (("--data", "nothing"), "Unknown data"),
        (("--schedule", "linear"), "--schedule: expected one of step, cosine"),
        (("--augment", "crop,turn"), "--augment: expected one of crop, flip, found 'turn'"),
        (("--amp", "bf16", "--device", "cpu"), "--amp needs a CUDA device"),
        (("--amp", "fp8"), "--amp: expected one of bf16, fp16"),
        (("--measure-every", -1), "--measure-every: expected at least 0, found -1."),
        (("--measure-samples", 1), "--measure-samples: expected at least 2, found 1."),
        (("--milestone", -3), "--milestone: expected epochs, counted from 0, found (-3,)"),
        (("--rule", "sgds", "--power", 3), "--power: expected an even number (Algorithm 1) from 2 to 1000, found 3"),
        (("--rule", "sgds", "--power", 4000), "--power: expected an even number (Algorithm 1) from 2 to 1000, found 4"),
        (("--arch", "timm:resnet18", "--arch-option", "num_classes=-3"), "--arch-option: expected num_classes from 1"),
        (("--arch", "torchvision:swin_t", "--arch-option", "num_classes=0"), "expected num_classes from 1 on, found"),
        (("--arch", "lenet-bn", "--arch-option", "in_channels=0"), "--arch-option: expected in_channels from 1 on"),
        (("--rule", "sgds", "--lambda", "nan"), "--lambda: expected a number from 0 on, found nan"),
        (("--rule", "sgds", "--search-steps", -1), "--search-steps: expected a number from 0 on, found -1"),
        (("--rule", "sgds", "--regulariser-gradient", "true"), "--regulariser-gradient: expected one of corrected"),
        (("--rule", "entropy-sgd", "--scope", "inf"), "--scope: expected a number from 0 on, found inf"),
        (("--rule", "sam", "--rho", "nan"), "--rho: expected a number from 0 on, found nan"),
        (("--output", "run.state"), "run.state would be two files of this run"),
    ],
)
def test_options_that_cannot_be_meant_exit_2(tmp_path: Path, arguments: tuple[object, ...], says: str) -> None:
    finished = bnsharp("train", "--output", "net.pt", *arguments, folder=tmp_path, expect=2)
    assert says in one_error(finished)
