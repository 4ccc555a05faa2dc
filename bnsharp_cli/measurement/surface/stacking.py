"""Several points at once by ``vmap``: when that is faster than a loop, and what happens when memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch

from bnsharp_cli.errors import NotMeasurableError, UsageError, named
from bnsharp_cli.measurement.surface.execution_plan import ExecutionPlan

Evaluated = TypeVar("Evaluated")

CPU_STACK = 8
"""Points that are stacked on the CPU; more points take more memory and are no faster."""

CPU_STACK_BYTES = 16 * 2**20
"""A float64 batch on the CPU that holds more bytes is faster in a loop over points: see benchmarks/WALL_TIME.md."""

CUDA_STACK = 32
"""Points that are stacked on CUDA; halved when memory runs out."""

CUDA_STACK_BYTES = 256 * 2**20
"""A batch on CUDA that holds more bytes is faster in a loop over points: see benchmarks/RESULTS-cuda.md."""

StackSize = Literal["auto", "loop"] | int


@dataclass(frozen=True)
class PointsAtOnce:
    """How many points are stacked.

    Attributes:
        setting: ``loop`` evaluates points one after the other; a number stacks that many; ``auto`` decides by device,
            precision and size alone, so that two runs compute the same bits.

    Raises:
        UsageError: another word, or a number below 1.
    """

    setting: StackSize = "auto"

    def __post_init__(self) -> None:
        known = self.setting in ("auto", "loop") if isinstance(self.setting, str) else self.setting >= 1
        if not known:
            raise UsageError.of("points_at_once", "auto, loop or a positive number", self.setting, "Use auto.")

    def most(self, plan: ExecutionPlan, device: torch.device, dtype: torch.dtype) -> int:
        """The most points that are stacked; 1 is a loop."""
        if isinstance(self.setting, int):
            return self.setting
        if self.setting == "loop" or not plan.tried:
            return 1
        if device.type == "cuda":
            return CUDA_STACK if plan.held <= CUDA_STACK_BYTES else 1
        return CPU_STACK if dtype == torch.float64 and plan.held <= CPU_STACK_BYTES else 1


def smaller_on_out_of_memory(evaluate: Callable[[int], Evaluated], size: int) -> Evaluated:
    """``evaluate(size)``, or with half as many points at once for as long as memory runs out.

    Raises:
        NotMeasurableError: not even one point fits.
    """
    while True:
        try:
            return evaluate(size)
        except torch.OutOfMemoryError as error:
            if size == 1:
                raise NotMeasurableError(
                    "The device ran out of memory on a single batch.",
                    f"Lower {named('batch_size')}, or use {named('device')} cpu.",
                    argument="batch_size",
                    expected="a batch that fits into the device's memory",
                ) from error
        size //= 2
        torch.cuda.empty_cache()
