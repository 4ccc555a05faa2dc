"""Problems with known answers, and networks with known blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from bnsharp_cli.core.spheres import RowBlocks
from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.io.checkpoints.samples import embedded_checkpoint
from bnsharp_cli.io.data.batches import draw_batches
from bnsharp_cli.io.data.open_data import open_data
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.networks.load_weights import load_weights
from bnsharp_cli.io.networks.network_identity import build_architecture
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

NOTHING = ((torch.zeros(1, 1), torch.zeros(1)),)
"""One batch of data for losses that depend on the parameters alone."""


class Vectors(nn.Module):
    """A module whose output is its parameters, one after the other."""

    def __init__(self, **vectors: Tensor) -> None:
        super().__init__()
        for name, vector in vectors.items():
            self.register_parameter(name, nn.Parameter(vector.double()))

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.cat([parameter.reshape(-1) for parameter in self.parameters()])


@dataclass(frozen=True)
class Quadratic:
    """L(x) = c + g·(x − θ) + ½ (x − θ)ᵀ H (x − θ) around the stated parameters θ."""

    theta: Mapping[str, Tensor]
    slope: Tensor
    hessian: Tensor
    constant: float = 0.0

    def surface(self) -> LossSurface:
        centre = torch.cat([vector.reshape(-1) for vector in self.theta.values()]).double()

        def criterion(output: Tensor, _: Tensor) -> Tensor:
            step = output - centre
            return self.constant + self.slope @ step + step @ self.hessian @ step / 2

        return LossSurface.of(Vectors(**self.theta), NOTHING, criterion, dtype=torch.float64)


def blocks_by_hand(rows: Mapping[str, tuple[int, ...]], invariant: int) -> Blocks:
    """A partition that a test prescribes: the block of every row, number ``invariant`` being θ_*."""
    entries = {name: RowBlocks(0, torch.tensor(blocks)) for name, blocks in rows.items()}
    return Blocks("paper", entries, invariant, {}, ())


class FunctionalNorm(nn.Module):
    """Batch norm called as a function, with no module and no running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(5, 4) / 2)
        self.last = nn.Parameter(torch.randn(3, 5) / 2)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = functional.batch_norm(inputs @ self.first.T, None, None, training=True)
        return functional.relu(hidden) @ self.last.T


class PreActivation(nn.Module):
    """Footnote 1: the branch's last convolution is added to the stream, so no norm undoes its scale."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(6)
        self.conv1 = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.output = nn.Linear(6, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        stream = self.stem(inputs)
        branch = self.conv1(functional.relu(self.norm1(stream)))
        stream = stream + self.conv2(functional.relu(self.norm2(branch)))
        return self.output(stream.mean((2, 3)))


class SharedWeights(nn.Module):
    """One convolution used twice, normalised both times."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.output = nn.Linear(3, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = functional.relu(self.norm1(self.conv(inputs)))
        hidden = functional.relu(self.norm2(self.conv(hidden)))
        return self.output(hidden.mean((2, 3)))


def mlp_bn(inputs: int = 4, hidden: int = 6, classes: int = 3, bias: bool = False) -> nn.Sequential:
    """Two normalised layers and a linear one."""
    return nn.Sequential(
        nn.Linear(inputs, hidden, bias=bias),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden, bias=bias),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, classes),
    )


def images(samples: int = 12, size: int = 8, channels: int = 3, classes: int = 4) -> tuple[tuple[Tensor, Tensor], ...]:
    """One batch of random images and labels."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(samples, channels, size, size, generator=generator)
    return ((pixels, torch.randint(classes, (samples,), generator=generator)),)


def vectors(samples: int = 24, features: int = 4, classes: int = 3) -> tuple[tuple[Tensor, Tensor], ...]:
    """One batch of random vectors and labels."""
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(samples, features, generator=generator)
    return ((inputs, torch.randint(classes, (samples,), generator=generator)),)


def trained(activation: nn.Module) -> nn.Sequential:
    """A tiny normalised network after sixty steps on ``vectors``."""
    torch.manual_seed(5)
    module = nn.Sequential(nn.Linear(4, 3, bias=False), nn.BatchNorm1d(3), activation, nn.Linear(3, 3))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.3)
    ((inputs, targets),) = vectors()
    for _ in range(60):
        optimizer.zero_grad()
        functional.cross_entropy(module(inputs), targets).backward()
        optimizer.step()
    return module


def sample_surface(name: str, samples: int = 2048, batch_size: int = 256, seed: int = 0) -> LossSurface:
    """A digits network that travels with the package, on its training images."""
    checkpoint = load_checkpoint(embedded_checkpoint(name))
    module = build_architecture(checkpoint.metadata["architecture"], checkpoint.metadata["architecture_options"])
    load_weights(module, checkpoint)
    preprocessing = Preprocessing.from_dict(checkpoint.metadata["preprocessing"])
    return LossSurface.of(module, draw_batches(open_data("digits"), samples, batch_size, seed, preprocessing).batches)


def as_bytes(value: object) -> object:
    """Nested containers with tensors as bytes."""
    if isinstance(value, Tensor):
        return value.numpy().tobytes()
    if isinstance(value, dict):
        return {key: as_bytes(entry) for key, entry in value.items()}
    return [as_bytes(entry) for entry in value] if isinstance(value, list | tuple) else value
