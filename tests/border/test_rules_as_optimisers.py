"""Every rule as an optimiser of torch: what torch's users hand in, beside ``torch.optim`` and plain loops."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from bnsharp_cli.training.sam import Sam
from tests.border.plain_loops import (
    PLAIN,
    X,
    Y,
    flat,
    groups,
    loss_of,
    network,
    plain_sam,
    plain_step,
    step_side_by_side,
)

GIVEN: dict[str, Callable[[nn.Module], Any]] = {
    "network": lambda module: module,
    "parameters": lambda module: module.parameters(),
    "list": lambda module: [*module.parameters()],
    "named": lambda module: module.named_parameters(),
    "groups": groups,
    "named groups": lambda module: groups(module, named=True),
}


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("rule", PLAIN)
def test_a_rule_that_degenerates_is_torchs_sgd_bit_by_bit(rule: str, given: str) -> None:
    if rule == "sgds" and "named" not in given and given != "network":
        pytest.skip("blocks go by names")
    module, reference = network(), network()
    settings = {"momentum": 0.9, "weight_decay": 0.01}
    mine = PLAIN[rule](GIVEN[given](module), 0.1, **settings)
    params = reference.parameters() if given == "network" else GIVEN[given](reference)
    theirs = torch.optim.SGD(params, 0.1, **settings)
    schedules = [torch.optim.lr_scheduler.OneCycleLR(one, 0.3, total_steps=8) for one in (mine, theirs)]
    for step in range(6):
        torch.manual_seed(step)
        loss = mine.step(loss_of(module))
        torch.manual_seed(step)
        expected = plain_step(reference, theirs)
        for schedule in schedules:
            schedule.step()
        assert torch.equal(loss, expected)
        assert torch.equal(flat(module), flat(reference)), step
    for group, other in zip(mine.param_groups, theirs.param_groups, strict=True):
        assert {k: v for k, v in group.items() if k not in ("params", "steps", "epochs")} == {
            k: v for k, v in other.items() if k != "params"
        }


@pytest.mark.parametrize("given", GIVEN)
def test_sam_is_that_of_a_plain_loop_whatever_it_is_given(given: str) -> None:
    """Dropout and running statistics too, though parameters alone do not say which network they belong to."""
    module, reference = network(), network()
    mine = Sam(GIVEN[given](module), 0.1, momentum=0.9, rho=0.5)
    params = reference.parameters() if given == "network" else GIVEN[given](reference)
    theirs = torch.optim.SGD(params, 0.1, 0.9)
    for step in range(3):
        torch.manual_seed(step)
        mine.step(loss_of(module))
        torch.manual_seed(step)
        plain_sam(reference, theirs, 0.5)
        torch.testing.assert_close(flat(module), flat(reference))


@pytest.mark.parametrize("rule", PLAIN)
@pytest.mark.parametrize("older", [False, True], ids=["of today", "of an older torch"])
def test_the_state_of_torchs_sgd_goes_on(rule: str, older: bool) -> None:
    reference = network()
    theirs = torch.optim.SGD(reference.parameters(), 0.1, 0.9, weight_decay=0.01)
    for _ in range(3):
        plain_step(reference, theirs)
    module, state = copy.deepcopy(reference), copy.deepcopy(theirs.state_dict())
    if older:
        for name in ("maximize", "foreach", "differentiable", "fused"):
            del state["param_groups"][0][name]
    mine = PLAIN[rule](module, 0.5, momentum=0.9)
    mine.load_state_dict(state)
    assert mine.param_groups[0]["lr"] == 0.1
    assert mine.steps == 0
    step_side_by_side(mine, module, theirs, reference, 3)
    assert torch.equal(flat(module), flat(reference))
    assert mine.steps == 3


def test_a_group_may_come_later_and_bring_parameters_of_the_loss() -> None:
    """A temperature that is trained with the network gets the gradient at the top of the ball, not the sum of two."""

    def run(step: Callable[[nn.Module, nn.Parameter, Any], None]) -> Tensor:
        module, scale = network().eval(), nn.Parameter(torch.ones((), dtype=torch.float64))
        for _ in range(2):
            step(module, scale, lambda: functional.cross_entropy(scale * module(X), Y))
        return torch.cat([flat(module), scale.detach().reshape(1)])

    def mine(module: nn.Module, scale: nn.Parameter, closure: Callable[[], Tensor]) -> None:
        rule = Sam(module, 0.1, rho=0.5)
        rule.add_param_group({"params": scale, "lr": 0.2})
        rule.step(closure)

    def theirs(module: nn.Module, scale: nn.Parameter, closure: Callable[[], Tensor]) -> None:
        parameters = [*module.parameters(), scale]
        gradients = torch.autograd.grad(closure(), parameters)
        origin = [p.detach().clone() for p in parameters]
        length = torch.stack([g.norm() for g in gradients]).norm()
        with torch.no_grad():
            for p, g in zip(parameters, gradients, strict=True):
                p.add_(g, alpha=float(0.5 / length))
        gradients = torch.autograd.grad(closure(), parameters)
        with torch.no_grad():
            for p, theta, g in zip(parameters, origin, gradients, strict=True):
                p.copy_(theta - (0.2 if p is scale else 0.1) * g)

    torch.testing.assert_close(run(mine), run(theirs))


def test_running_statistics_of_a_network_that_is_not_trained_see_one_pass() -> None:
    """A generator's loss runs through a critic with batch norm of its own."""
    generator, critic = nn.Linear(6, 6).double(), network().requires_grad_(False)
    Sam(generator, 0.1).step(lambda: critic(generator(X)).mean())
    assert int(critic[1].num_batches_tracked) == 1


def test_numbers_drawn_by_numpy_and_python_are_the_same_in_both_passes() -> None:
    import random

    import numpy as np

    module, drawn = network(), []

    def closure() -> Tensor:
        drawn.append((np.random.beta(1, 1), random.random(), float(torch.rand(()))))  # noqa: NPY002 - mixup's
        return loss_of(module)()

    rule = Sam(module, 0.1)
    rule.step(closure)
    rule.step(closure)
    assert drawn[0] == drawn[1]
    assert drawn[2] == drawn[3]
    assert drawn[0] != drawn[2]
