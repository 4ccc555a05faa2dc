"""Small networks trained here until their training loss falls below given levels; the states are kept in a folder."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models

from bnsharp_cli.io.data.batches import draw_batches
from bnsharp_cli.io.data.open_data import open_data
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.models import lenet_bn, vgg11_bn

LEVELS = (0.5, 0.1, 0.03, 0.008, 1e-3, 1e-4)
MOST_EPOCHS = 200

Data = tuple[Tensor, Tensor]


def mlp() -> nn.Module:
    """An mlp without norms."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def bn_mlp() -> nn.Module:
    """An mlp with batch norm."""
    hidden = [part for _ in range(2) for part in (nn.Linear(64, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(64, 10))


def lenet_gn() -> nn.Module:
    """Two convolutions with group norm."""
    first = (nn.Conv2d(1, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU(), nn.MaxPool2d(2))
    second = (nn.Conv2d(8, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU(), nn.MaxPool2d(2))
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


class Transformer(nn.Module):
    """A row of pixels is a token; two layers with layer norm before attention and mlp, which has GELUs."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.position = nn.Linear(8, 32), nn.Parameter(0.1 * torch.randn(8, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm, self.output = nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, images: Tensor) -> Tensor:
        """The logits."""
        tokens = self.layers(self.embedding(images.squeeze(1)) + self.position)
        return self.output(self.norm(tokens).mean(1))


@dataclass(frozen=True)
class Subject:
    """A kind of network.

    Attributes:
        make: it, untrained.
        data: ``digits`` or ``cifar``.
        levels: the training losses at which it is kept.
        samples: of the draws.
        batch: of training.
    """

    make: Callable[[], nn.Module]
    data: str
    levels: tuple[float, ...]
    samples: tuple[int, ...]
    batch: int = 32


SUBJECTS = {
    "lenet-bn digits": Subject(lambda: lenet_bn(1, 10, 8), "digits", LEVELS, (512, 1024)),
    "mlp digits": Subject(mlp, "digits", LEVELS, (512, 1024)),
    "lenet-bn cifar": Subject(lambda: lenet_bn(3, 10, 32), "cifar", LEVELS, (512, 2048), 64),
    "resnet18 cifar": Subject(lambda: models.resnet18(num_classes=10), "cifar", (0.1,), (512,), 64),
    "bn-mlp digits": Subject(bn_mlp, "digits", (0.03,), ()),
    "lenet-gn digits": Subject(lenet_gn, "digits", (0.03,), ()),
    "transformer digits": Subject(Transformer, "digits", (0.03,), ()),
    "vgg11-bn cifar": Subject(vgg11_bn, "cifar", (0.1,), (), 64),
}


def data_of(subject: Subject, arguments: argparse.Namespace) -> Data:
    """The images and labels of a kind of network, on the device of the command line."""
    images, labels = digits() if subject.data == "digits" else cifar(arguments.cifar)
    return images.to(arguments.device), labels.to(arguments.device)


def digits() -> Data:
    """1,408 digits."""
    found = load_digits()
    images = torch.tensor(found.images, dtype=torch.float32)[:1408, None] / 16
    return (images - images.mean()) / images.std(), torch.tensor(found.target)[:1408]


def cifar(spec: str) -> Data:
    """4,096 of the images of a folder."""
    drawn = draw_batches(open_data(spec), 4096, 4096, 0, Preprocessing())
    images, labels = drawn.batches[0]
    mean, deviation = images.mean((0, 2, 3), keepdim=True), images.std((0, 2, 3), keepdim=True)
    return (images - mean) / deviation, labels


def trained(name: str, data: Data, folder: Path) -> Iterator[tuple[str, nn.Module]]:
    """The networks of one kind at their levels, from the folder or trained now, where their data are."""
    subject = SUBJECTS[name]
    files = {level: folder / f"{name.replace(' ', '-')}-{level:g}.pt" for level in subject.levels}
    if not all(file.exists() for file in files.values()):
        _train(subject, data, files)
    for level, file in files.items():
        if file.exists():
            network = subject.make()
            network.load_state_dict(torch.load(file, weights_only=True, map_location="cpu"))
            yield f"{name} {level:g}", network.eval().to(data[0].device)


def _train(subject: Subject, data: Data, files: dict[float, Path]) -> None:
    torch.manual_seed(0)
    network, left = subject.make().to(data[0].device), dict(files)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, 20, 0.7)
    for _ in range(MOST_EPOCHS):
        for part in torch.randperm(len(data[0])).split(subject.batch):
            optimiser.zero_grad()
            functional.cross_entropy(network(data[0][part]), data[1][part]).backward()
            optimiser.step()
        schedule.step()
        loss = _loss(network, data)
        for level in [level for level in left if loss <= level]:
            torch.save(network.state_dict(), left.pop(level))
        if not left:
            return


def _loss(network: nn.Module, data: Data) -> float:
    network.eval()
    with torch.no_grad():
        parts = zip(data[0].split(256), data[1].split(256), strict=True)
        total = sum(float(functional.cross_entropy(network(x), y, reduction="sum")) for x, y in parts)
    network.train()
    return total / len(data[0])


def arguments_of(about: str | None, measures: Iterable[str] = ()) -> argparse.Namespace:
    """The command line of a program that measures draws: networks, record, images, kinds and how many draws.

    Args:
        about: what it does.
        measures: those that it can take; the first is taken unless another is named.
    """
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    choices = [*measures]
    if choices:
        parser.add_argument("--measure", choices=choices, default=choices[0])
    parser.add_argument("--networks", type=Path, required=True, help="folder of the trained networks")
    parser.add_argument("--record", type=Path, required=True, help="file of the draws, a line each")
    parser.add_argument("--cifar", default="", help="CIFAR-10 images, as for bnsharp measure --data; none by default")
    parser.add_argument("--only", default="", help="the kinds whose name holds this")
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--device", default="cpu", help="where the networks learn and are measured")
    arguments = parser.parse_args()
    arguments.networks.mkdir(parents=True, exist_ok=True)
    return arguments


def recorded(record: Path) -> list[dict[str, Any]]:
    """What earlier runs wrote, a line each."""
    return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
