"""How much faster two processes of one thread each measure than one: ``python benchmarks/processes.py``.

LeNet-BN (the CIFAR-10 sample) on 8,192 images of 32 × 32 in batches of 128; the measured part alone: BN-Sharpness with
all its passes, without start-up, data and the finding of blocks, which every process does for itself. Runs alternate
between one process, while the other sleeps, and both; the ratio is that of the medians of their wall times. The third
column is the most that the machine has to give at that moment: both processes, each with its half of the batches and
without a word to the other. Where that is below 2, something else uses the cores; the processor times of the first
process show what is left of the work whatever else runs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist

from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.io.checkpoints.samples import embedded_checkpoint
from bnsharp_cli.io.networks.load_weights import load_weights
from bnsharp_cli.io.networks.network_identity import build_architecture
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.measures.bn_sharpness import bn_sharpness
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.processes import ALONE, join

BATCH_SIZE = 128


def lenet(samples: int) -> LossSurface:
    """The sample network on random images: how long a pass takes does not depend on what they show."""
    checkpoint = load_checkpoint(embedded_checkpoint("cifar10-lenet"))
    module = build_architecture(checkpoint.metadata["architecture"], checkpoint.metadata["architecture_options"])
    load_weights(module, checkpoint)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(samples, 3, 32, 32, generator=generator)
    labels = torch.randint(10, (samples,), generator=generator)
    return LossSurface.of(module, list(zip(images.split(BATCH_SIZE), labels.split(BATCH_SIZE), strict=True)))


def compare(runs: int, samples: int) -> None:
    """Time both ways in turn; the first process prints."""
    processes = join(600)
    together = replace(lenet(samples), processes=processes)
    alone = replace(together, processes=ALONE)
    halves = replace(alone, batches=tuple(processes.own(alone.batches)))
    point, options = together.point(), MeasureOptions()
    blocks = find_blocks(alone, point)
    ways = {"1 process": alone, "2 processes": together, "2 halves": halves}
    wall: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    values = {}
    for _ in range(runs + 1):  # the first round warms up
        for name, surface in ways.items():
            dist.barrier()
            if surface is alone and processes.rank:
                continue
            began, own = time.monotonic(), time.process_time()
            values[name] = bn_sharpness(surface, point, blocks, options).value
            wall[name].append(time.monotonic() - began)
            processor[name].append(time.process_time() - own)
    dist.barrier()
    if processes.rank == 0:
        for kind, times in (("wall", wall), ("processor", processor)):
            medians = {name: statistics.median(seconds[1:]) for name, seconds in times.items()}
            ratio = medians["1 process"]
            figures = "   ".join(f"{name} {median:6.3f} s ({ratio / median:.2f} x)" for name, median in medians.items())
            sys.stdout.write(f"{kind:10} {figures}\n")
        one, two = values["1 process"], values["2 processes"]
        sys.stdout.write(f"value      1 process {one:.9g}   2 processes {two:.9g}   difference {two / one - 1:.1e}\n")
    dist.destroy_process_group()


def main() -> None:
    """Start both processes, or be one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="interleaved runs of each")
    parser.add_argument("--samples", type=int, default=8192, help="a multiple of 128")
    arguments = parser.parse_args()
    if dist.is_torchelastic_launched():
        compare(arguments.runs, arguments.samples)
        return
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", str(Path(__file__).resolve())]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    subprocess.run(
        [*command, "--runs", str(arguments.runs), "--samples", str(arguments.samples)], env=environment, check=True
    )


if __name__ == "__main__":
    main()
