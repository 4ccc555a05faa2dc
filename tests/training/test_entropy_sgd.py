"""Entropy-SGD against its algorithm written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from bnsharp_cli.errors import UsageError
from bnsharp_cli.training.entropy_sgd import EntropySgd
from bnsharp_cli.training.registry import EntropySgdOptions
from tests.training.test_rules import closures, network


def test_a_step_without_noise_is_algorithm_1_of_chaudhari() -> None:
    module, reference = network(), network()
    options = EntropySgdOptions(
        langevin_steps=4, scope=0.5, langevin_noise=0.0, langevin_lr=0.2, langevin_averaging=0.6
    )
    EntropySgd(module, 0.7, weight_decay=0.01, options=options).step(*closures(module, 4))

    parameters = [*reference.parameters()]
    theta = [p.detach().clone() for p in parameters]
    mean = [p.clone() for p in theta]
    for closure in closures(reference, 4):
        gradients = torch.autograd.grad(closure(), parameters)
        with torch.no_grad():
            for p, g, x, m in zip(parameters, gradients, theta, mean, strict=True):
                p -= 0.2 * (g + 0.01 * p - 0.5 * (x - p))
                m.copy_(0.6 * m + 0.4 * p)
    for mine, x, m in zip(module.parameters(), theta, mean, strict=True):
        torch.testing.assert_close(mine, x - 0.7 * (x - m))


def test_the_noise_has_its_size_and_belongs_to_the_step() -> None:
    def after(seed: int, steps: int) -> torch.Tensor:
        module = nn.Linear(200, 100, bias=False)
        nn.init.zeros_(module.weight)
        rule = EntropySgd(
            module,
            1.0,
            options=EntropySgdOptions(
                langevin_steps=1,
                scope=0,
                langevin_noise=0.1,
                langevin_lr=0.25,
                langevin_averaging=0.0,
                langevin_seed=seed,
            ),
        )
        for _ in range(steps):
            rule.step(lambda: 0 * module.weight.sum())
        return module.weight.detach()

    first = after(0, 1)
    assert float(first.std()) == pytest.approx(0.25**0.5 * 0.1, rel=0.02)
    assert torch.equal(first, after(0, 1))
    assert not torch.equal(first, after(1, 1))
    assert float(torch.corrcoef(torch.stack([first.flatten(), (after(0, 2) - first).flatten()]))[0, 1]) < 0.05


@pytest.mark.parametrize("scoping", [0.0, 0.1])
def test_scoping_advances(scoping: float) -> None:
    module = network()
    rule = EntropySgd(module, 1.0, options=EntropySgdOptions(langevin_steps=1, scope=0.03, scoping=scoping))
    for step in range(3):
        assert rule.coefficient == pytest.approx(0.03 * (1 + scoping) ** step)
        rule.step(*closures(module, 1, step))


def test_values_out_of_range_are_refused() -> None:
    for wrong in (
        {"langevin_steps": 0},
        {"langevin_averaging": 1.0},
        {"langevin_lr": 0.0},
        {"scope": -1.0},
        {"scope": math.inf},
        {"scoping": math.inf},
    ):
        with pytest.raises(UsageError, match="expected"):
            EntropySgdOptions(**wrong)


def test_weight_decay_acts_in_every_step_and_in_the_inner_ones_alone() -> None:
    module = nn.Linear(3, 2, bias=False).double()
    start = module.weight.detach().clone()
    inner = EntropySgdOptions(langevin_steps=1, scope=0.0, langevin_noise=0.0, langevin_lr=0.2, langevin_averaging=0.0)
    rule = EntropySgd(module, 1.0, weight_decay=0.5, options=inner)
    for _ in range(3):
        rule.step(lambda: 0 * module.weight.sum())
    torch.testing.assert_close(module.weight, start * (1 - 0.2 * 0.5) ** 3)
