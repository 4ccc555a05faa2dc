"""The commands with ``--device`` of the simulated device, against the same commands on the CPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.helpers import bnsharp
from tests.simulated.device import NAME, Simulation

SAMPLE = "sample:digits-small-batch"
FEW = ("--samples", 32, "--batch-size", 16, "--quiet")


def documents(folder: Path, *arguments: object) -> list[dict]:
    """What a command writes on the CPU and on the device."""
    each = (bnsharp(*arguments, *FEW, "--json", "--device", place, folder=folder) for place in ("cpu", NAME))
    return [json.loads(finished.stdout) for finished in each]


def plain(document: dict) -> dict:
    """Without what names the device and the time."""
    kept = {key: entry for key, entry in document.items() if key not in {"environment", "key"}}
    return {**kept, "cost": {**document["cost"], "seconds": 0}, "options": {**document["options"], "device": ""}}


@pytest.mark.parametrize(
    "arguments",
    [
        ("measure", SAMPLE, "--by", "layer", "--precision", "float32"),
        ("rescale-test", SAMPLE, "--precision", "float32", "--measure", "bn"),
        ("bound", SAMPLE, "--precision", "float32"),
        ("check", SAMPLE, "--min", "accuracy=50%", "--precision", "float32"),
        ("compare", SAMPLE, "sample:digits-large-batch", "--precision", "float32"),
    ],
    ids=lambda arguments: " ".join(arguments[:1]),
)
def test_documents_are_those_of_the_cpu(tmp_path: Path, simulation: Simulation, arguments: tuple[object, ...]) -> None:
    expected, found = documents(tmp_path, *arguments)
    assert plain(found) == plain(expected)
    assert found["environment"]["device"] != expected["environment"]["device"]


def test_train_measure_and_resume(tmp_path: Path, simulation: Simulation) -> None:
    shared = ("--data", "digits", "--samples", 64, "--batch-size", 32, "--quiet", "--device", NAME)
    bnsharp("train", *shared, "--epochs", 1, "--output", "run.pt", folder=tmp_path)
    bnsharp("train", *shared, "--epochs", 2, "--output", "run.pt", "--resume", folder=tmp_path)
    found = bnsharp("measure", "run.pt", *FEW, "--json", "--measure", "gradient-norm", folder=tmp_path)
    assert json.loads(found.stdout)["measures"]["gradient-norm"]["value"] > 0
