"""How often does the interval of the ratio of two networks hold the ratio on the whole split, and how wide is it?

    python -m benchmarks.paired --networks DIR --record draws.jsonl [--measure bn] [--cifar folder:DIR] [--draws 100]

The networks are those of :mod:`benchmarks.population`. Each is measured at δ = 1e-3 with running statistics on the same
draws, and every pair of the same kind is compared as ``bnsharp compare`` does. Beside the paired
interval stands the unpaired one, which takes the errors of the two as independent. Draws that the record holds are not
measured again.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Any

import torch
from torch import nn

from benchmarks.population import surface_of
from benchmarks.trained_networks import SUBJECTS, Data, arguments_of, data_of, recorded, trained
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.comparison.paired_ratio import PairedRatio, paired_ratio
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.registry import MEASURES

MEASURE = "bn"
"""What is measured unless another measure is named."""

WHOLE = -1
"""Stands for the whole split among the seeds of draws."""

Draws = dict[tuple[str, int, int], Mapping[str, Any]]
"""What was measured, by network, samples and seed."""


def measured(
    measure: str, name: str, network: nn.Module, data: Data, samples: int, seeds: list[int]
) -> Iterator[dict[str, Any]]:
    """One network on draws of its data, a record each."""
    surface = surface_of(network, data, torch.arange(len(data[0])))
    point, options = surface.point(), MeasureOptions()
    blocks = find_blocks(surface, point)
    for seed in seeds:
        order = torch.randperm(len(data[0]), generator=torch.Generator().manual_seed(max(seed, 0)))
        surface = surface_of(network, data, order if seed == WHOLE else order[:samples])
        found = MEASURES[measure](surface.remembering(point), point, blocks, options).to_dict()
        about = {"measure": measure, "network": name, "samples": samples, "seed": seed, "available": len(data[0])}
        yield {**about, "measured": found}


def table(draws: Draws) -> Iterator[str]:
    """A row for every pair of one kind and number of samples."""
    yield "| first, second | samples | draws | ratio | interval | covers | decided | width, paired / unpaired |"
    yield "| --- | ---: | ---: | ---: | --- | ---: | ---: | ---: |"
    samples = dict.fromkeys((name, count) for name, count, _ in draws)
    held = given = 0
    for (first, count), (second, other) in itertools.combinations(samples, 2):
        if count != other or first.rpartition(" ")[0] != second.rpartition(" ")[0]:
            continue
        seeds = [seed for name, own, seed in draws if (name, own) == (first, count) and seed != WHOLE]
        truth = math.prod(_value(draws[name, count, WHOLE]) ** power for name, power in ((first, 1), (second, -1)))
        found = [_ratio(draws[first, count, seed], draws[second, count, seed]) for seed in seeds]
        pairs = [(paired, unpaired) for paired, unpaired in found if paired.low is not None]
        if not pairs:
            continue
        covers = sum((one.low or 0) <= truth <= (one.high or 0) for one, _ in pairs)
        decided = sum(one.larger is not None for one, _ in pairs)
        widths = [math.log((one.high or 1) / (one.low or 1)) for one, _ in pairs]
        held, given = held + covers, given + len(pairs)
        low, high = (math.exp(fmean(math.log(end or 1) for end in ends)) for ends in zip(*_ends(pairs), strict=True))
        yield (
            f"| {first}, {second.rpartition(' ')[2]} | {count:,} | {len(seeds)} | {truth:.3g} | {low:.3g} … {high:.3g} "
            f"| {covers} of {len(pairs)} | {decided} | {fmean(widths) / fmean(width for _, width in pairs):.2f} |"
        )
    yield f"\nTogether {held:,} of {given:,} intervals hold the ratio ({held / max(1, given):.1%})."


def _ends(pairs: list[tuple[PairedRatio, float]]) -> list[tuple[float | None, float | None]]:
    return [(one.low, one.high) for one, _ in pairs]


def _value(record: Mapping[str, Any]) -> float:
    return float(record["measured"]["value"])


def _ratio(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[PairedRatio, float]:
    """The paired interval, and the width of the logarithm's unpaired one."""
    own, their = (Measurement.from_dict(MEASURE, one["measured"]) for one in (first, second))
    paired = paired_ratio(own, their, first["samples"], first["available"])
    reference = Measurement.from_dict(MEASURE, {**second["measured"], "by_batch": [1.0] * len(their.by_batch)})
    widths = []
    for one in (own, their):
        alone = paired_ratio(one, reference, first["samples"], first["available"])
        widths.append(math.log((alone.high or 1) / (alone.low or 1)))
    return paired, math.hypot(*widths)


def main() -> None:
    """Parse the command line and run."""
    arguments = arguments_of(__doc__, (MEASURE, *(name for name in MEASURES if name != MEASURE)))
    measure, draws = arguments.measure, Draws()
    for one in recorded(arguments.record):
        if one.get("measure", MEASURE) == measure:
            draws[one["network"], one["samples"], one["seed"]] = one
    for name, subject in SUBJECTS.items():
        if arguments.only not in name or len(subject.levels) < 2 or (subject.data == "cifar" and not arguments.cifar):
            continue
        data = data_of(subject, arguments)
        for (label, network), samples in itertools.product([*trained(name, data, arguments.networks)], subject.samples):
            missing = [seed for seed in (WHOLE, *range(arguments.draws)) if (label, samples, seed) not in draws]
            for record in measured(measure, label, network, data, samples, missing) if missing else ():
                with arguments.record.open("a") as stream:
                    stream.write(json.dumps(record) + "\n")
                draws[label, samples, record["seed"]] = record
    print("\n".join(table(draws)))


if __name__ == "__main__":
    main()
