"""--loss: other criteria than cross entropy, and targets that are no class of an image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from bnsharp_cli.io.networks.factories import import_factory
from tests.cli.helpers import bnsharp, one_error

SAMPLE = "sample:digits-small-batch"
FAST = ("--samples", 64, "--batch-size", 32, "--quiet")
NETWORKS = """
import torch
from torch import nn

class Dense(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Conv2d(4, 5, 1)
        self.aux = nn.Conv2d(4, 5, 1)
        self.answer = answer

    def forward(self, x):
        hidden = self.body(x)
        return self.answer({"aux": self.aux(hidden), "out": self.head(hidden)})

class Answer:
    def __init__(self, outputs):
        self.logits = outputs["out"]

def segmentation(): return Dense(lambda outputs: outputs)
def plain(): return Dense(lambda outputs: outputs["out"])
def logits(): return Dense(Answer)
def strange(): return Dense(lambda outputs: {"one": outputs["aux"], "two": outputs["out"]})
def regression():
    return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(784, 2))
"""
LOSSES = """
import torch
from torch.nn import functional
def both(outputs, y): return functional.cross_entropy(outputs["out"], y) + functional.cross_entropy(outputs["aux"], y)
def each(outputs, y): return functional.cross_entropy(outputs, y, reduction="none")
def hits(outputs, y): return (outputs.argmax(1) == y).double().mean()
def number(outputs, y): return 1.0
def random(outputs, y): return functional.cross_entropy(outputs, y) * torch.rand(())
def endless(outputs, y): return functional.cross_entropy(outputs, y) + float("inf")
def wrong(outputs, y): raise KeyError("out")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Networks, losses, and data for each."""
    (tmp_path / "nets.py").write_text(NETWORKS)
    (tmp_path / "losses.py").write_text(LOSSES)
    draw = np.random.default_rng(0)
    x = draw.random((8, 3, 16, 16), dtype=np.float32)
    y = draw.integers(0, 5, (8, 16, 16))
    y[0, :4] = -100
    np.savez(tmp_path / "masks.npz", x=x, y=y)
    np.savez(tmp_path / "numbers.npz", x=x, y=draw.random((8, 2)))
    for name in ("segmentation", "regression"):
        torch.manual_seed(0)
        save_checkpoint(tmp_path / f"{name}.pt", network(tmp_path, name).state_dict())
    return tmp_path


def network(folder: Path, name: str) -> torch.nn.Module:
    return import_factory("arch", f"{folder / 'nets.py'}:{name}")()


def measured(folder: Path, *arguments: object) -> dict[str, object]:
    finished = bnsharp("measure", *arguments, "--batch-size", 4, "--quiet", "--json", folder=folder)
    return json.loads(finished.stdout)


def batches(folder: Path, name: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The same that the command draws."""
    arrays = np.load(folder / name)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    x, y = (torch.from_numpy(arrays[key])[order] for key in ("x", "y"))
    return [(x[:4], y[:4]), (x[4:], y[4:])]


@pytest.mark.parametrize("name", ["segmentation", "plain", "logits"])
def test_segmentation_counts_pixels(folder: Path, name: str) -> None:
    result = measured(folder, "segmentation.pt", "--arch", f"nets.py:{name}", "--data", "npz:masks.npz")
    module = network(folder, "plain").eval()
    module.load_state_dict(load_checkpoint(folder / "segmentation.pt").state_dict)
    module.body[1].train()
    losses, right, counted = [], 0, 0
    for x, y in batches(folder, "masks.npz"):
        outputs = module(x).detach().double()
        losses.append(float(functional.cross_entropy(outputs, y)))
        right += int((outputs.argmax(1) == y).sum())
        counted += int((y >= 0).sum())
    assert result["loss"] == pytest.approx(sum(losses) / 2, rel=1e-6)
    assert result["accuracy"] == pytest.approx(right / counted)
    assert counted == 8 * 256 - 64
    assert result["options"]["loss"] == "cross-entropy"
    assert result["blocks"]["invariant"] == 4


def test_regression_is_measured_as_by_torch_and_has_no_accuracy(folder: Path) -> None:
    arguments = ("regression.pt", "--arch", "nets.py:regression", "--data", "npz:numbers.npz")
    result = measured(folder, *arguments, "--loss", "mse")
    module = network(folder, "regression")
    module.load_state_dict(load_checkpoint(folder / "regression.pt").state_dict)
    data = batches(folder, "numbers.npz")
    expected = bnsharp_cli.measure(module, data, functional.mse_loss)
    assert result["measures"]["bn"]["value"] == pytest.approx(expected.value, rel=1e-9)
    assert result["accuracy"] is None
    assert result["options"]["loss"] == "mse"
    for spec in ("torch.nn.functional:mse_loss", "torch.nn:MSELoss"):
        other = measured(folder, *arguments, "--loss", spec)
        assert other["measures"]["bn"]["value"] == result["measures"]["bn"]["value"]
        assert other["options"]["loss"] == spec
    finished = bnsharp("measure", *arguments, "--loss", "mse", "--batch-size", 4, folder=folder)
    assert "mse 0." in finished.stdout
    assert "accuracy" not in finished.stdout


