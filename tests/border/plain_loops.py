"""What rules are held against: a network, its loss, loops of torch as their users write them, and their optimisers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.training.registry import SgdsOptions
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


def plain_step(module: nn.Module, optimizer: torch.optim.Optimizer) -> Tensor:
    """A step as PyTorch's tutorials write it; returns the loss before it."""
    optimizer.zero_grad()
    loss = loss_of(module)()
    loss.backward()
    optimizer.step()
    return loss.detach()


def step_side_by_side(
    rule: TrainingRule, module: nn.Module, optimizer: torch.optim.Optimizer, reference: nn.Module, steps: int
) -> None:
    """Steps of a rule and as many plain ones of another network, each with the same random numbers."""
    for step in range(steps):
        torch.manual_seed(step)
        rule.step(loss_of(module))
        torch.manual_seed(step)
        plain_step(reference, optimizer)


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


BASES: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "adamw": lambda params: torch.optim.AdamW(params, lr=0.01, weight_decay=0.1),
    "adam with amsgrad": lambda params: torch.optim.Adam(params, lr=0.01, amsgrad=True),
    "rmsprop": lambda params: torch.optim.RMSprop(params, lr=0.01, momentum=0.5),
    "sgd with dampening": lambda params: torch.optim.SGD(params, lr=0.01, momentum=0.9, dampening=0.5),
    "sgd, one tensor after another": lambda params: torch.optim.SGD(params, lr=0.01, momentum=0.9, foreach=False),
    "groups": lambda params: torch.optim.AdamW([{"params": [p], "lr": 0.01 * i} for i, p in enumerate(params)]),
}
