"""A small network that has learnt its examples, and directions as long as its weights, by plain torch."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.measurement.measures.measurement import Measurement


def data(count: int = 2, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Examples that are learnt in a moment."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(40, 4, generator=generator) for _ in range(count)]
    return [(inputs, inputs[:, :3].argmax(1)) for inputs in drawn]


def learnt(network: nn.Module, steps: int = 60) -> nn.Module:
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(steps):
        for inputs, targets in data():
            optimizer.zero_grad()
            functional.cross_entropy(network(inputs), targets).backward()
            optimizer.step()
    return network.double()


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return learnt(nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3)))


def measured(
    network: nn.Module, name: str, batches: list[tuple[Tensor, Tensor]] | None = None, **more: object
) -> Measurement:
    return bnsharp_cli.measure(network, batches or data(), name=name, **{"precision": "float64", **more})


def unit_blocks(network: nn.Module, generator: torch.Generator, relative_to: str) -> dict[str, Tensor]:
    """A random direction whose blocks are as long as those of the weights, by plain torch."""
    drawn = {
        name: torch.randn(own.shape, generator=generator, dtype=torch.float64)
        for name, own in network.named_parameters()
    }
    return along(network, drawn, relative_to)


def along(network: nn.Module, vector: dict[str, Tensor], relative_to: str) -> dict[str, Tensor]:
    found = {}
    for name, own in network.named_parameters():
        theta, one = own.detach(), vector[name]
        if relative_to == "element":
            found[name] = theta.abs() * one.sign()
        elif relative_to == "filter" and theta.ndim > 1:
            found[name] = one * (theta.norm(dim=1) / one.norm(dim=1))[:, None]
        else:
            found[name] = one * theta.norm() / one.norm()
    return found


def moved(network: nn.Module, direction: dict[str, Tensor], step: float) -> nn.Module:
    other = copy.deepcopy(network)
    with torch.no_grad():
        for name, own in other.named_parameters():
            own.add_(direction[name], alpha=step)
    return other


def loss_of(network: nn.Module) -> float:
    with torch.no_grad():
        return sum(float(functional.cross_entropy(network(x.double()), y)) for x, y in data()) / 2


def accuracy_of(network: nn.Module) -> float:
    with torch.no_grad():
        return sum(float((network(x.double()).argmax(1) == y).double().mean()) for x, y in data()) / 2