def test_a_function_of_the_users_takes_all_that_the_network_returns(folder: Path) -> None:
    arguments = ("--arch", "nets.py:segmentation", "--data", "npz:masks.npz", "--loss", "losses.py:both")
    both = measured(folder, "segmentation.pt", *arguments)
    out = measured(folder, "segmentation.pt", *arguments[:-1], "cross-entropy")
    assert both["loss"] > out["loss"]
    assert both["accuracy"] == out["accuracy"]
    for command in ("check", "rescale-test"):
        untrained = ("--skip", "buffers") if command == "check" else ()
        finished = bnsharp(
            command, "segmentation.pt", *arguments, *untrained, "--batch-size", 4, "--quiet", "--json", folder=folder
        )
        assert json.loads(finished.stdout)["options"]["loss"] == "losses.py:both"


@pytest.mark.parametrize(
    ("loss", "code", "says"),
    [
        ("each", 2, "The criterion 'losses.py:each' returned a tensor of shape (32,), expected a floating scalar"),
        ("number", 2, "The criterion 'losses.py:number' returned a float, expected a floating scalar"),
        ("hits", 2, "The criterion 'losses.py:hits' is not differentiable"),
        ("random", 2, "The criterion 'losses.py:random' gives two losses for the same outputs"),
        ("endless", 4, "The loss of batch 1 is inf, though"),
        ("wrong", 4, "The criterion 'losses.py:wrong' failed: KeyError: 'out'"),
        ("nothing", 2, "Cannot import 'losses.py:nothing'"),
    ],
)
def test_functions_that_are_no_loss(folder: Path, loss: str, code: int, says: str) -> None:
    finished = bnsharp("measure", SAMPLE, "--loss", f"losses.py:{loss}", *FAST, folder=folder, expect=code)
    assert says in one_error(finished)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((SAMPLE, "--loss", "hinge"), 2, "--loss: expected cross-entropy, mse, token-cross-entropy, package"),
        ((SAMPLE, "--loss", "mse"), 3, "digits: The labels are of shape (N), expected (N, 10)"),
        (
            ("regression.pt", "--arch", "nets.py:regression", "--data", "npz:numbers.npz", "--batch-size", 4),
            3,
            "npz:numbers.npz: The labels are float64 and no probabilities of 2 classes",
        ),
        (
            ("segmentation.pt", "--arch", "nets.py:strange", "--data", "npz:masks.npz", "--batch-size", 4),
            2,
            "no logits and no out: one (2, 5, 16, 16), two (2, 5, 16, 16)",
        ),
    ],
)
def test_losses_that_do_not_fit(folder: Path, arguments: tuple[object, ...], code: int, says: str) -> None:
    finished = bnsharp("measure", *arguments, "--quiet", folder=folder, expect=code)
    assert says in one_error(finished)


def test_a_network_trained_with_mse_is_measured_with_it(folder: Path) -> None:
    arrays = dict(np.load(folder / "numbers.npz"))
    np.savez(folder / "numbers.npz", **arrays, x_test=arrays["x"], y_test=arrays["y"])
    arguments = ("--data", "npz:numbers.npz", "--loss", "mse", "--epochs", 2, "--batch-size", 4, "--quiet")
    trained = bnsharp("train", "--output", "net.pt", *arguments, folder=folder)
    assert "accuracy" not in trained.stdout
    metadata = load_checkpoint(folder / "net.pt").metadata
    assert metadata["training"]["loss"] == "mse"
    assert metadata["architecture_options"]["classes"] == 2
    result = measured(folder, "net.pt", "--data", "npz:numbers.npz")
    assert result["options"]["loss"] == "mse"
    assert result["accuracy"] is None


@pytest.mark.parametrize("loss", ["evil.py:loss", ["mse"], {"mse": 1}])
def test_a_checkpoint_cannot_name_code_to_import(folder: Path, sample_path: Path, loss: object) -> None:
    sample = load_checkpoint(sample_path)
    (folder / "evil.py").write_text("from pathlib import Path\nPath('executed').touch()\n")
    save_checkpoint(folder / "net.pt", sample.state_dict, **{**sample.metadata, "training": {"loss": loss}})
    finished = bnsharp("measure", "net.pt", *FAST, folder=folder, expect=2)
    assert f"trained with the loss '{loss}', which is code of yours" in one_error(finished)
    assert not (folder / "executed").exists()
    assert json.loads(bnsharp("measure", "net.pt", "--loss", "cross-entropy", "--json", *FAST, folder=folder).stdout)
