"""Does the stated rounding floor hold? float32 against float64, and float64 against other ways to sum.

    python -m benchmarks.rounding [--trials 200] [--delta 0.1] [--cifar folder:DIR]

A trial draws other samples, measures in the one arithmetic and in the other, and compares the difference with the
stated floor. The search runs in both, so the rounding of the direction counts. float64 is measured again with the
samples inside every batch in another order (``reordered``), and with the sums of every layer as if in twice the
precision (``compensated``, slow for convolutions).
Prints one row a measure and network: trials, those below the floor, and the median floor in units of the root mean
square of the true errors.
"""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from statistics import median

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from benchmarks.compensated import CompensatedSums
from benchmarks.search import cifar_lenet, digits, digits_lenet
from bnsharp_cli.core.point import Point
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.stacking import PointsAtOnce

RADII = (1e-3, 1e-2, 1e-1)
ARITHMETICS = ("float32", "reordered", "compensated")


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


def against(
    arithmetic: str, drawn: LossSurface, index: int
) -> tuple[LossSurface, LossSurface, TorchFunctionMode | None]:
    """What is measured, what it is held against, and the mode in which the latter is computed."""
    precise = replace(drawn.in_precision(torch.float64), points_at_once=PointsAtOnce("loop"))
    if arithmetic == "float32":
        return drawn, precise, None
    return (
        (reordered(precise, index), precise, None)
        if arithmetic == "reordered"
        else (precise, precise, CompensatedSums())
    )


def compare(
    name: str, measure: str, cifar: str, trials: int, arithmetic: str, radii: Sequence[float]
) -> tuple[int, int, float]:
    """(trials, below the floor, median of floor / rms error) of one measure of one network, over all radii."""
    surface, point, _ = NETWORKS[name](cifar)
    blocks = find_blocks(surface, point)
    below, ratios = 0, []
    for delta in radii:
        options = MeasureOptions.from_flat(delta=delta, precision="float64", ball_samples=4)
        floors, errors = [], []
        for index, drawn in enumerate(draws(surface, trials // len(radii))):
            measured, reference, mode = against(arithmetic, drawn, index)
            with mode or contextlib.nullcontext():
                truth = MEASURES[measure](reference, point, blocks, options)
            own = replace(options, precision="float32") if measured.dtype == torch.float32 else options
            found = MEASURES[measure](measured, point, blocks, own)
            floors.append(found.uncertainty.rounding or 0.0)
            errors.append(abs(found.value - truth.value))
        below += sum(error <= floor for error, floor in zip(errors, floors, strict=True))
        spread = math.sqrt(math.fsum(error * error for error in errors) / len(errors))
        ratios.append(median(floors) / spread if spread else math.inf)
    return len(radii) * (trials // len(radii)), below, median(ratios)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=200, help="of each network and measure")
    parser.add_argument("--cifar", default="folder:cifar", help="CIFAR-10 images, as for bnsharp measure --data")
    parser.add_argument("--network", action="append", choices=list(NETWORKS), help="all by default")
    parser.add_argument("--measure", action="append", choices=list(MEASURES), help="all by default")
    parser.add_argument("--arithmetic", action="append", choices=ARITHMETICS, help="all by default")
    parser.add_argument("--delta", type=float, action="append", help="radii, 1e-3, 1e-2 and 0.1 by default")
    arguments = parser.parse_args()
    radii = arguments.delta or RADII
    torch.set_num_threads(1)  # training rounds differently with more
    print("| arithmetic | measure | network | trials | below the floor | floor / rms error |")
    print("| --- | --- | --- | ---: | ---: | ---: |")
    for arithmetic in arguments.arithmetic or ARITHMETICS:
        for measure in arguments.measure or MEASURES:
            for name in arguments.network or NETWORKS:
                count, below, ratio = compare(name, measure, arguments.cifar, arguments.trials, arithmetic, radii)
                print(
                    f"| {arithmetic} | {measure} | {name} | {count} | {below / count:.1%} | {ratio:.1f} |", flush=True
                )


if __name__ == "__main__":
    main()
