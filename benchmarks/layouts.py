"""Where torch's convolutions on the CPU are wrong channels last, against the plain layout and float64.

Run again when torch changes, with narrower registers too, and with a heap that notices what is written behind its end
(without it, a write that happens to do no harm passes)::

    python -m benchmarks.layouts
    LD_PRELOAD=libc_malloc_debug.so.0 MALLOC_CHECK_=3 ONEDNN_MAX_CPU_ISA=AVX2 python -m benchmarks.layouts

Prints every convolution of a random part of a grid that kills its process or whose output, input gradient or weight
gradient is wrong, and ends with 1 where the rule of ``bnsharp_cli.measurement.surface.layouts`` calls one of them safe.
The convolutions run in a child, the rest of them in another where it dies: first those that are called safe, since what
dies after one that wrote where it should not may be innocent.
"""

from __future__ import annotations

import argparse
import collections
import multiprocessing
import os
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection

import torch
from torch import Tensor
from torch.nn import functional

from bnsharp_cli.measurement.surface.layouts import Convolution

GRID = {
    "kernel": [
        *[(1, 1)] * 5,
        (1, 3),
        (3, 1),
        (2, 2),
        (3, 3),
        (3, 3),
        (4, 4),
        (5, 5),
        (1, 7),
        (7, 7),
        (11, 11),
        (16, 16),
    ],
    "stride": [1, 1, 2, 2, 2, 3, 4, 16],
    "padding": [0, 0, 1, 3],
    "dilation": [1, 1, 1, 2],
    "groups": [1, 1, 1, 2, 0],
    "inputs": [1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 36, 40, 48, 64, 72, 96, 128, 256],
    "outputs": [8, 16, 24, 32, 64, 128],
    "size": [1, 2, 4, 7, 8, 14, 16, 28, 32, 33, 56, 64],
    "batch": [1, 2, 3, 8, 32, 64],
    "threads": [1, 1, 1, 2],
}
"""Values that are drawn from, the more often the more often they stand here; no groups: one for each input channel."""

SUSPECT = {"kernel": (1, 1), "stride": 2, "padding": 0, "dilation": 1, "groups": 1}
"""Where torch 2.15 is wrong, if there are few input channels: every second convolution is of this kind."""

WRONG = 1e-3
"""Largest difference, relative to the largest number; rounding has been seen to make 2e-5."""

SILENCE = 30.0
"""Seconds without a word after which a child is ended: a damaged heap may also make it wait for ever."""


