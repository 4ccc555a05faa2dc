"""What a user's network, criterion or data set does wrong in training is told as one of our errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.training.evaluation import evaluate
from bnsharp_cli.training.examples import ExamplesInMemory
from bnsharp_cli.training.loop import Training
from bnsharp_cli.training.options import TrainingOptions
from tests.cases import vectors
from tests.cli.helpers import bnsharp

EXAMPLES = ExamplesInMemory(*vectors(40)[0])
OPTIONS = TrainingOptions(batch_size=20)

SIGNALS = """
import torch
from torch import nn

class Signals:
    def __init__(self, shape):
        self.shape = shape
    def __len__(self):
        return 40
    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        return 5 + torch.randn(self.shape, generator=generator), index % 3

class Endless(Signals):
    def __len__(self):
        raise OSError("no end")

def signals(split):
    return Signals((3, 9))

def numbers(split):
    return Signals(())

def endless(split):
    return Endless((3, 9))

def net():
    return nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.Flatten(), nn.Linear(28, 3))
"""


class Network(nn.Module):
    """A linear network that does something with its answer."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.last = nn.Linear(EXAMPLES.shape[0], 10)
        self.answer = answer

    def forward(self, x: Tensor) -> Any:
        return self.answer(self.last(x))


def raising(error: BaseException) -> Any:
    raise error


def changed_in_place(answer: Tensor) -> Tensor:
    squared = answer.sigmoid_() * answer
    answer.add_(1)
    return squared


@pytest.mark.parametrize("error", [RuntimeError("no good"), KeyError("no good"), SystemExit(9)], ids=repr)
def test_a_network_that_fails_is_told_with_its_own_reason(error: BaseException) -> None:
    network = Network(lambda _: raising(error))
    for work in (Training(network, EXAMPLES, OPTIONS).run_epoch, lambda: evaluate(network, EXAMPLES)):
        with pytest.raises(NotMeasurableError, match=r"^The network does not accept a batch of ") as caught:
            work()
        assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [RuntimeError("no good"), KeyError("no good"), SystemExit(9)], ids=repr)
def test_a_criterion_that_fails_is_told_with_its_own_reason(error: BaseException) -> None:
    network, failing = Network(lambda y: y), lambda *_: raising(error)
    training = Training(network, EXAMPLES, OPTIONS, failing)
    for work in (training.run_epoch, lambda: evaluate(network, EXAMPLES, failing)):
        with pytest.raises(NotMeasurableError, match=r"^The criterion does not accept targets of ") as caught:
            work()
        assert caught.value.__cause__ is error


def test_a_network_without_a_gradient_is_refused() -> None:
    with pytest.raises(NotMeasurableError, match=r"^The loss does not depend on the network's parameters"):
        Training(Network(torch.detach), EXAMPLES, OPTIONS).run_epoch()
    with pytest.raises(NotMeasurableError, match=r"^The network cannot be differentiated: one of the variables"):
        Training(Network(changed_in_place), EXAMPLES, OPTIONS).run_epoch()


def test_signals_are_normalised_channel_by_channel() -> None:
    signals = torch.arange(24.0).reshape(2, 3, 4)
    normalised = Preprocessing(mean=(1.0, 2.0, 3.0), std=(1.0, 2.0, 4.0)).normalise(signals)
    for channel, (mean, std) in enumerate([(1, 1), (2, 2), (3, 4)]):
        assert torch.equal(normalised[:, channel], (signals[:, channel] - mean) / std)


def train(folder: Path, data: str, *options: str, expect: int) -> str:
    (folder / "users.py").write_text(SIGNALS)
    task = ("--data", f"users.py:{data}", "--arch", "users.py:net", "--epochs", 1, "--batch-size", 20)
    return bnsharp("train", "--output", "run.pt", *task, *options, folder=folder, expect=expect).stderr


def test_a_network_of_signals_can_be_trained(tmp_path: Path) -> None:
    train(tmp_path, "signals", expect=0)
    assert (tmp_path / "run.pt").exists()


@pytest.mark.slow(
    reason="begins a training for each kind of example",
    quick="tests/training/test_foreign_failures.py::test_a_network_that_fails_is_told_with_its_own_reason",
)
def test_examples_that_cannot_be_trained_on_are_refused(tmp_path: Path) -> None:
    assert "users.py:numbers: Each example is a single number." in train(tmp_path, "numbers", expect=3)
    assert "The length of users.py:endless cannot be told: OSError: no end." in train(tmp_path, "endless", expect=3)
    assert "--augment: found inputs of 2 dimensions." in train(tmp_path, "signals", "--augment", "crop", expect=2)
    assert "Cannot resize users.py:signals example 0" in train(tmp_path, "signals", "--image-size", "8", expect=3)
