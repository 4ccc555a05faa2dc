"""Entropy-SGD with several groups of parameters, against Algorithm 1 written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.training.registry import EntropySgdOptions
from tests.border.plain_loops import X, Y, flat, groups, network


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_the_groups_of_entropy_sgd_decay_in_the_inner_steps_each_by_its_own(noise: float) -> None:
    """Algorithm 1 with f + Σ_g d_g ‖x_g‖²/2, and an outer step of each group's own size, written out."""
    module, reference = network().eval(), network().eval()
    options = EntropySgdOptions(langevin_steps=3, scope=0.5, langevin_lr=0.2, langevin_averaging=0.6,
                                langevin_noise=noise)  # fmt: skip
    rule = bnsharp_cli.EntropySgd(groups(module), lr=0.7, options=options)

    def loss(one: nn.Module) -> Tensor:
        return functional.cross_entropy(one(X), Y)

    parameters = [*reference.parameters()]
    decay = dict(zip(parameters, (0.3, 0.0, 0.0, 0.1, 0.0), strict=True))
    rates = dict(zip(parameters, (0.02, 0.7, 0.7, 0.7, 0.7), strict=True))
    buffers = {parameters[3]: torch.zeros_like(parameters[3])}
    order = [parameters[i] for i in (0, 3, 1, 2, 4)]
    for step in range(3):
        rule.step(*[lambda: loss(module)] * 3)
        generator = torch.Generator().manual_seed(2**31 + step)
        theta = {p: p.detach().clone() for p in parameters}
        mean = {p: p.detach().clone() for p in parameters}
        for _ in range(3):
            gradients = dict(zip(parameters, torch.autograd.grad(loss(reference), parameters), strict=True))
            with torch.no_grad():
                for p in order:
                    kick = torch.empty_like(p).normal_(generator=generator)
                    p -= 0.2 * (gradients[p] + decay[p] * p + 0.5 * (p - theta[p]))
                    p += 0.2**0.5 * noise * kick
                    mean[p] = 0.6 * mean[p] + 0.4 * p
        with torch.no_grad():
            for p in parameters:
                pull = theta[p] - mean[p]
                if p in buffers:  # momentum 0.5 with Nesterov, whose first buffer is the gradient
                    buffers[p] = pull if not step else 0.5 * buffers[p] + pull
                    pull = pull + 0.5 * buffers[p]
                p.copy_(theta[p] - rates[p] * pull)
    torch.testing.assert_close(flat(module), flat(reference))
    assert [group["weight_decay"] for group in rule.param_groups] == [0.3, 0.1, 0.0]


def test_groups_alike_are_one_group() -> None:
    """The same weight decay in one group and in two gives the same step, noise included."""
    ends = []
    for split in (False, True):
        module = network()
        options = EntropySgdOptions(langevin_steps=2, langevin_noise=0.1)
        rule = bnsharp_cli.EntropySgd(module, lr=1.0, weight_decay=0.5, options=options)
        if split:
            (group,) = rule.param_groups
            kept, group["params"] = group["params"], group["params"][3:]
            rule.add_param_group({"params": kept[:3], "weight_decay": 0.5})
        torch.manual_seed(1)
        rule.step(*[lambda module=module: functional.cross_entropy(module(X), Y)] * 2)
        ends.append(flat(module))
    assert torch.equal(*ends)