@dataclass(frozen=True)
class Case:
    """A convolution, its inputs and the threads that compute it."""

    kernel: tuple[int, int]
    stride: int
    padding: int
    dilation: int
    groups: int
    inputs: int
    outputs: int
    size: int
    batch: int
    threads: int

    @property
    def safe(self) -> bool:
        """What the rule says."""
        return Convolution(self.kernel, self.inputs // self.groups, (self.stride, self.stride)).safe

    def shapes(self) -> list[tuple[int, ...]]:
        """Of inputs, kernel and outputs."""
        sides = [(self.size + 2 * self.padding - self.dilation * (k - 1) - 1) // self.stride + 1 for k in self.kernel]
        images = (self.batch, self.inputs, self.size, self.size)
        return [images, (self.outputs, self.inputs // self.groups, *self.kernel), (self.batch, self.outputs, *sides)]

    def work(self) -> int:
        """Multiplications, or 0 where there is no such convolution."""
        if self.inputs % self.groups or self.outputs % self.groups:
            return 0
        images, kernel, outputs = self.shapes()
        height, width = outputs[2:]
        return max(0, height) * max(0, width) * images[0] * kernel[0] * kernel[1] * kernel[2] * kernel[3]

    def compute(self, inputs: Tensor, kernel: Tensor, gradient: Tensor) -> list[Tensor]:
        """The output, and the gradients by inputs and kernel."""
        leaves = [tensor.requires_grad_() for tensor in (inputs, kernel)]
        output = functional.conv2d(*leaves, None, self.stride, self.padding, self.dilation, self.groups)
        return [output.detach(), *torch.autograd.grad(output, leaves, gradient)]


def draw(count: int, most_work: float, seed: int) -> list[Case]:
    """Different convolutions of the grid."""
    generator, cases = random.Random(seed), {}
    while len(cases) < count:
        chosen = {name: generator.choice(values) for name, values in GRID.items()}
        chosen |= SUSPECT if len(cases) % 2 else {}
        case = Case(**{**chosen, "groups": chosen["groups"] or chosen["inputs"]})
        if 0 < case.work() <= most_work:
            cases[case] = None
    return list(cases)


def verdict(case: Case, number: int, pipe: Connection) -> str:
    """What is wrong with a convolution, or nothing; tells the pipe before it computes in a layout."""
    torch.set_num_threads(case.threads)
    generator = torch.Generator().manual_seed(number)
    tensors = [torch.randn(shape, generator=generator) for shape in case.shapes()]
    results = {}
    for layout in ("plain", "channels last", "channels last but for the inputs"):
        pipe.send(layout)
        last = [layout != "plain" and not ("inputs" in layout and which == 0) for which in range(3)]
        formats = [torch.channels_last if one else torch.contiguous_format for one in last]
        results[layout] = case.compute(*(t.clone(memory_format=f) for t, f in zip(tensors, formats, strict=True)))
    if max(_distances(results["plain"], found) for found in results.values()) <= WRONG:
        return ""
    exact = case.compute(*(tensor.double() for tensor in tensors))
    return "; ".join(f"{name}: off by {_distances(exact, found):.0e}" for name, found in results.items())


def _distances(exact: list[Tensor], found: list[Tensor]) -> float:
    """The largest of output and gradients, infinite where it is not a number."""
    pairs = zip(exact, found, strict=True)
    largest = [float((f.double() - e.double()).abs().max() / e.double().abs().max().clamp(min=1e-30)) for e, f in pairs]
    return max(float("inf") if one != one else one for one in largest)


def _child(cases: list[tuple[int, Case]], pipe: Connection) -> None:
    for number, case in cases:
        pipe.send((verdict(case, number, pipe),))


def examine(cases: list[Case]) -> Iterator[tuple[Case, str]]:
    """Every case with what is wrong with it."""
    left = list(enumerate(cases))
    context = multiprocessing.get_context("fork")  # this process has imported torch and computed nothing with it
    while left:
        pipe, end = context.Pipe(duplex=False)
        child = context.Process(target=_child, args=(left, end))
        child.start()
        end.close()
        layout = "before the first layout"
        try:
            while left:
                if not pipe.poll(SILENCE):
                    child.kill()
                told = pipe.recv()
                if isinstance(told, str):
                    layout = told
                else:
                    yield left.pop(0)[1], told[0]
        except EOFError:
            child.join()
            yield left.pop(0)[1], f"{layout}: the process died ({child.exitcode})"
        child.join()


def main() -> None:
    """Parse, run and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=float, default=5e7, help="most multiplications of a convolution")
    parser.add_argument("--safe", action="store_true", help="only what the rule calls safe")
    arguments = parser.parse_args()
    width = os.environ.get("ONEDNN_MAX_CPU_ISA", torch.backends.cpu.get_cpu_capability())
    print(f"torch {torch.__version__}, {width}", flush=True)
    cases = [case for case in draw(arguments.cases, arguments.work, arguments.seed) if case.safe or not arguments.safe]
    counts: collections.Counter[tuple[bool, bool]] = collections.Counter()
    for case, wrong in (answer for safe in (True, False) for answer in examine([c for c in cases if c.safe == safe])):
        counts[case.safe, bool(wrong)] += 1
        if wrong:
            print(f"{'SAFE BY THE RULE, BUT ' if case.safe else ''}{case}: {wrong}", flush=True)
    for safe in (True, False):
        name = "safe by the rule" if safe else "not safe by the rule"
        print(f"{name}: {counts[safe, True]} of {counts[safe, True] + counts[safe, False]} are wrong")
    sys.exit(1 if counts[True, True] else 0)


if __name__ == "__main__":
    main()
