"""What finding the blocks of the next checkpoint of an architecture costs, beside those of the first.

    python -m benchmarks.next_checkpoint [resnet50 ...] [--rounds 3] [--threads 1]

torchvision's networks with random weights, another seed for each checkpoint, on eight images of their size. For each
network: passes over these images, and the medians of the processor's seconds over interleaved rounds. The blocks must
be the same.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torchvision import models

from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.blocks.search_memory import SearchMemory
from bnsharp_cli.measurement.surface.cost import Cost
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

_IMAGES = 8


def searched(name: str, seed: int, memory: SearchMemory | None) -> tuple[Blocks, Cost, float]:
    """The blocks of one checkpoint, the passes and the seconds."""
    torch.manual_seed(seed)
    network = models.get_model(name)
    batch = torch.randn(_IMAGES, 3, 224, 224), torch.randint(1000, (_IMAGES,))
    surface = LossSurface.of(network, [batch])
    point, began = surface.point(), time.process_time()
    blocks = find_blocks(surface, point, memory=memory)
    return blocks, surface.counter.all, time.process_time() - began


def row(name: str, rounds: int) -> str:
    """The first and the next checkpoint side by side."""
    first, again = [], []
    for number in range(rounds):
        memory = SearchMemory()
        searched(name, 2 * number, memory)
        again.append(searched(name, 2 * number + 1, memory))
        first.append(searched(name, 2 * number + 1, None))
        assert first[-1][0].tensors == again[-1][0].tensors
    seconds = [statistics.median(one[2] for one in each) for each in (first, again)]
    passes = " | ".join(
        f"{each[0][1].passes} in {own:.1f} s" for each, own in zip((first, again), seconds, strict=True)
    )
    return f"| {name} | {passes} | {seconds[1] / seconds[0]:.2f} |"


def main() -> None:
    """Parse the command line, run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=["resnet50"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print("| network | first checkpoint | next one | ratio of seconds |\n| --- | --- | --- | ---: |")
    for name in options.networks:
        print(row(name, options.rounds), flush=True)


if __name__ == "__main__":
    main()
