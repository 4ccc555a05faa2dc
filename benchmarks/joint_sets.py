"""The joint invariances of densenet121: how many there are, what confirming them costs, and batched cotangents.

    python -m benchmarks.joint_sets [--cotangents 16] [--rounds 3] [--threads 1]

Initial weights, eight random images of 64 × 64, batch statistics. Forwards are those that the extended partition takes
more than the paper's to confirm its blocks; the ratio is that of the time with all cotangents in one backward pass to
that with one after the other, medians over interleaved rounds.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor
from torchvision import models

from benchmarks.device_timing import Bench, Scale
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.blocks.find_blocks import find_partitions
from bnsharp_cli.measurement.blocks.probe import Probe
from bnsharp_cli.measurement.surface.loss_surface import LossSurface


def confirmed(surface: LossSurface, partition: str) -> tuple[Blocks, int]:
    """The blocks of a partition, and how many forward passes confirming them took."""
    passes = 0
    plain_outputs, plain_check = Probe.outputs, Probe.unchanged
    checking = False

    def outputs(probe: Probe, *arguments: object) -> list[Tensor]:
        nonlocal passes
        passes += checking
        return plain_outputs(probe, *arguments)

    def unchanged(probe: Probe, *arguments: object) -> bool:
        nonlocal checking
        checking = True
        try:
            return plain_check(probe, *arguments)
        finally:
            checking = False

    with mock.patch.object(Probe, "outputs", outputs), mock.patch.object(Probe, "unchanged", unchanged):
        (blocks,) = find_partitions(surface, surface.point(), (partition,))
    return blocks, passes


def batched_ratio(surface: LossSurface, inputs: Tensor, cotangents: int, rounds: int) -> float:
    """The time of one backward pass for all cotangents over that of one pass for each."""
    leaves = {name: tensor.float().requires_grad_() for name, tensor in surface.point().items()}
    (output,) = surface.outputs(leaves, inputs)
    directions = torch.randn(cotangents, *output.shape, generator=torch.Generator().manual_seed(0))

    def together() -> object:
        return _gradients(output, leaves.values(), directions, batched=True)

    def one_by_one() -> object:
        return [_gradients(output, leaves.values(), direction, batched=False) for direction in directions]

    bench = Bench(torch.device("cpu"), Scale(), print, Path())
    batched, single = bench.seconds(together, one_by_one, repeats=rounds)
    return batched / single


def _gradients(output: Tensor, leaves: Iterable[Tensor], direction: Tensor, batched: bool) -> object:
    return torch.autograd.grad(output, [*leaves], direction, retain_graph=True, is_grads_batched=batched)


def main() -> None:
    """Parse the command line, run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cotangents", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    inputs, targets = torch.randn(8, 3, 64, 64), torch.randint(10, (8,))
    surface = LossSurface.of(models.densenet121(num_classes=10), [(inputs, targets)])
    _, usual = confirmed(surface, "paper")
    blocks, forwards = confirmed(surface, "extended")
    print(f"{len(blocks.joint)} joint sets, confirmed by {forwards - usual} further forwards")
    print(f"batched cotangents: {batched_ratio(surface, inputs, options.cotangents, options.rounds):.2f} x")


if __name__ == "__main__":
    main()
