"""Ten networks of many kinds for the audit: they learn digits or CIFAR-10 images, but for one with random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models

from bnsharp_cli.io.data.batches import draw_batches
from bnsharp_cli.io.data.open_data import open_data
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.models import lenet_bn
from bnsharp_cli.models.vgg import vgg11_bn

IMAGES = 2048
"""CIFAR-10 images that are learnt and measured on."""


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, inputs: Tensor) -> Tensor:
        """Both added up."""
        out: Tensor = inputs + self.branch(inputs)
        return out


class Attention(nn.Module):
    """Self-attention of one input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        """The tokens, mixed."""
        mixed: Tensor = self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return mixed


class Patches(nn.Module):
    """Patches of 2 × 2 pixels as tokens, with their places."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.patches, self.places = nn.Conv2d(1, width, 2, 2), nn.Parameter(torch.zeros(16, width))

    def forward(self, images: Tensor) -> Tensor:
        """(N, 1, 8, 8) to (N, 16, width)."""
        tokens: Tensor = self.patches(images).flatten(2).transpose(1, 2) + self.places
        return tokens


class Mean(nn.Module):
    """The mean over tokens."""

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T, width) to (N, width)."""
        return tokens.mean(1)


def mlp() -> nn.Module:
    """Without norms."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def mlp_bn_tanh() -> nn.Module:
    """Smooth, with batch norm."""
    layers = [nn.Linear(64, 32, bias=False), nn.BatchNorm1d(32), nn.Tanh(), nn.Linear(32, 32, bias=False)]
    return nn.Sequential(nn.Flatten(), *layers, nn.BatchNorm1d(32), nn.Tanh(), nn.Linear(32, 10))


def mlp_layer_norm() -> nn.Module:
    """With layer norm."""
    layers = [nn.Linear(64, 48), nn.LayerNorm(48), nn.GELU(), nn.Linear(48, 48), nn.LayerNorm(48), nn.GELU()]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(48, 10))


def conv_group_norm() -> nn.Module:
    """Convolutions with group norm."""
    first = [nn.Conv2d(1, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(16, 24, 3, padding=1), nn.GroupNorm(4, 24), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(96, 10))


def residual_bn() -> nn.Module:
    """Residual blocks before whose last convolution nothing normalises the stream."""
    blocks = [
        Residual(
            nn.Sequential(
                nn.BatchNorm2d(12),
                nn.ReLU(),
                nn.Conv2d(12, 12, 3, padding=1, bias=False),
                nn.BatchNorm2d(12),
                nn.ReLU(),
                nn.Conv2d(12, 12, 3, padding=1, bias=False),
            )
        )
        for _ in range(2)
    ]
    stem = nn.Conv2d(1, 12, 3, padding=1, bias=False)
    return nn.Sequential(stem, *blocks, nn.BatchNorm2d(12), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten(), nn.Linear(48, 10))


def vit_tiny() -> nn.Module:
    """A vision transformer of two layers."""
    width = 24

    def layer() -> list[nn.Module]:
        perceptron = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 48), nn.GELU(), nn.Linear(48, width))
        return [Residual(nn.Sequential(nn.LayerNorm(width), Attention(width))), Residual(perceptron)]

    return nn.Sequential(Patches(width), *layer(), *layer(), nn.LayerNorm(width), Mean(), nn.Linear(width, 10))


def lenet_cifar() -> nn.Module:
    """The paper's LeNet."""
    return lenet_bn(3, 10, 32)


def vgg11_cifar() -> nn.Module:
    """The paper's VGG11-BN."""
    return vgg11_bn()


def resnet18_cifar() -> nn.Module:
    """torchvision's, on images of 32 pixels."""
    return models.resnet18(num_classes=10)


def shufflenet_cifar() -> nn.Module:
    """torchvision's, on images of 32 pixels."""
    return models.shufflenet_v2_x0_5(num_classes=10)


@dataclass(frozen=True)
class Subject:
    """A network to audit.

    Attributes:
        make: it, untrained.
        epochs: of training; 0 for random weights.
        images: ``digits`` or ``cifar``.
        samples: that it is measured on.
    """

    make: Callable[[], nn.Module]
    epochs: int
    images: str = "digits"
    samples: int = 512


SUBJECTS = {
    "mlp, no norm": Subject(mlp, 20),
    "mlp, batch norm, tanh": Subject(mlp_bn_tanh, 8),
    "mlp, layer norm": Subject(mlp_layer_norm, 12),
    "convolutions, group norm": Subject(conv_group_norm, 8),
    "residual, batch norm": Subject(residual_bn, 6),
    "ViT of two layers": Subject(vit_tiny, 20),
    "LeNet-BN, CIFAR-10": Subject(lenet_cifar, 4, "cifar", 512),
    "resnet18, CIFAR-10": Subject(resnet18_cifar, 2, "cifar", 128),
    "VGG11-BN, CIFAR-10": Subject(vgg11_cifar, 1, "cifar", 64),
    "ShuffleNet, random weights": Subject(shufflenet_cifar, 0, "cifar", 256),
}


def archive_of(spec: str, folder: Path) -> Path:
    """``IMAGES`` of the images of a folder, as one file."""
    path = folder / "cifar.npz"
    if not path.exists():
        ((images, labels),) = draw_batches(open_data(spec), IMAGES, IMAGES, 0, Preprocessing()).batches
        np.savez(path, x=(images * 255).round().byte().numpy(), y=labels.numpy())
    return path


def trained(name: str, folder: Path, data: str) -> Path:
    """The file of a network's weights; it is trained if it is not there yet."""
    subject = SUBJECTS[name]
    path = folder / f"{subject.make.__name__}.pt"
    if path.exists():
        return path
    torch.manual_seed(0)
    module = subject.make()
    optimiser = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    for epoch in range(subject.epochs):
        for inputs, targets in draw_batches(open_data(data), None, 64, epoch, Preprocessing()).batches:
            optimiser.zero_grad()
            functional.cross_entropy(module(inputs), targets).backward()
            optimiser.step()
    torch.save(module.state_dict(), path)
    return path
