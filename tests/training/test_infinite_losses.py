"""A training loss that is not finite: whose fault it is, and what helps."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from bnsharp_cli.errors import DataRefusedError, NotMeasurableError
from bnsharp_cli.training.examples import ExamplesInMemory
from bnsharp_cli.training.loop import Training
from bnsharp_cli.training.options import TrainingOptions

INPUTS = torch.eye(4)


def train(targets: torch.Tensor, criterion: object, learning_rate: float = 0.1) -> None:
    options = TrainingOptions(epochs=1, batch_size=2, learning_rate=learning_rate)
    training = Training(nn.Linear(4, 3), ExamplesInMemory(INPUTS, targets), options, criterion)
    training.run_epoch()


def test_a_batch_without_a_label_is_the_fault_of_the_data() -> None:
    with pytest.raises(DataRefusedError, match="all labels of a batch are -100"):
        train(torch.full((4,), -100), functional.cross_entropy)


@pytest.mark.parametrize("value", [1e200, 1e30, -1e30])
def test_targets_whose_squares_are_infinite_are_the_fault_of_the_data(value: float) -> None:
    with pytest.raises(DataRefusedError, match="squares of its targets are not finite"):
        train(torch.full((4, 3), value, dtype=torch.float64).float(), functional.mse_loss)


def test_any_other_loss_that_is_not_finite_diverged() -> None:
    with pytest.raises(NotMeasurableError, match="in a new run with another output; resume keeps"):
        train(torch.full((4, 3), 1e9), lambda outputs, targets: functional.mse_loss(outputs, targets) * torch.inf)
