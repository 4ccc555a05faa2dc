"""Every training rule on the simulated device: the steps of the CPU, and a run that goes on where it stopped."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from torch import nn

from bnsharp_cli.api import find_blocks
from bnsharp_cli.training.examples import ExamplesInMemory
from bnsharp_cli.training.loop import Training
from bnsharp_cli.training.options import TrainingOptions
from bnsharp_cli.training.registry import TRAINING_RULES
from tests.cases import images
from tests.simulated.backend import NAME
from tests.simulated.device import Simulation


def training(rule: str, device: str) -> Training:
    """Epochs of two steps."""
    torch.manual_seed(0)
    ((inputs, targets),) = images(8)
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4))
    module(inputs)
    options = TrainingOptions(rule=rule, epochs=2, batch_size=4, learning_rate=0.05)
    blocks = functools.partial(find_blocks, module, [(inputs, targets)])
    return Training(module, ExamplesInMemory(inputs, targets), options, device=torch.device(device), blocks=blocks)


@pytest.mark.parametrize("rule", TRAINING_RULES)
def test_the_steps_are_those_of_the_cpu(simulation: Simulation, rule: str) -> None:
    expected, found = training(rule, "cpu"), training(rule, NAME)
    assert found.run_epoch() == expected.run_epoch()
    state = copy.deepcopy(found.state_dict())
    resumed = training(rule, NAME)
    resumed.load_state_dict(state)
    losses = {one.run_epoch() for one in (expected, found, resumed)}
    assert len(losses) == 1
    for one in (found, resumed):
        for name, tensor in one.module.state_dict().items():
            assert torch.equal(tensor.cpu(), expected.module.state_dict()[name]), name
