"""Does the stated rounding floor hold? float32 against float64, and float64 against another order of summation.

    python -m benchmarks.rounding [--trials 200] [--cifar folder:DIR]

A trial draws other samples, measures in the one arithmetic and in the other, and compares the difference with the
stated floor. The search runs in both, so the rounding of the direction counts. float64 is measured again with the
samples inside every batch and the hidden units permuted, which changes nothing but the order of every sum.
Prints one row a measure and network: trials, those below the floor, and the median floor in units of the root mean
square of the true errors.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import median

import torch
from torch import Tensor, nn

from benchmarks.search import cifar_lenet, digits, digits_lenet
from bnsharp_cli.core.point import Point
from bnsharp_cli.measurement.blocks import Blocks
from bnsharp_cli.measurement.find_blocks import find_blocks
from bnsharp_cli.measurement.measures import MEASURES
from bnsharp_cli.measurement.options import MeasureOptions
from bnsharp_cli.measurement.surface import LossSurface

RADII = (1e-3, 1e-2, 1e-1)


def mlp(norm: Callable[[int], nn.Module], target: float) -> Callable[[str], tuple[LossSurface, Point, Blocks]]:
    """A network of two hidden layers of 32 on digits."""

    def build(_: str) -> tuple[LossSurface, Point, Blocks]:
        torch.manual_seed(0)
        layers = [nn.Flatten(), nn.Linear(64, 32), norm(32), nn.ReLU(), nn.Linear(32, 32), norm(32), nn.ReLU()]
        return digits(nn.Sequential(*layers, nn.Linear(32, 10)), target, 0.02)

    return build


NETWORKS: dict[str, Callable[[str], tuple[LossSurface, Point, Blocks]]] = {
    "mlp batch norm": mlp(nn.BatchNorm1d, 1e-2),
    "mlp layer norm": mlp(nn.LayerNorm, 1e-2),
    "mlp no norm": mlp(lambda _: nn.Identity(), 1e-2),
    "lenet 6e-2": digits_lenet(6e-2, 0.005),
    "lenet 1e-4": digits_lenet(1e-4, 0.05),
    "cifar lenet": cifar_lenet,
}


def draws(surface: LossSurface, trials: int, size: int = 32) -> Iterator[LossSurface]:
    """Surfaces on four batches of other samples of the same ones."""
    inputs, targets = (torch.cat(parts) for parts in zip(*surface.batches, strict=True))
    generator = torch.Generator().manual_seed(1)
    for _ in range(trials):
        chosen = torch.randint(len(inputs), (4, size), generator=generator)
        yield replace(surface, batches=tuple((inputs[part], targets[part]) for part in chosen))


def reordered(surface: LossSurface, seed: int) -> LossSurface:
    """The same surface with the samples of every batch in another order."""
    generator = torch.Generator().manual_seed(seed)

    def permuted(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        order = torch.randperm(len(inputs), generator=generator)
        return inputs[order], targets[order]

    return replace(surface, batches=tuple(permuted(*batch) for batch in surface.batches))


def compare(name: str, measure: str, cifar: str, trials: int, double: bool) -> tuple[int, int, float]:
    """(trials, below the floor, median of floor / rms error) of one measure of one network, over all radii."""
    surface, point, _ = NETWORKS[name](cifar)
    blocks = find_blocks(surface, point)
    below, ratios = 0, []
    for delta in RADII:
        options = MeasureOptions(delta=delta, precision="float64" if double else "float32", ball_samples=4)
        floors, errors = [], []
        for index, drawn in enumerate(draws(surface, trials // len(RADII))):
            precise = drawn.in_precision(torch.float64)
            truth = MEASURES[measure](precise, point, blocks, replace(options, precision="float64"))
            other = reordered(precise, index) if double else drawn
            found = MEASURES[measure](other, point, blocks, options)
            floors.append(found.uncertainty.rounding or 0.0)
            errors.append(abs(found.value - truth.value))
        below += sum(error <= floor for error, floor in zip(errors, floors, strict=True))
        spread = math.sqrt(math.fsum(error * error for error in errors) / len(errors))
        ratios.append(median(floors) / spread if spread else math.inf)
    return len(RADII) * (trials // len(RADII)), below, median(ratios)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=200, help="of each network and measure")
    parser.add_argument("--cifar", default="folder:cifar", help="CIFAR-10 images, as for bnsharp measure --data")
    parser.add_argument("--network", action="append", choices=list(NETWORKS), help="all by default")
    parser.add_argument("--measure", action="append", choices=list(MEASURES), help="all by default")
    arguments = parser.parse_args()
    print("| arithmetic | measure | network | trials | below the floor | floor / rms error |")
    print("| --- | --- | --- | ---: | ---: | ---: |")
    for double in (False, True):
        for measure in arguments.measure or MEASURES:
            for name in arguments.network or NETWORKS:
                count, below, ratio = compare(name, measure, arguments.cifar, arguments.trials, double)
                kind = "float64, reordered" if double else "float32"
                print(f"| {kind} | {measure} | {name} | {count} | {below / count:.1%} | {ratio:.1f} |", flush=True)


if __name__ == "__main__":
    main()
