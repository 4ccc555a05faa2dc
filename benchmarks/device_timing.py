"""How long something takes on a device, how much memory it holds there, and the plain loop that it is compared with."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

MIB = 2**20

Batches = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Scale:
    """How much is run.

    Attributes:
        lenet: samples and batch size.
        resnet: the same of resnet50, at ``pixels``.
        resnet18: the same, at 32 pixels.
        pixels: of one side.
        repeats: of what takes a second at most.
        few: repeats of what takes several.
        chunks: points at once.
        crossover: batch sizes.
        epochs: of a training whose seconds are taken.
        figure_epochs: of figure 1, where the paper has 200.
    """

    lenet: tuple[int, int] = (2048, 256)
    resnet: tuple[int, int] = (512, 64)
    resnet18: tuple[int, int] = (512, 128)
    pixels: int = 224
    repeats: int = 5
    few: int = 2
    chunks: tuple[int, ...] = (2, 8, 32)
    crossover: tuple[int, ...] = (8, 128)
    epochs: int = 10
    figure_epochs: int = 100


SMOKE = Scale((64, 32), (4, 2), (8, 4), 64, 1, 1, (2,), (2,), 1, 1)


@dataclass(frozen=True)
class Bench:
    """Where the steps run and where their rows go.

    Attributes:
        device: where they compute.
        scale: how much.
        write: adds a line to the page.
        folder: for files that a step keeps.
        cifar: a data spec of images of ten classes; empty for none.
    """

    device: torch.device
    scale: Scale
    write: Callable[[str], None]
    folder: Path
    cifar: str = ""

    @property
    def smoke(self) -> bool:
        """Whether problems are small."""
        return self.scale is SMOKE

    def placed(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Batches:
        """The batches on the device."""
        return [(inputs.to(self.device), targets.to(self.device)) for inputs, targets in batches]

    def seconds(self, *runs: Callable[[], object], repeats: int | None = None, warm_up: int = 1) -> list[float]:
        """Median seconds of each of ``runs``, interleaved, after a warm-up."""
        taken: list[list[float]] = [[] for _ in runs]
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
