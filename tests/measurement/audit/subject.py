"""A network to audit that takes a moment: an mlp with batch norm on digits, and other draws of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from bnsharp_cli.measurement.audit.audited_value import AuditedValue, measured_value
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.batch_sizes import BatchSizes
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

AVAILABLE, BATCH = 512, 32


def digits() -> tuple[Tensor, Tensor]:
    """512 digits as vectors."""
    found = load_digits()
    inputs = torch.tensor(found.data, dtype=torch.float32)[:AVAILABLE]
    return (inputs - inputs.mean()) / inputs.std(), torch.tensor(found.target)[:AVAILABLE]


def trained(epochs: int = 4) -> nn.Module:
    """The network, after a few epochs."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Linear(64, 12, bias=False), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 10)
    )
    inputs, targets = digits()
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    for _ in range(epochs):
        for part in torch.randperm(AVAILABLE).split(BATCH):
            optimiser.zero_grad()
            functional.cross_entropy(module(inputs[part]), targets[part]).backward()
            optimiser.step()
    return module.eval()


@dataclass(frozen=True)
class DigitDraws:
    """Draws of the digits for one network."""

    module: nn.Module
    samples: int = 256

    def fresh(self, number: int) -> LossSurface:
        """As many by another seed."""
        order = torch.randperm(AVAILABLE, generator=torch.Generator().manual_seed(number))
        return self.on(order[: self.samples])

    def whole(self) -> LossSurface:
        """All of them."""
        return self.on(torch.arange(AVAILABLE))

    def on(self, indices: Tensor) -> LossSurface:
        """L on these."""
        inputs, targets = digits()
        parts = indices.split(BATCH)
        sizes = BatchSizes(tuple(map(len, parts)), AVAILABLE)
        return LossSurface.of(self.module, [(inputs[part], targets[part]) for part in parts], sizes=sizes)


def audited(surface: LossSurface, **options: object) -> AuditedValue:
    """BN-Sharpness of the network of a surface, ready to be audited."""
    chosen = MeasureOptions.from_flat(**options)
    blocks = find_blocks(surface, surface.point(), chosen.partition)
    measured = measured_value(surface, blocks, chosen)
    return AuditedValue(surface, surface.point(), blocks, chosen, measured)
