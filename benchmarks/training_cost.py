"""What a step of SGDS costs beside a step of SGD.

    python -m benchmarks.training_cost [--batch-size 512] [--rounds 15] [--threads 2]

LeNet-BN on images of CIFAR-10's size, random ones, float32. The rules take one step each in turn, so that whatever
else the machine does hits all of them; printed are medians over the rounds of the ratio to the step of SGD in the same
round.
The goal: at most 3.1 × without search (three gradients), and at most 2.1 × more for each search step (two gradients).
"""

from __future__ import annotations

import argparse
import functools
import time
from statistics import median

import torch
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.models.lenet import lenet_bn
from bnsharp_cli.training.registry import SgdsOptions
from bnsharp_cli.training.rules import Sgd, TrainingRule
from bnsharp_cli.training.sam import Sam
from bnsharp_cli.training.sgds import Sgds

STEPS = (0, 1, 2, 5)


def rules(batch_size: int) -> dict[str, functools.partial[object]]:
    """A step of each rule, every one with a network of its own and the same batch."""
    torch.manual_seed(0)
    inputs, targets = torch.randn(batch_size, 3, 32, 32), torch.randint(10, (batch_size,))
    found: dict[str, TrainingRule] = {}
    for name in ("sgd", "sam", *(f"sgds K1={steps}" for steps in STEPS)):
        torch.manual_seed(1)
        module = lenet_bn()
        if name.startswith("sgds"):
            blocks = bnsharp_cli.find_blocks(module, [(inputs[:64], targets[:64])])
            options = SgdsOptions(search_steps=int(name.rpartition("=")[2]))
            found[name] = Sgds(module, blocks, 0.01, momentum=0.9, options=options)
        else:
            found[name] = (Sgd if name == "sgd" else Sam)(module, 0.01, momentum=0.9)

    def closure(rule: TrainingRule) -> torch.Tensor:
        return functional.cross_entropy(rule.module.train()(inputs), targets)

    return {name: functools.partial(rule.step, functools.partial(closure, rule)) for name, rule in found.items()}


def main() -> None:
    """Parse the command line, run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    steps = rules(options.batch_size)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(options.rounds + 2):
        for name, step in steps.items():
            begin = time.perf_counter()
            step()
            if number >= 2:  # the first rounds warm up
                seconds[name].append(time.perf_counter() - begin)
    ratios = {
        name: median(mine / plain for mine, plain in zip(times, seconds["sgd"], strict=True))
        for name, times in seconds.items()
    }
    print(f"batch {options.batch_size}, {options.threads} threads, medians of {options.rounds} rounds")
    for name, ratio in ratios.items():
        count = int(name.rpartition("=")[2]) if "=" in name else 0
        more = f"  {(ratio - ratios['sgds K1=0']) / count:.2f} more a search step" if count else ""
        print(f"{name:10}  {ratio:5.2f} x{more}")


if __name__ == "__main__":
    main()
