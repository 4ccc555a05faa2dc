"""Every training rule on a GPU: the steps of the CPU in float64, and a run that goes on where it stopped."""

from __future__ import annotations

import copy
import functools
from dataclasses import replace

import pytest
import torch
from torch import nn

from bnsharp_cli.api import find_blocks
from bnsharp_cli.training.examples import ExamplesInMemory
from bnsharp_cli.training.loop import Training
from bnsharp_cli.training.options import TrainingOptions
from bnsharp_cli.training.registry import TRAINING_RULES, EntropySgdOptions
from tests.cases import images
from tests.gpu.device import CPU, DEVICE, ON_A_GPU

pytestmark = ON_A_GPU


def training(rule: str, device: torch.device, *, noise: bool = False) -> Training:
    """Three epochs of two steps, in float64; without Langevin noise, which each device draws in its own way."""
    torch.manual_seed(0)
    ((inputs, targets),) = images(32)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4)).double()
    inputs = inputs.double()
    options = TrainingOptions(rule=rule, epochs=3, batch_size=16, learning_rate=0.05)
    if rule == "entropy-sgd" and not noise:
        options = replace(options, rule_options=EntropySgdOptions(langevin_steps=3, langevin_noise=0.0))
    blocks = functools.partial(find_blocks, module, [(inputs.float(), targets)])
    return Training(module, ExamplesInMemory(inputs, targets), options, device=device, blocks=blocks)


@pytest.mark.parametrize("rule", TRAINING_RULES)
def test_the_steps_are_those_of_the_cpu(rule: str) -> None:
    expected, found = training(rule, CPU), training(rule, DEVICE)
    for _ in range(3):
        assert found.run_epoch() == pytest.approx(expected.run_epoch(), rel=1e-8)
    assert found.gradients == expected.gradients
    for name, tensor in found.module.state_dict().items():
        torch.testing.assert_close(tensor.cpu(), expected.module.state_dict()[name], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("rule", TRAINING_RULES)
def test_a_resumed_run_takes_the_steps_of_one_that_was_not_stopped(rule: str) -> None:
    whole = training(rule, DEVICE, noise=True)
    whole.run_epoch()
    state = copy.deepcopy(whole.state_dict())
    resumed = training(rule, DEVICE, noise=True)
    resumed.load_state_dict(state)
    for _ in range(2):
        assert resumed.run_epoch() == pytest.approx(whole.run_epoch(), rel=1e-10)
    for name, tensor in resumed.module.state_dict().items():
        torch.testing.assert_close(tensor, whole.module.state_dict()[name], rtol=1e-9, atol=1e-11)
