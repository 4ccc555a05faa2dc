"""Does the hull [cross-fitted, in-sample] of 2,048 samples hold the value of 16,384?

    python -m benchmarks.sampling --cifar folder:DIR [--draws 50] [--uncertainty cheap]

The sample checkpoint cifar10-lenet on other draws of its training images, at δ = 1e-3. Beside the hull stand what a
naive interval would have covered, even one that knew the true standard deviation over draws, and two tighter
candidates that are not shipped: the value with the trace of the gradients' covariance taken off block by block, ±
twice its standard deviation over draws, and the extrapolation by the fitted exponent, likewise.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import fmean, stdev

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point
from bnsharp_cli.core.spheres import Spheres
from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.io.data.batches import draw_batches
from bnsharp_cli.io.data.open_data import open_data
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.networks.load_weights import load_weights
from bnsharp_cli.io.networks.network_identity import build_architecture
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.measures.bn_sharpness import bn_sharpness
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.workflows.samples import embedded_checkpoint

FEW, MANY, BATCH = 2048, 16384, 256


@dataclass
class Squares:
    """Σ_b ‖∇_iL_b‖² block by block."""

    spheres: Spheres
    total: Tensor = field(default_factory=lambda: torch.zeros(()))

    def observe(self, _: int, __: float, gradient: Point) -> None:
        """Add a batch."""
        self.total = self.total + self.spheres.inner(gradient, gradient)


def debiased(surface: LossSurface, point: Point, spheres: Spheres, wanted: int) -> float:
    """The small-δ limit on ``wanted`` batches: each ‖∇_iL‖² less the noise that more batches would average out."""
    squares = Squares(spheres)
    _, gradient = surface.value_and_batch_gradients(point, squares.observe)
    mean = spheres.inner(gradient, gradient)
    count = surface.count
    variance = (squares.total - count * mean) / (count - 1)
    left = (mean - (1 / count - 1 / wanted) * variance).clamp_min(0).sqrt()
    return math.sqrt(2 / 3) * float((spheres.radii * left).sum())


@dataclass
class Draws:
    """What was measured on each draw of few samples."""

    values: list[float] = field(default_factory=list)
    crossed: list[float] = field(default_factory=list)
    exponents: list[float] = field(default_factory=list)
    corrected: list[float] = field(default_factory=list)

    def report(self, truth: float) -> None:
        """Print how often each interval holds the value of many samples."""
        values, crossed, exponents = self.values, self.crossed, self.exponents
        extrapolated = [value * (MANY / FEW) ** exponent for value, exponent in zip(values, exponents, strict=True)]
        print(
            f"value of {MANY:,} samples {truth:.3f}; of {FEW:,}: {fmean(values):.3f} ± {stdev(values):.3f} over draws"
        )
        print(f"exponent {fmean(exponents):.3f} ± {stdev(exponents):.3f}")
        inside = sum(low <= truth <= high for low, high in zip(crossed, values, strict=True))
        hull = f"hull [{fmean(crossed):.3f}, {fmean(values):.3f}]"
        print(f"{hull} on average: holds it in {inside} of {len(values)} draws")
        for name, found in (("value", values), ("debiased", self.corrected), ("extrapolated", extrapolated)):
            covered = sum(abs(each - truth) <= 2 * stdev(found) for each in found)
            print(f"{name} {fmean(found):.3f} ± 2 · {stdev(found):.3f}: holds it in {covered} of {len(found)} draws")


def surfaces(cifar: str) -> Callable[[int, int], LossSurface]:
    """The surface of the sample checkpoint on so many samples, drawn with a seed."""
    checkpoint = load_checkpoint(embedded_checkpoint("cifar10-lenet"))
    network = build_architecture(checkpoint.metadata["architecture"], checkpoint.metadata["architecture_options"])
    load_weights(network, checkpoint)
    data, preprocessing = open_data(cifar), Preprocessing.from_dict(checkpoint.metadata["preprocessing"])
    return lambda samples, seed: LossSurface.of(
        network, draw_batches(data, samples, BATCH, seed, preprocessing).batches
    )


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cifar", default="folder:cifar", help="CIFAR-10 images, as for bnsharp measure --data")
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--uncertainty", default="cheap", choices=["cheap", "full"])
    arguments = parser.parse_args()
    options, surface_of = MeasureOptions(uncertainty=arguments.uncertainty), surfaces(arguments.cifar)
    surface = surface_of(MANY, 1000)
    point = surface.point()
    blocks = find_blocks(surface, point)
    spheres, draws = blocks.spheres(point), Draws()
    truth = bn_sharpness(surface, point, blocks, options).value
    for draw in range(arguments.draws):
        surface = surface_of(FEW, draw)
        measured = bn_sharpness(surface, point, blocks, options)
        draws.values.append(measured.value)
        draws.crossed.append(measured.details["sampling"]["cross_fitted"])
        draws.exponents.append(measured.details["sampling"]["exponent"])
        draws.corrected.append(debiased(surface, point, spheres, MANY // BATCH))
    draws.report(truth)


if __name__ == "__main__":
    main()
