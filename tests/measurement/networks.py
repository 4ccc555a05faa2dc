"""Networks whose norms are used in ways that a table of layers does not show, and the blocks of a network."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from tests.cases import images


def blocks_of(module: nn.Module, batches: tuple[tuple[Tensor, Tensor], ...], partition: str = "paper") -> Blocks:
    surface = LossSurface.of(module, batches)
    return find_blocks(surface, surface.point(), partition)


def invariant_rows(blocks: Blocks) -> dict[str, int]:
    return {tensor.name: tensor.invariant for tensor in blocks.tensors if tensor.invariant}


def seeded(build: type[nn.Module] | object, *arguments: object, **options: object) -> nn.Module:
    torch.manual_seed(0)
    return build(*arguments, **options)


class HeadNorms(nn.Module):
    """Attention whose queries and keys are normalised head by head: one norm call, a scale for each head."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(8, 8, bias=False) for _ in range(3))
        self.query_norm, self.key_norm = nn.RMSNorm(4), nn.LayerNorm(4)
        self.output = nn.Linear(8, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        query, key, value = (
            linear(inputs).unflatten(-1, (2, 4)) for linear in (self.query, self.key, self.value)
        )  # (N, T, heads, 4)
        query, key = self.query_norm(query).transpose(1, 2), self.key_norm(key).transpose(1, 2)
        mixed = (query @ key.transpose(-1, -2) / 2).softmax(-1) @ value.transpose(1, 2)
        return self.output(mixed.transpose(1, 2).flatten(2).mean(1))


class NormedEmbedding(nn.Module):
    """Each word is normalised alone: every row of the embedding is a block."""

    def __init__(self, words: int = 40) -> None:
        super().__init__()
        self.words, self.norm, self.output = nn.Embedding(words, 6), nn.LayerNorm(6), nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.output(torch.relu(self.norm(self.words(inputs))).mean(1))


class OneNormTwice(nn.Module):
    """Two convolutions whose outputs the same batch norm normalises."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 5, 3, bias=False), nn.Conv2d(3, 5, 3, bias=bias)
        self.norm, self.output = nn.BatchNorm2d(5), nn.Linear(5, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.relu(self.norm(self.first(inputs))) + torch.tanh(self.norm(self.second(inputs)))
        return self.output(hidden.mean((2, 3)))


class MaximumNorm(nn.Module):
    """Rows longer than their limit are shortened to it: locally invariant, so that only a scaling tells."""

    def __init__(self, limits: list[float]) -> None:
        super().__init__()
        self.weight, self.output = nn.Parameter(torch.randn(len(limits), 4)), nn.Linear(len(limits), 3)
        self.register_buffer("limits", torch.tensor(limits))

    def forward(self, inputs: Tensor) -> Tensor:
        lengths = self.weight.norm(dim=1)
        weight = self.weight * (self.limits.minimum(lengths) / lengths)[:, None]
        return self.output(torch.tanh(inputs @ weight.T))


class OwnNorm(nn.Module):
    """A layer normalised by code of its own, whose ε nothing outside can reach."""

    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.hidden, self.output, self.epsilon = nn.Linear(4, 6, bias=False), nn.Linear(6, 3), epsilon

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.hidden(inputs)
        centred = hidden - hidden.mean(0)
        return self.output(torch.tanh(centred / (centred.square().mean(0) + self.epsilon).sqrt()))


def grouped(bias: bool) -> nn.Sequential:
    """Two rows see each colour of the input, alone."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, groups=3, bias=bias),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 5, 3),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(80, 4),
    )


def sequences() -> tuple[tuple[Tensor, Tensor], ...]:
    """One batch of random sequences of vectors and labels."""
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(12, 5, 8, generator=generator)
    return ((inputs, torch.randint(3, (12,), generator=generator)),)


def sentences(words: int = 40) -> tuple[tuple[Tensor, Tensor], ...]:
    """One batch that has every word once and then some; the first eight samples have eight words."""
    generator = torch.Generator().manual_seed(4)
    every = torch.arange(words).repeat(4)
    first = torch.arange(8)[:, None].expand(8, 4)
    inputs = torch.cat([first, every[torch.randperm(len(every), generator=generator)].reshape(-1, 4)])
    return ((inputs, torch.randint(3, (len(inputs),), generator=generator)),)


def one_dull_colour(value: float = 0.3) -> tuple[tuple[Tensor, Tensor], ...]:
    """Images of which one channel is constant."""
    ((pixels, labels),) = images()
    pixels = pixels.clone()
    pixels[:, 0] = value
    return ((pixels, labels),)


def residual(classes: int = 4) -> nn.Module:
    """Three blocks as those of torchvision's ResNet-18, the second with a projection, in two layers of few channels."""
    projection = nn.Sequential(nn.Conv2d(6, 8, 1, 2, bias=False), nn.BatchNorm2d(8))
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 6, 3, padding=1, bias=False),
            bn1=nn.BatchNorm2d(6),
            relu=nn.ReLU(),
            layer1=nn.Sequential(BasicBlock(6, 6)),
            layer2=nn.Sequential(BasicBlock(6, 8, 2, projection), BasicBlock(8, 8)),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            fc=nn.Linear(8, classes),
        )
    )
