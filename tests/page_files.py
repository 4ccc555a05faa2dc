"""What the pages take for granted: checkpoints and images in the working directory, and names in a Python session."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torchvision
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tests.documents import COMMANDS, ROOT, options_of
from tests.pages import OPTIONS

IMAGES = 80
"""In each split, so few that every command of a page is quick."""

FEW = {
    "samples": 64,
    "batch-size": 32,
}
"""What the commands of the pages take for their defaults, so that they are quick; not where an output is shown."""

FEWER = {
    "figure": {"evaluations": 82},
    "rescale-test": {"noise-draws": 2, "sigma-draws": 2, "hessian-probes": 2, "ball-samples": 2},
}
CONFTEST = """
import pytest
from tests.page_files import given_names

@pytest.fixture
def model():
    return given_names()["model"]

@pytest.fixture
def batches():
    return given_names()["batches"]

old_model = model
"""
"""The fixtures of the reader's own tests."""


def template(folder: Path) -> Path:
    """A folder with every file that some page names."""
    folder.mkdir(parents=True)
    samples = ROOT / "sample_checkpoints"
    for name in ("model", "small-batch", "run.epoch1", "run.epoch2", "run-10", "run"):
        shutil.copy(samples / "digits-small-batch.pt", folder / f"{name}.pt")
    for name in ("large-batch", "run.epoch10", "run-30"):
        shutil.copy(samples / "digits-large-batch.pt", folder / f"{name}.pt")
    shutil.copy(samples / "digits-small-batch-decay.pt", folder / "run-20.pt")
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18(num_classes=10).state_dict(), folder / "resnet18.pt")
    for run, names in {"runs": ("first", "second"), "run": ("epoch1", "epoch2")}.items():
        (folder / run).mkdir()
        for name in names:
            shutil.copy(samples / "digits-small-batch.pt", folder / run / f"{name}.pt")
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / OPTIONS).write_text(
        "\n".join(_table(command) for command in COMMANDS if options_of(command) >= {"--samples", "--batch-size"})
    )
    pixels, labels = load_digits(return_X_y=True)
    for number, (image, label) in enumerate(zip(pixels[: 2 * IMAGES], labels, strict=False)):
        place = folder / "images" / ("train" if number < IMAGES else "test") / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image.reshape(8, 8) * 15.9375).astype("uint8")).save(place / f"{number}.png")
    return folder


def _table(command: str) -> str:
    options = {**FEW, **FEWER.get(command, {})}
    return "\n".join([f"[{command}]", *(f"{name} = {value}" for name, value in options.items())])


def given_names() -> dict[str, Any]:
    """A small network, its data and its loss, as a reader has them in a session of Python."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4))
    data = TensorDataset(torch.randn(16, 3, 8, 8, generator=generator), torch.arange(16) % 4)
    loader = DataLoader(data, batch_size=8)
    return {
        "torch": torch,
        "model": model,
        "loader": loader,
        "batches": [*loader],
        "criterion": nn.CrossEntropyLoss(),
        "device": "cpu",
        "epochs": 1,
        "Trainer": SimpleNamespace,
    }
