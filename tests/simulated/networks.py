"""Small networks for the simulated device, each of whose operations runs through Python."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from bnsharp_cli.measurement.surface.data_stream import Batch

CLASSES = 4


def network(convolutions: int) -> nn.Sequential:
    """Convolutions with norms, trained on what :func:`batches` ask for."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for place in range(convolutions):
        layers += [nn.Conv2d(2 if place else 1, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2), nn.ReLU()]
    module = nn.Sequential(*layers, nn.Flatten(), nn.Linear(32, CLASSES))
    optimiser = torch.optim.Adam(module.parameters(), 0.02)
    for _ in range(40):
        for inputs, targets in batches():
            optimiser.zero_grad()
            functional.cross_entropy(module(inputs), targets).backward()
            optimiser.step()
    return module


def batches(count: int = 2) -> list[Batch]:
    """Batches of 8 small images."""
    inputs = torch.randn(8 * count, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    targets = inputs.flatten(1)[:, :CLASSES].argmax(1)
    return [*zip(inputs.split(8), targets.split(8), strict=True)]
