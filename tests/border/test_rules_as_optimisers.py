"""Every rule as an optimiser of torch: what torch's users hand in, beside ``torch.optim`` and plain loops."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.training.registry import EntropySgdOptions, SgdsOptions
from bnsharp_cli.training.rules import Sgd, TrainingRule
from bnsharp_cli.training.sam import Asam, Sam
from bnsharp_cli.training.sgds import Sgds

torch.manual_seed(0)
X, Y = torch.randn(32, 6).double(), torch.arange(32) % 3


def network() -> nn.Sequential:
    torch.manual_seed(3)
    layers = nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)
    return nn.Sequential(*layers).double()


def loss_of(module: nn.Module) -> Callable[[], Tensor]:
    return lambda: functional.cross_entropy(module(X), Y)


def flat(module: nn.Module) -> Tensor:
    return torch.cat([tensor.detach().double().flatten() for tensor in module.state_dict().values()])


def groups(module: nn.Module, named: bool = False) -> list[dict[str, Any]]:
    """What fine-tuning asks for: no decay of biases and norms, a smaller step for the first layer."""
    every = [one if named else one[1] for one in module.named_parameters()]
    return [
        {"params": [every[0]], "lr": 0.02, "weight_decay": 0.3},
        {"params": [every[3]], "momentum": 0.5, "nesterov": True, "weight_decay": 0.1},
        {"params": [every[1], every[2], every[4]], "weight_decay": 0.0, "name": "no decay"},
    ]


def sgds(params: Any, *rest: Any, **more: Any) -> Sgds:
    blocks = bnsharp_cli.find_blocks(network(), [(X, Y)])
    return Sgds(params, blocks, *rest, options=SgdsOptions(coefficient=0.0), **more)


PLAIN: dict[str, Callable[..., TrainingRule]] = {
    "sgd": Sgd,
    "sam": lambda params, *rest, **more: Sam(params, *rest, rho=0, **more),
    "asam": lambda params, *rest, **more: Asam(params, *rest, rho=0, **more),
    "sgds": sgds,
}
"""Rules that are SGD: ρ = 0, λ = 0."""
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
        theirs.zero_grad()
        expected = loss_of(reference)()
        expected.backward()
        theirs.step()
        for schedule in schedules:
            schedule.step()
        assert torch.equal(loss, expected.detach())
        assert torch.equal(flat(module), flat(reference)), step
    for group, other in zip(mine.param_groups, theirs.param_groups, strict=True):
        assert {k: v for k, v in group.items() if k not in ("params", "steps", "epochs")} == {
            k: v for k, v in other.items() if k != "params"
        }


def plain_sam(module: nn.Module, optimizer: torch.optim.Optimizer, rho: float) -> None:
    """One step of Foret et al., as its users write it; dropout and running statistics see one pass."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    start = torch.get_rng_state()
    optimizer.zero_grad()
    loss_of(module)().backward()
    end, kept = torch.get_rng_state(), [buffer.clone() for buffer in module.buffers()]
    length = torch.stack([p.grad.double().norm() for p in parameters]).norm()
    origin = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        for p in parameters:
            p.add_(p.grad, alpha=float(rho / length))
    optimizer.zero_grad()
    torch.set_rng_state(start)
    loss_of(module)().backward()
    torch.set_rng_state(end)
    with torch.no_grad():
        for p, theta in zip(parameters, origin, strict=True):
            p.copy_(theta)
        for buffer, before in zip(module.buffers(), kept, strict=True):
            buffer.copy_(before)
    optimizer.step()


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


BASES: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "adamw": lambda params: torch.optim.AdamW(params, lr=0.01, weight_decay=0.1),
    "adam with amsgrad": lambda params: torch.optim.Adam(params, lr=0.01, amsgrad=True),
    "rmsprop": lambda params: torch.optim.RMSprop(params, lr=0.01, momentum=0.5),
    "sgd with dampening": lambda params: torch.optim.SGD(params, lr=0.01, momentum=0.9, dampening=0.5),
    "sgd, one tensor after another": lambda params: torch.optim.SGD(params, lr=0.01, momentum=0.9, foreach=False),
    "groups": lambda params: torch.optim.AdamW([{"params": [p], "lr": 0.01 * i} for i, p in enumerate(params)]),
}


