"""How often does the interval for the whole split hold its value, and how wide is it?

    python -m benchmarks.population --networks DIR --record draws.jsonl [--cifar folder:DIR] [--draws 100]

LeNet-BN and an mlp without norms learn the digits, LeNet-BN and resnet18 learn 4,096 CIFAR-10 images, each until its
training loss falls below the levels in ``trained_networks.LEVELS``; the states are kept in DIR. Each network is then
measured as ``bnsharp measure`` does, at δ = 1e-3, on draws of its training data, with running statistics, so that the
value of the whole split does not depend on how it is cut into batches. Beside the interval stand the hull of
cross-fitted and in-sample value, which earlier versions stated, and how often an interval was given at all. Draws that
the record holds are not measured again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import fmean

import torch
from torch import Tensor, nn

from benchmarks.trained_networks import SUBJECTS, Data, arguments_of, data_of, recorded, trained
from bnsharp_cli.core.point import Point
from bnsharp_cli.core.spheres import Spheres
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.measures.bn_sharpness import bn_sharpness
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.batch_sizes import BatchSizes
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

BATCH = 32


@dataclass(frozen=True)
class Draw:
    """What one draw said of the whole split.

    Attributes:
        network: its kind and level.
        seed: of the draw.
        samples: how many were drawn.
        truth: the value of the whole split.
        value: of the draw.
        estimate: for the whole split.
        low: the lower end of its interval, or None.
        high: the upper end.
        crossed: the cross-fitted value.
    """

    network: str
    seed: int
    samples: int
    truth: float
    value: float
    estimate: float
    low: float | None
    high: float | None
    crossed: float


def surface_of(network: nn.Module, data: Data, indices: Tensor) -> LossSurface:
    """L on some of the data."""
    parts = indices.split(BATCH)
    sizes = BatchSizes(tuple(map(len, parts)), len(data[0]))
    batches = [(data[0][part], data[1][part]) for part in parts]
    return LossSurface.of(network, batches, batch_statistics=False, sizes=sizes, device=data[0].device)


def draws(name: str, network: nn.Module, data: Data, samples: int, seeds: range) -> Iterator[Draw]:
    """Measure the whole split, then one draw after the other."""
    surface = surface_of(network, data, torch.arange(len(data[0])))
    point, options = surface.point(), MeasureOptions()
    blocks = find_blocks(surface, point)
    truth = bn_sharpness(surface, point, blocks, options).value
    for seed in seeds:
        order = torch.randperm(len(data[0]), generator=torch.Generator().manual_seed(seed))
        surface = surface_of(network, data, order[:samples])
        found = bn_sharpness(surface, point, blocks, options)
        told = found.details["population"]
        if told is None:  # curvature speaks
            continue
        crossed = _crossed(surface, point, blocks.spheres(point)) * found.value / found.details["limit"]
        yield Draw(name, seed, samples, truth, found.value, told["value"], told["low"], told["high"], crossed)


def _crossed(surface: LossSurface, point: Point, spheres: Spheres) -> float:
    """The limit for δ → 0 along directions of one half of the batches on the other half."""
    middle = surface.count // 2
    halves = [surface.part(0, middle), surface.part(middle, surface.count)]
    first, second = (half.value_and_gradient(point)[1] for half in halves)
    inner = spheres.radii * spheres.inner(first, second)
    sides = [abs(float((inner / spheres.norms(side).clamp_min(1e-300)).sum())) for side in (first, second)]
    return float((2 / 3) ** 0.5) * fmean(sides)


def table(found: list[Draw]) -> Iterator[str]:
    """A row for every network and number of samples."""
    yield "| network, training loss | samples | draws | whole split | estimate | interval | covers | hull | covers |"
    yield "| --- | ---: | ---: | ---: | ---: | --- | ---: | --- | ---: |"
    for name, samples in dict.fromkeys((draw.network, draw.samples) for draw in found):
        own = [draw for draw in found if (draw.network, draw.samples) == (name, samples)]
        given = [draw for draw in own if draw.low is not None and draw.high is not None]
        truth = own[0].truth
        ends = [(draw.low or 0.0, draw.high or 0.0) for draw in given]
        covers = sum(low <= truth <= high for low, high in ends)
        hull = [sorted((draw.crossed, draw.value)) for draw in own]
        held = sum(low <= truth <= high for low, high in hull)
        yield (
            f"| {name} | {samples:,} | {len(own)} | {truth:.3g} | {fmean(draw.estimate for draw in own):.3g} "
            f"| {_mean_ends(ends)} | {covers} of {len(given)} | {_mean_ends(hull)} | {held / len(own):.0%} |"
        )


def _mean_ends(ends: list[tuple[float, float]] | list[list[float]]) -> str:
    if not ends:
        return "–"
    return f"{fmean(end[0] for end in ends):.3g} … {fmean(end[1] for end in ends):.3g}"


def main() -> None:
    """Parse the command line and run."""
    arguments = arguments_of(__doc__)
    found = [Draw(**one) for one in recorded(arguments.record)]
    for name, subject in SUBJECTS.items():
        if not subject.samples or arguments.only not in name or (subject.data == "cifar" and not arguments.cifar):
            continue
        data = data_of(subject, arguments)
        for label, network in trained(name, data, arguments.networks):
            for samples in subject.samples:
                done = [draw.seed for draw in found if (draw.network, draw.samples) == (label, samples)]
                seeds = range(max(done, default=-1) + 1, arguments.draws)
                for draw in draws(label, network, data, samples, seeds) if seeds else ():
                    with arguments.record.open("a") as record:
                        record.write(json.dumps(asdict(draw)) + "\n")
                    found.append(draw)
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
