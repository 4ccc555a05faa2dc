"""What the gradient of the regulariser is, in each reading of Algorithm 1: its length, and where it points.

    python -m benchmarks.regulariser [--data folder:DIR] [--batch-size 400] [--draws 20]

LeNet-BN in the middle of its training (two epochs of SGD). For each of ``--draws`` triples of batches: the norm of λ
times the regulariser's gradient before it is clipped to 0.1, and its cosine with the batch's own gradient and with the
difference between the gradient of the other two batches and the batch's own, which a three times larger batch adds.
"""

from __future__ import annotations

import argparse
import functools
import math
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.training.examples import Examples
from bnsharp_cli.training.options import TrainingOptions
from bnsharp_cli.training.registry import SgdsOptions
from bnsharp_cli.training.sgds import Sgds
from bnsharp_cli.workflows.training_options import TrainingTask
from bnsharp_cli.workflows.training_setup import open_setup

CPU = torch.device("cpu")


def batches(examples: Examples, size: int, draws: int) -> list[list[tuple[Tensor, Tensor]]]:
    """Triples of batches without a common example."""
    generator = torch.Generator().manual_seed(1)
    orders = [torch.randperm(len(examples), generator=generator)[: 3 * size] for _ in range(draws)]
    return [list(examples.batches(torch.split(order, size))) for order in orders]


def flat(gradients: list[Tensor]) -> Tensor:
    """One vector."""
    return torch.cat([gradient.flatten() for gradient in gradients]).double()


def main() -> None:
    """Parse the command line, run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--batch-size", type=int, default=400)
    parser.add_argument("--draws", type=int, default=20)
    options = parser.parse_args()
    setup = open_setup(TrainingTask(data=options.data), 0, CPU, 1)
    training = setup.training(TrainingOptions(batch_size=options.batch_size, learning_rate=0.2), CPU)
    for _ in range(2):
        training.run_epoch()
    module = setup.module.train()
    blocks = bnsharp_cli.find_blocks(module, [next(iter(batches(setup.train, 64, 1)[0]))])
    parameters = [*module.parameters()]
    triples = batches(setup.train, options.batch_size, options.draws)
    print("reading                    norm   cosine with g   cosine with (g2 + g3)/2 - g")
    for form in ("corrected", "printed"):
        for which in ("same", "independent"):
            norms, along, larger = [], [], []
            for triple in triples:
                closures = [
                    functools.partial(lambda x, y: functional.cross_entropy(module(x), y), *batch) for batch in triple
                ]
                own, *others = (flat(list(torch.autograd.grad(closure(), parameters))) for closure in closures)
                of_rule = SgdsOptions(regulariser_gradient=form, regulariser_batches=which, regulariser_clip=math.inf)
                rule = Sgds(module, blocks, 1e-30, options=of_rule)
                rule.step(*closures)
                added = flat([parameter.grad for parameter in parameters if parameter.grad is not None]) - own
                norms.append(float(added.norm()))
                along.append(float(functional.cosine_similarity(added, own, dim=0)))
                difference = sum(others) / 2 - own
                larger.append(float(functional.cosine_similarity(added, difference, dim=0)))
            name = f"{form} {which}"
            print(f"{name:24} {median(norms):6.3f}   {median(along):13.2f}   {median(larger):27.2f}", flush=True)


if __name__ == "__main__":
    main()
