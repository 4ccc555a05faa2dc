"""The commands with ``--device`` of the simulated device, against the same commands on the CPU."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.helpers import bnsharp
from tests.simulated.backend import NAME
from tests.simulated.device import Simulation

SAMPLE = "sample:digits-small-batch"
FEW = ("--samples", 32, "--batch-size", 16, "--quiet")


def documents(folder: Path, *arguments: object) -> list[dict]:
    """What a command writes on the CPU and on the device."""
    each = (bnsharp(*arguments, *FEW, "--json", "--device", place, folder=folder) for place in ("cpu", NAME))
    return [json.loads(finished.stdout) for finished in each]


def plain(document: dict) -> dict:
    """Without what names the device and the time."""
    options = {**document.get("options", {}), "device": ""}
    kept = {key: entry for key, entry in document.items() if key not in {"environment", "key", "networks"}}
    return {**kept, "cost": {**document["cost"], "seconds": 0}, "options": options}


LONG = pytest.mark.slow(
    reason="many operations, each of which runs through Python",
    quick="tests/simulated/test_commands.py::test_documents_are_those_of_the_cpu",
)


@pytest.mark.parametrize(
    "arguments",
    [
        ("measure", SAMPLE, "--by", "layer", "--precision", "float32"),
        ("bound", SAMPLE, "--kl", 1.0, "--precision", "float32"),
        pytest.param(("check", SAMPLE, "--min", "accuracy=50%", "--precision", "float32"), marks=LONG),
        pytest.param(("compare", SAMPLE, "sample:digits-large-batch", "--precision", "float32"), marks=LONG),
    ],
    ids=lambda arguments: str(arguments[0]),
)
def test_documents_are_those_of_the_cpu(tmp_path: Path, simulation: Simulation, arguments: tuple[object, ...]) -> None:
    expected, found = documents(tmp_path, *arguments)
    assert plain(found) == plain(expected)


def test_train_measure_and_resume(tmp_path: Path, simulation: Simulation) -> None:
    shared = ("--data", "npz:few.npz", "--batch-size", 16, "--quiet", "--device", NAME)
    images = np.random.default_rng(0).random((32, 1, 8, 8), dtype=np.float32)
    labels = np.arange(32) % 10
    np.savez(tmp_path / "few.npz", x=images, y=labels, x_test=images, y_test=labels)
    bnsharp("train", *shared, "--epochs", 1, "--output", "run.pt", folder=tmp_path)
    bnsharp("train", *shared, "--epochs", 2, "--output", "run.pt", "--resume", folder=tmp_path)
    found = bnsharp(
        "measure", "run.pt", *FEW, "--json", "--data", "npz:few.npz", "--measure", "gradient-norm", folder=tmp_path
    )
    assert json.loads(found.stdout)["measures"]["gradient-norm"]["value"] > 0
