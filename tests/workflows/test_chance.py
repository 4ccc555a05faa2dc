"""The warning of an accuracy near chance: on a sample whose labels are moved, and by simulated guessing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bnsharp_cli.io.data.open_data import open_data
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.workflows.chance import near_chance, suspicion
from bnsharp_cli.workflows.open_network import open_network
from bnsharp_cli.workflows.options import CheckpointSource, Data
from tests.workflows.helpers import Remembered

SAMPLE = Path("sample:digits-small-batch")


@pytest.mark.parametrize(("shift", "split", "warned"), [(1, "train", True), (0, "train", False), (1, "test", False)])
def test_labels_that_are_numbered_otherwise_are_warned_of(tmp_path: Path, shift: int, split: str, warned: bool) -> None:
    x, y = open_data("digits").load(torch.arange(200), Preprocessing())
    moved = ((y + shift) % 10).numpy()
    np.savez(tmp_path / "moved.npz", x=x.numpy(), y=moved, x_test=x.numpy(), y_test=moved)
    reporter = Remembered()
    data = Data(data=f"npz:{tmp_path / 'moved.npz'}", samples=200, batch_size=100)
    data = replace(data, split="train" if split == "train" else "test")
    network = open_network(SAMPLE, CheckpointSource(), data, MeasureOptions(), torch.device("cpu"), reporter)
    said = [notice for notice in reporter.notices if "near chance (10.00% for 10 classes)" in notice]
    assert bool(said) == bool(network.warning) == warned
    if warned:
        assert [network.warning] == said
        assert all(number in said[0] for number in ("(1) the labels", "(2) the images", "(3) the weights"))


@pytest.mark.parametrize("classes", [2, 10, 1000])
@pytest.mark.parametrize("samples", [50, 2000])
def test_guessing_is_near_chance_and_knowing_is_not(classes: int, samples: int) -> None:
    generator = np.random.default_rng(0)
    guessed = generator.integers(classes, size=(200, samples)) == generator.integers(classes, size=(200, samples))
    assert np.mean([near_chance(share, classes, samples) for share in guessed.mean(1)]) >= 0.99
    assert not near_chance(0.9, classes, samples)
    assert not near_chance(1.0, classes, 2)


def test_nothing_is_said_of_numbers_and_of_networks_with_one_output() -> None:
    assert suspicion(None, 10, 100) == suspicion(0.1, 1, 100) == suspicion(0.0, 0, 100) == ""
