"""Several points at once by ``vmap``: when that is faster than a loop, and what happens when memory runs out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from bnsharp_cli.errors import NotMeasurableError, UsageError, named
from bnsharp_cli.measurement.surface.execution_plan import ExecutionPlan

Evaluated = TypeVar("Evaluated")

CPU_STACK = 8
"""Points that are stacked on the CPU; more points take more memory and are no faster."""

CPU_STACK_BYTES = 16 * 2**20
"""A float64 batch on the CPU that holds more bytes is faster in a loop over points: see benchmarks/WALL_TIME.md."""

CUDA_STACK = 32
"""Points that are stacked on CUDA where so many fit; halved when memory runs out."""

_SHARE = 0.8
"""Of the free memory, what a stack may take by what one point is known to hold: kernels have workspaces."""

CUDA_STACK_BYTES = 256 * 2**20
"""A batch on CUDA that holds more bytes is faster in a loop over points: see benchmarks/RESULTS-cuda.md."""

StackSize = Literal["auto", "loop"] | int


@dataclass(frozen=True)
class PointsAtOnce:
    """How many points are stacked.

    Attributes:
        setting: ``loop`` evaluates points one after the other; a number stacks that many; ``auto`` decides by device,
            precision and size alone, so that two runs compute the same bits; a device with little memory left stacks
            fewer.

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
        if device.type != "cpu":
            return _fitting(plan.held, device) if plan.held <= CUDA_STACK_BYTES else 1
        return CPU_STACK if dtype == torch.float64 and plan.held <= CPU_STACK_BYTES else 1


def free_memory(device: torch.device) -> float:
    """Bytes that new tensors on a device may take, those among them that torch keeps for reuse; infinite on the CPU."""
    module: Any = torch.get_device_module(device)
    if not hasattr(module, "mem_get_info"):
        return math.inf
    free, _ = module.mem_get_info(device)
    return float(free + module.memory_reserved(device) - module.memory_allocated(device))


def _fitting(held: int, device: torch.device) -> int:
    """The largest power of two of points that hold so much each and fit together, at most ``CUDA_STACK``."""
    size, usable = CUDA_STACK, _SHARE * free_memory(device)
    while size > 1 and size * held > usable:
        size //= 2
    return size


class FittingStacks:
    """The largest numbers of points at once that are known to fit, so that memory runs out once and not in every call.

    Attributes:
        sizes: by what is computed and in which precision.
    """

    def __init__(self) -> None:
        self.sizes: dict[tuple[str, torch.dtype], int] = {}
        self._most: dict[tuple[PointsAtOnce, ExecutionPlan, torch.dtype], int] = {}

    def most(self, setting: PointsAtOnce, plan: ExecutionPlan, device: torch.device, dtype: torch.dtype) -> int:
        """What the setting allows by the memory that was free when it was first asked; so one run stacks alike."""
        key = setting, plan, dtype
        if key not in self._most:
            self._most[key] = setting.most(plan, device, dtype)
        return self._most[key]

    def evaluate(
        self, what: str, stack: Mapping[str, Tensor], size: int, evaluate: Callable[[int], Evaluated]
    ) -> Evaluated:
        """``evaluate(size)``, or with the size that fitted before, or half as many for as long as memory runs out.

        Args:
            what: names what is computed.
            stack: the points, (points, …) each, on their device and in their precision.
            size: how many points are asked for at once.
            evaluate: computes the stack, so many points at once.

        Raises:
            NotMeasurableError: not even one point fits.
        """
        first = next(iter(stack.values()))
        key = what, first.dtype
        size = min(size, self.sizes.get(key, size))
        found, fitting = smaller_on_out_of_memory(evaluate, size, first.device)
        if fitting < size:
            self.sizes[key] = fitting
        return found


def smaller_on_out_of_memory(
    evaluate: Callable[[int], Evaluated], size: int, device: torch.device
) -> tuple[Evaluated, int]:
    """``evaluate(size)``, or with half as many points at once for as long as memory runs out; and what fitted.

    Raises:
        NotMeasurableError: not even one point fits.
    """
    while True:
        try:
            return evaluate(size), size
        except torch.OutOfMemoryError as error:
            if size == 1:
                raise NotMeasurableError(
                    "The device ran out of memory on a single batch.",
                    f"Lower {named('batch_size')}, or use {named('device')} cpu.",
                    argument="batch_size",
                    expected="a batch that fits into the device's memory",
                ) from error
        size //= 2
        if device.type != "cpu":
            torch.get_device_module(device).empty_cache()