@pytest.mark.parametrize("scheduled", [False, True], ids=["the rule is scheduled", "the base is scheduled"])
@pytest.mark.parametrize("base", BASES)
def test_any_optimiser_of_torch_takes_sams_steps(base: str, scheduled: bool) -> None:
    module, reference = network(), network()
    driven = BASES[base](module.parameters())
    mine = Sam(module, base=driven, rho=0.5)
    theirs = BASES[base](reference.parameters())
    schedules = [torch.optim.lr_scheduler.ExponentialLR(one, 0.5) for one in (driven if scheduled else mine, theirs)]
    for step in range(4):
        torch.manual_seed(step)
        mine.step(loss_of(module))
        torch.manual_seed(step)
        plain_sam(reference, theirs, 0.5)
        for schedule in schedules:
            schedule.step()
    torch.testing.assert_close(flat(module), flat(reference))


@pytest.mark.parametrize("rule", ["asam", "sgds"])
def test_a_rule_that_degenerates_is_its_base(rule: str) -> None:
    module, reference = network(), network()
    mine = PLAIN[rule](module, base=BASES["adamw"](module.parameters()))
    theirs = BASES["adamw"](reference.parameters())
    for step in range(4):
        torch.manual_seed(step)
        mine.step(loss_of(module))
        torch.manual_seed(step)
        theirs.zero_grad()
        loss_of(reference)().backward()
        theirs.step()
    assert torch.equal(flat(module), flat(reference))


@pytest.mark.parametrize("base", [*BASES, None])
def test_copies_and_states_go_on_with_a_base(base: str | None) -> None:
    def built(module: nn.Module) -> Sam:
        more = {"lr": 0.1, "momentum": 0.9} if base is None else {"base": BASES[base](module.parameters())}
        return Sam(module, rho=0.5, **more)

    def go_on(rule: TrainingRule, module: nn.Module) -> Tensor:
        for step in range(3):
            torch.manual_seed(step)
            rule.step(loss_of(module))
        return flat(module)

    module = network()
    rule = built(module)
    go_on(rule, module)
    stream = io.BytesIO()
    torch.save(rule.state_dict(), stream)
    stream.seek(0)
    other, twin = copy.deepcopy(module), copy.deepcopy(rule)
    resumed = built(other)
    resumed.load_state_dict(torch.load(stream, weights_only=True))
    assert (resumed.steps, resumed.epochs) == (3, 0)
    expected = go_on(rule, module)
    assert torch.equal(go_on(resumed, other), expected)
    assert torch.equal(go_on(twin, twin.module), expected)
    assert twin.module is not module


def test_a_state_loaded_into_the_base_is_that_of_the_rule() -> None:
    """The two share groups and state, whichever of them is loaded, scheduled or given a group."""
    module, earlier = network(), network()
    before = BASES["adamw"](earlier.parameters())
    for _ in range(2):
        plain_sam(earlier, before, 0.5)
    module.load_state_dict(earlier.state_dict())
    base = BASES["adamw"](module.parameters())
    rule = Sam(module, base=base, rho=0.5)
    base.load_state_dict(copy.deepcopy(before.state_dict()))
    torch.manual_seed(5)
    rule.step(loss_of(module))
    torch.manual_seed(5)
    plain_sam(earlier, before, 0.5)
    torch.testing.assert_close(flat(module), flat(earlier))
    extra = nn.Parameter(torch.ones(2))
    base.add_param_group({"params": [extra]})
    assert any(one is extra for one in rule.trained.values())
    assert rule.state is base.state
    assert rule.steps == 1


@pytest.mark.parametrize("rule", PLAIN)
@pytest.mark.parametrize("older", [False, True], ids=["of today", "of an older torch"])
def test_the_state_of_torchs_sgd_goes_on(rule: str, older: bool) -> None:
    reference = network()
    theirs = torch.optim.SGD(reference.parameters(), 0.1, 0.9, weight_decay=0.01)
    for _ in range(3):
        theirs.zero_grad()
        loss_of(reference)().backward()
        theirs.step()
    module, state = copy.deepcopy(reference), copy.deepcopy(theirs.state_dict())
    if older:
        for name in ("maximize", "foreach", "differentiable", "fused"):
            del state["param_groups"][0][name]
    mine = PLAIN[rule](module, 0.5, momentum=0.9)
    mine.load_state_dict(state)
    assert mine.param_groups[0]["lr"] == 0.1
    assert mine.steps == 0
    for step in range(3):
        torch.manual_seed(step)
        mine.step(loss_of(module))
        torch.manual_seed(step)
        theirs.zero_grad()
        loss_of(reference)().backward()
        theirs.step()
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
