"""The networks, their batches, and copies of them under a random scale transformation T_a."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from benchmarks.trained_networks import cifar, trained
from bnsharp_cli.core.rescale import random_factors
from bnsharp_cli.core.spheres import Spheres
from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.io.checkpoints.samples import embedded_checkpoint
from bnsharp_cli.io.data.batches import draw_batches
from bnsharp_cli.io.data.open_data import open_data
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.networks.load_weights import load_weights
from bnsharp_cli.io.networks.network_identity import build_architecture
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

SAMPLE = "digits-small-batch"
EPSILON = 1e-12
"""ε of every norm, so small that T_a leaves the function of a plain module alone."""

DECADES = 1.0
"""T_a draws its factors log-uniform in [10^−DECADES, 10^DECADES]."""


@dataclass(frozen=True)
class Problem:
    """A network and its fixed batches.

    Attributes:
        module: norms use the statistics of the batch in every mode, and no running ones.
        batches: pairs of inputs and targets.
    """

    module: nn.Module
    batches: tuple[tuple[Tensor, Tensor], ...]

    @property
    def samples(self) -> int:
        """All samples of all batches."""
        return sum(len(inputs) for inputs, _ in self.batches)

    @torch.no_grad()
    def loss(self) -> float:
        """Mean over batches of the mean cross entropy, the network in its own precision, the rest in float64."""
        losses = [functional.cross_entropy(self.module(x).double(), y) for x, y in self.batches]
        return float(torch.stack(losses).mean())

    def rescaled(self, seed: int) -> Problem:
        """The same function at T_a(θ), every scale-invariant row by its own factor."""
        surface = LossSurface.of(self.module, self.batches)
        point = surface.point()
        blocks = find_blocks(surface, point)
        factors = random_factors(blocks.invariant, DECADES, torch.Generator().manual_seed(seed))
        scaled = Spheres(blocks.rows, torch.ones_like(factors)).scale(point, factors)
        module = copy.deepcopy(self.module)
        module.load_state_dict({name: tensor.float() for name, tensor in scaled.items()})
        return replace(self, module=module)


def lenet(samples: int, batch_size: int) -> Problem:
    """The sample checkpoint, trained on digits, on the images it was trained on."""
    checkpoint = load_checkpoint(embedded_checkpoint(SAMPLE))
    metadata = checkpoint.metadata
    module = build_architecture(metadata["architecture"], metadata["architecture_options"])
    load_weights(module, checkpoint)
    preprocessing = Preprocessing.from_dict(metadata["preprocessing"])
    return Problem(_plain(module), draw_batches(open_data("digits"), samples, batch_size, 0, preprocessing).batches)


def untrained(architecture: str, options: dict[str, int]) -> Callable[[int, int], Problem]:
    """A network with random weights on random 32 × 32 images of ten classes."""

    def build(samples: int, batch_size: int) -> Problem:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = build_architecture(architecture, options)
        generator = torch.Generator().manual_seed(1)
        images = torch.randn(samples, 3, 32, 32, generator=generator)
        labels = torch.randint(10, (samples,), generator=generator)
        return Problem(_plain(module), tuple(zip(images.split(batch_size), labels.split(batch_size), strict=True)))

    return build


NETWORKS: dict[str, Callable[[int, int], Problem]] = {
    "lenet-bn": lenet,
    "resnet18": untrained("torchvision:resnet18", {"num_classes": 10}),
    "vgg11-bn": untrained("vgg11-bn", {}),
}
TRAINED = {"resnet18 trained": "resnet18 cifar", "vgg11-bn trained": "vgg11-bn cifar"}
"""Networks that are trained here, and what they are in :mod:`benchmarks.trained_networks`."""


@dataclass(frozen=True)
class Sources:
    """Where trained networks and their images are.

    Attributes:
        networks: folder of their states; what is not there is trained now.
        cifar: CIFAR-10 images, as for ``bnsharp measure --data``.
    """

    networks: str = ""
    cifar: str = ""


def trained_on_cifar(kind: str, samples: int, batch_size: int, sources: Sources) -> Problem:
    """A network on the first of the images that it was trained on."""
    images, labels = data = cifar(sources.cifar)
    ((_, module),) = trained(kind, data, Path(sources.networks))
    parts = (part[:samples].split(batch_size) for part in (images, labels))
    return Problem(_plain(module), tuple(zip(*parts, strict=True)))


def problem(
    network: str, samples: int, batch_size: int, copies: Sequence[int] = (), sources: Sources | None = None
) -> Problem:
    """A network by name; ``copies`` are the seeds of the transformations T_a that are applied to it."""
    if network in TRAINED:
        built = trained_on_cifar(TRAINED[network], samples, batch_size, sources or Sources())
    else:
        built = NETWORKS[network](samples, batch_size)
    for seed in copies:
        built = built.rescaled(seed)
    return built


def _plain(module: nn.Module) -> nn.Module:
    """Norms without running statistics, which some peers cannot differentiate through, and with ε = ``EPSILON``."""
    for norm in module.modules():
        if isinstance(norm, _BatchNorm):
            norm.track_running_stats = False
            norm.running_mean = norm.running_var = norm.num_batches_tracked = None
            norm.eps = EPSILON
    return module.float().eval()
