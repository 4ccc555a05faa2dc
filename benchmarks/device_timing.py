"""How long something takes on a device, how much memory it holds there, and the plain loop that it is compared with."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

MIB = 2**20

Batches = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Scale:
    """How much is run: samples and batch size of each network (resnet18 at 32 pixels), image size, repeats, chunks."""

    lenet: tuple[int, int] = (2048, 256)
    resnet: tuple[int, int] = (2048, 64)
    resnet18: tuple[int, int] = (1024, 128)
    points_of: int = 256
    pixels: int = 224
    repeats: int = 5
    chunks: tuple[int, ...] = (2, 8, 32)
    crossover: tuple[int, ...] = (8, 32, 128, 512)


SMOKE = Scale(
    lenet=(64, 32), resnet=(4, 2), resnet18=(8, 4), points_of=2, pixels=64, repeats=1, chunks=(2,), crossover=(2,)
)


@dataclass(frozen=True)
class Bench:
    """Where the steps run and where their rows go."""

    device: torch.device
    scale: Scale
    write: Callable[[str], None]

    def seconds(self, *runs: Callable[[], object], repeats: int | None = None) -> list[float]:
        """Median seconds of each of ``runs``, interleaved, after a warm-up unless ``repeats`` is given."""
        taken: list[list[float]] = [[] for _ in runs]
        warm_up = 0 if repeats else 1
        for repeat in range(warm_up + (repeats or self.scale.repeats)):
            for run, times in zip(runs, taken, strict=True):
                self.synchronise()
                began = time.perf_counter()
                run()
                self.synchronise()
                if repeat >= warm_up:
                    times.append(time.perf_counter() - began)
        return [statistics.median(times) for times in taken]

    def synchronise(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def peak(self, run: Callable[[], object]) -> float:
        """MiB that the device held at most during ``run``, above what it held before."""
        if self.device.type != "cuda":
            run()
            return float("nan")
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        run()
        self.synchronise()
        return (torch.cuda.max_memory_allocated(self.device) - before) / MIB


def plain_loop(module: nn.Module, batches: Batches) -> tuple[Callable[[], object], Callable[[], object]]:
    """A forward and a gradient of all batches as PyTorch's tutorials write them, norms with batch statistics."""

    def forward() -> float:
        module.train()
        with torch.no_grad():
            return sum(float(functional.cross_entropy(module(inputs), targets)) for inputs, targets in batches)

    def gradient() -> float:
        module.train().zero_grad()
        total = 0.0
        for inputs, targets in batches:
            loss = functional.cross_entropy(module(inputs), targets)
            loss.backward()
            total += float(loss.detach())
        return total

    return forward, gradient
