"""What ``torch.compile`` and inference mode would gain on LeNet-BN, and what compiling costs first.

    python -m benchmarks.compiled [--rounds 25] [--threads 1]

One batch of 256 random images of 32 × 32, float32, the norms on batch statistics; all kinds of pass take turns, printed
are medians of the ratio to the plain pass of the same round.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from bnsharp_cli.models.lenet import lenet_bn

Loss = Callable[[dict[str, Tensor]], Tensor]


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def plain_loss() -> tuple[Loss, dict[str, Tensor]]:
    """The loss of one random batch as a function of LeNet-BN's parameters, and its parameters."""
    torch.manual_seed(0)
    module = lenet_bn()
    for norm in module.modules():
        if isinstance(norm, _BatchNorm):
            norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None
    inputs, targets = torch.randn(256, 3, 32, 32), torch.randint(10, (256,))
    point = {name: p.detach().clone().requires_grad_() for name, p in module.named_parameters()}
    return lambda parameters: functional.cross_entropy(functional_call(module, parameters, (inputs,)), targets), point


def kinds_of_pass() -> dict[str, Callable[[], object]]:
    """Every kind of pass by its name; those after a comma are compared with the one before it."""
    plain, point = plain_loss()
    compiled = torch.compile(plain)

    def forward(loss: Loss) -> None:
        with torch.no_grad():
            loss(point)

    def inference(loss: Loss) -> None:
        with torch.inference_mode():
            loss(point)

    def gradient(loss: Loss) -> None:
        torch.autograd.grad(loss(point), list(point.values()))

    return {
        "forward": lambda: forward(plain),
        "forward, inference mode": lambda: inference(plain),
        "forward, compiled": lambda: forward(compiled),
        "gradient": lambda: gradient(plain),
        "gradient, compiled": lambda: gradient(compiled),
    }


def main() -> None:
    """Parse the command line, run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    kinds = kinds_of_pass()
    first = [timed(kinds[f"{name}, compiled"]) for name in ("gradient", "forward")]
    print(f"first gradient {first[0]:.0f} s, first forward {first[1]:.0f} s")
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(options.rounds):
        for name, work in kinds.items():
            seconds[name].append(timed(work))
    for name, times in seconds.items():
        base = seconds[name.partition(",")[0]]
        print(f"{name:24} {median(mine / usual for mine, usual in zip(times, base, strict=True)):.2f} x")


if __name__ == "__main__":
    main()
