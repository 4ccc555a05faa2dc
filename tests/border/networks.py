"""A small network with batch norm on fixed batches, and the loss that it has on them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

ROWS = ("body.0.weight",)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.body = nn.Sequential(nn.Linear(10, 16), nn.BatchNorm1d(16), nn.Tanh())
        self.head = nn.Linear(16, 4)
        for weight in self.parameters():
            nn.init.normal_(weight, mean=float(weight.ndim == 1), std=0.3, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(32, 10, generator=generator), torch.randint(4, (32,), generator=generator)) for _ in range(3)]


def mean_loss(
    of_batch: Callable[[nn.Module, Tensor, Tensor], Tensor] | None = None,
) -> Callable[[nn.Module], Tensor]:
    """The mean over the batches of ``of_batch`` from a network, inputs in float64 and targets."""
    chosen = of_batch or (lambda model, x, y: functional.cross_entropy(model(x), y))
    return lambda model: torch.stack([chosen(model, x.double(), y) for x, y in batches()]).mean()


def penalty(model: nn.Module) -> Tensor:
    return torch.stack([weight.square().sum() for weight in model.parameters()]).sum()


def probe() -> nn.Module:
    """A network of which only the head is trained."""
    model = Net()
    model.body.requires_grad_(False)
    return model


def with_constants(module: nn.Module, varied: Iterable[str]) -> nn.Module:
    """A copy in which every other parameter is a buffer, which no measure varies."""
    own = copy.deepcopy(module)
    for name in {name for name, _ in own.named_parameters()} - {*varied}:
        path, _, last = name.rpartition(".")
        owner = own.get_submodule(path)
        value = getattr(owner, last).detach()
        delattr(owner, last)
        owner.register_buffer(last, value)
    return own
