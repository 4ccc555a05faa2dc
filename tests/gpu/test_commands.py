"""The commands with --device of a GPU, against the same commands on the CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.helpers import bnsharp
from tests.gpu.device import DEVICE, ON_A_GPU

pytestmark = ON_A_GPU

SAMPLE = "sample:digits-small-batch"
CUT_OFF = 1e-6
"""Of Keskar's sharpness: its search stops after ten iterations, where its value still rises.

Two numbers of threads on a CPU differ by 2e-8 of it.
"""
FEW = ("--samples", 256, "--batch-size", 128, "--quiet")


def measured(folder: Path, device: object, *arguments: object) -> dict[str, Any]:
    found = bnsharp("measure", SAMPLE, *FEW, "--json", "--device", device, *arguments, folder=folder)
    return dict(json.loads(found.stdout))


@pytest.mark.parametrize("measure", ["bn", "all"])
def test_measure(tmp_path: Path, measure: str) -> None:
    arguments = ("--measure", measure, "--precision", "float64", "--delta", 1e-2)
    expected, found = (measured(tmp_path, device, *arguments) for device in ("cpu", DEVICE))
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-12)
    assert found["accuracy"] == expected["accuracy"]
    assert found["measures"].keys() == expected["measures"].keys()
    for name, entry in found["measures"].items():
        tolerance = CUT_OFF if name == "keskar" else 1e-7
        assert entry["value"] == pytest.approx(expected["measures"][name]["value"], rel=tolerance)


def test_check(tmp_path: Path) -> None:
    arguments = ("--device", DEVICE, "--max", "loss=0.1", "--min", "accuracy=90%", "--max", "noise=4.5")
    assert bnsharp("check", SAMPLE, *FEW, *arguments, folder=tmp_path).stdout.splitlines()[-1].startswith("PASSED")
    failing = bnsharp("check", SAMPLE, *FEW, "--device", DEVICE, "--max", "bn=1e-6", folder=tmp_path, expect=1)
    assert failing.stdout.splitlines()[-1] == "FAILED: bn"


def test_train_measure_and_resume(tmp_path: Path) -> None:
    shared = ("--data", "digits", "--batch-size", 256, "--device", DEVICE, "--quiet", "--output", "run.pt")
    bnsharp("train", *shared, "--epochs", 2, folder=tmp_path)
    bnsharp("train", *shared, "--epochs", 2, "--resume", folder=tmp_path)
    found = bnsharp("measure", "run.pt", *FEW, "--json", "--device", DEVICE, folder=tmp_path)
    assert json.loads(found.stdout)["accuracy"] > 0.5
