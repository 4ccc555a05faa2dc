"""What the statistics of batch norm and the size of the batches do to BN-Sharpness, on the same samples.

    python -m benchmarks.policies --networks DIR --record FILE [--cifar folder:DIR] [--only NAME]

Each network with batch norm of :mod:`benchmarks.trained_networks` is measured at δ = 1e-3 on 1,280 of its samples, with
the statistics of batches of 32, 128 and 640 and with the running ones. A network that the record holds is not measured
again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from benchmarks.trained_networks import SUBJECTS, Data, arguments_of, cifar, digits, recorded, trained
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.measures.bn_sharpness import bn_sharpness
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

KINDS = ("lenet-bn digits", "lenet-bn cifar", "bn-mlp digits")
SIZES = (32, 128, 640)
SAMPLES = 1280


def measured(name: str, network: nn.Module, data: Data) -> dict[str, Any]:
    """The loss and the value by each policy."""
    order = torch.randperm(len(data[0]), generator=torch.Generator().manual_seed(0))[:SAMPLES]
    found: dict[str, Any] = {"network": name}
    for policy, size in [*(("batch", size) for size in SIZES), ("running", 128)]:
        batches = [(data[0][part], data[1][part]) for part in order.split(size)]
        surface = LossSurface.of(network, batches, batch_statistics=policy == "batch")
        point = surface.point()
        value = bn_sharpness(surface, point, find_blocks(surface, point), MeasureOptions()).value
        found["running" if policy == "running" else f"batches of {size}"] = (surface.value(point), value)
    return found


def table(records: list[Mapping[str, Any]]) -> Iterator[str]:
    """A row for every network; the loss behind the value."""
    columns = [*(f"batches of {size}" for size in SIZES), "running"]
    yield f"| network | {' | '.join(columns)} |"
    yield "| --- |" + " ---: |" * len(columns)
    for record in records:
        cells = (f"{record[column][1]:.2g} at a loss of {record[column][0]:.2g}" for column in columns)
        yield f"| {record['network']} | {' | '.join(cells)} |"


def main() -> None:
    """Parse the command line, measure what is missing, print."""
    arguments = arguments_of(__doc__)
    known = {one["network"] for one in recorded(arguments.record)}
    with arguments.record.open("a") as record:
        for name in KINDS:
            on_digits = SUBJECTS[name].data == "digits"
            if arguments.only not in name or not (on_digits or arguments.cifar):
                continue
            data = digits() if on_digits else cifar(arguments.cifar)
            for network, module in trained(name, data, arguments.networks):
                if network not in known:
                    record.write(json.dumps(measured(network, module, data)) + "\n")
                    record.flush()
    print("\n".join(table(recorded(arguments.record))))


if __name__ == "__main__":
    main()
