"""Which values are typical: BN-Sharpness and three other measures of networks whose training is known.

    python -m benchmarks.typical --networks DIR --record FILE [--cifar folder:DIR]
    python -m benchmarks.typical --networks DIR --record FILE --checkpoints DIR --data folder:DIR [--samples 1280]

The first line measures the networks of :mod:`benchmarks.trained_networks`, which are trained first if DIR does not hold
them, and the sample checkpoints but for those of the study, which learnt a part of the images. The second adds every
checkpoint of a folder, such as torchvision's pretrained ones, as ``bnsharp measure`` opens it. A network that the
record holds is not measured again; the table has all of them.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.trained_networks import SUBJECTS, Data, cifar, digits, recorded, trained
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.measures.measure_all import measure_all
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.selection import Selection
from bnsharp_cli.measurement.surface.batch_sizes import BatchSizes
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

TAKEN = Selection(("bn", "noise", "adaptive", "relative-flatness"), (1e-3, 1e-2, 0.1))
BATCH = 128
MOST = {"resnet18 cifar": 512}
"""Samples of the networks that take longest; 1,280 of all others."""

SAMPLES = Path(__file__).parents[1] / "sample_checkpoints"


def of_network(kind: str, name: str, network: nn.Module, data: Data, samples: int) -> dict[str, Any]:
    """What a network that was trained here has on samples of its data."""
    order = torch.randperm(len(data[0]), generator=torch.Generator().manual_seed(0))[:samples]
    parts = [part for part in order.split(BATCH) if len(part) == BATCH]
    batches = [(data[0][part], data[1][part]) for part in parts]
    surface = LossSurface.of(network, batches, sizes=BatchSizes((BATCH,) * len(parts), len(data[0])))
    point, options = surface.point(), MeasureOptions()
    blocks, figures = find_blocks(surface, point), surface.evaluated(point)
    found = measure_all(surface, point, blocks, TAKEN.measure, TAKEN.runs(options)).to_dict()
    return {
        "network": name,
        "kind": kind,
        "blocks": blocks.invariant,
        "samples": BATCH * len(parts),
        "available": len(data[0]),
        "loss": math.fsum(figures.batch_losses) / len(parts),
        "accuracy": figures.accuracy,
        "measures": found,
    }


def of_checkpoint(path: str, name: str, data: str, samples: int) -> dict[str, Any] | None:
    """What a checkpoint has, as the command measures it; None where it cannot."""
    measures = [word for one in TAKEN.measure for word in ("--measure", one)]
    radii = ",".join(map(str, TAKEN.delta))
    given = ["--data", data] if data else []
    command = ["measure", path, *measures, "--delta", radii, "--samples", str(samples), "--batch-size", str(BATCH)]
    run = [sys.executable, "-P", "-m", "bnsharp_cli", *command, *given, "--json", "--quiet"]
    finished = subprocess.run(run, capture_output=True, text=True, check=False)
    if finished.returncode:
        print(f"{name}: {finished.stderr.strip()}", file=sys.stderr)
        return None
    document = json.loads(finished.stdout)
    return {
        "network": name,
        "samples": document["data"]["samples"],
        "available": document["data"]["available"],
        **{key: document[key] for key in ("loss", "accuracy", "measures")},
    }


def measured(arguments: argparse.Namespace, known: set[str]) -> Iterator[dict[str, Any]]:
    """A record of every network that is not known yet."""
    for name, subject in SUBJECTS.items():
        if arguments.only in name and (subject.data == "digits" or arguments.cifar):
            data = digits() if subject.data == "digits" else cifar(arguments.cifar)
            for network, module in trained(name, data, arguments.networks):
                if network not in known:
                    yield of_network(name, network, module, data, MOST.get(name, 1280))
    named = {f"sample:{path.stem}": path.stem for path in sorted(SAMPLES.glob("*.pt")) if "study" not in path.stem}
    checkpoints = [
        (spec, stem, "" if stem.startswith("digits") else arguments.cifar)
        for spec, stem in named.items()
        if arguments.only in spec
    ]
    if arguments.checkpoints is not None:
        others = sorted(path for path in arguments.checkpoints.iterdir() if path.is_file())
        checkpoints += [(str(path), path.stem, arguments.data) for path in others]
    for path, name, data in checkpoints:
        possible = name not in known and (data or path.startswith("sample:digits"))
        found = of_checkpoint(path, name, data, arguments.samples) if possible else None
        if found is not None:
            yield found


def table(records: list[Mapping[str, Any]]) -> Iterator[str]:
    """A row for every network."""
    radii = " | ".join(f"`bn`, δ = {delta:g}" for delta in TAKEN.delta)
    others = " | ".join(f"`{name}`" for name in TAKEN.measure[1:])
    yield f"| network | samples | loss | accuracy | {radii} | {others} |"
    yield "| --- |" + " ---: |" * (3 + len(TAKEN.delta) + len(TAKEN.measure) - 1)
    unlike = {(record.get("kind", record["network"]), record["loss"]): record for record in records}
    for (network, _), record in sorted(unlike.items(), key=lambda each: (each[0][0], -each[0][1])):
        measures = record["measures"]
        cells = [
            f"{record['samples']:,} of {record['available']:,}",
            f"{record['loss']:.2g}",
            f"{record['accuracy']:.1%}".replace("%", " %"),
            *map(_with_interval, measures["bn"]["profile"]),
            *(f"{measures[name]['value']:.2g}" if name in measures else "–" for name in TAKEN.measure[1:]),
        ]
        yield f"| {network} | {' | '.join(cells)} |"


def _with_interval(measurement: Mapping[str, Any]) -> str:
    """The value, and the interval of the whole split where there is one."""
    told = measurement["population"] or {}
    ends = told.get("low"), told.get("high")
    interval = "" if None in ends else f" ({ends[0]:.2g} … {ends[1]:.2g})"
    return f"{measurement['value']:.2g}{interval}"


def main() -> None:
    """Parse the command line, measure what is missing, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=Path, required=True, help="folder of the trained networks")
    parser.add_argument("--record", type=Path, required=True, help="file of what was measured, a line each")
    parser.add_argument("--cifar", default="", help="CIFAR-10 images, as for bnsharp measure --data; none by default")
    parser.add_argument("--checkpoints", type=Path, help="folder of further checkpoints")
    parser.add_argument("--data", default="", help="the data of those, as for bnsharp measure")
    parser.add_argument("--samples", type=int, default=1280, help="of each checkpoint")
    parser.add_argument("--only", default="", help="the trained networks and samples whose name holds this")
    arguments = parser.parse_args()
    arguments.networks.mkdir(parents=True, exist_ok=True)
    known = {one["network"] for one in recorded(arguments.record)}
    with arguments.record.open("a") as record:
        for one in measured(arguments, known):
            print(one["network"], file=sys.stderr)
            record.write(json.dumps(one) + "\n")
            record.flush()
    print("\n".join(table(recorded(arguments.record))))


if __name__ == "__main__":
    main()
