"""The shipped checkpoints are what they say: really trained, small, without a bias before a norm."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.io.checkpoints.samples import embedded_checkpoint
from bnsharp_cli.io.data.open_data import open_data
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.networks.load_weights import load_weights
from bnsharp_cli.io.networks.network_identity import build_architecture
from bnsharp_cli.training.evaluation import evaluate
from bnsharp_cli.training.examples import ExamplesInMemory

STUDY = {"sgd": "sgd", "small-batch": "sgd", "sam": "sam", "sgds": "sgds", "sgds-printed": "sgds"}
DIGITS = ["digits-small-batch", "digits-small-batch-decay", "digits-large-batch", "digits-large-batch-decay"]


@pytest.mark.parametrize("name", [*DIGITS, "cifar10-lenet", *(f"cifar10-study-{name}" for name in STUDY)])
def test_small_and_without_a_bias_before_a_norm(name: str) -> None:
    path = embedded_checkpoint(name)
    checkpoint = load_checkpoint(path)
    assert path.stat().st_size < 1_000_000
    biases = [key for key in checkpoint.state_dict if key.endswith("bias") and "norm" not in key]
    assert biases == ["output.bias"]
    assert checkpoint.metadata["training"]["rule"] == STUDY.get(name.removeprefix("cifar10-study-"), "sgd")


@pytest.mark.parametrize("name", DIGITS)
def test_the_recorded_figures_are_those_of_the_weights(name: str) -> None:
    checkpoint = load_checkpoint(embedded_checkpoint(name))
    module = build_architecture(checkpoint.metadata["architecture"], checkpoint.metadata["architecture_options"])
    load_weights(module, checkpoint)
    record = checkpoint.metadata["training"]
    preprocessing = Preprocessing.from_dict(checkpoint.metadata["preprocessing"])
    for split in ("train", "test"):
        data = open_data("digits", split)
        images, labels = data.load(torch.arange(len(data)), preprocessing)
        figures = evaluate(module, ExamplesInMemory(preprocessing.normalise(images), labels))
        assert figures.loss == pytest.approx(record[f"{split}_loss"], rel=1e-4)
        assert figures.accuracy == pytest.approx(record[f"{split}_accuracy"], abs=1e-9)
    assert record["test_accuracy"] >= 0.95
    sizes = {"small": 32, "large": 718}
    assert record["batch_size"] == sizes[name.split("-")[1]]
    assert (record["weight_decay"] > 0) == name.endswith("decay")


def test_the_cifar_network_learned_real_images() -> None:
    record = load_checkpoint(embedded_checkpoint("cifar10-lenet")).metadata
    assert record["data"] == "folder"
    assert record["training"]["test_accuracy"] >= 0.6


@pytest.mark.parametrize("name", STUDY)
def test_the_networks_of_the_study_say_how_they_were_trained(name: str) -> None:
    record = load_checkpoint(embedded_checkpoint(f"cifar10-study-{name}")).metadata["training"]
    assert record["batch_size"] == (40 if name == "small-batch" else 400)
    assert record["epochs"] == record["epoch"] == 16
    assert record["test_accuracy"] > 0.4
    if name.startswith("sgds"):
        expected = ("printed", "independent") if name == "sgds-printed" else ("corrected", "same")
        assert (record["form"], record["batches"]) == expected


def test_the_script_names_every_sample() -> None:
    script = (Path(__file__).parents[1] / "sample_checkpoints" / "make.sh").read_text()
    for name in [*DIGITS, "cifar10-lenet"]:
        assert name in script
    for name in STUDY:
        assert f"study {name} " in script
