"""Several points at once: when ``vmap`` beats a loop, and what happens when memory runs out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch

from bnsharp_cli.errors import NotMeasurableError, UsageError
from bnsharp_cli.measurement.surface.execution import Plan

Result = TypeVar("Result")

SMALL = 16 * 2**20
"""Bytes a float64 batch on the CPU may hold for stacked points to be the faster ones: see benchmarks/WALL_TIME.md."""

CHUNK = 8
"""Points that go at once on the CPU; beyond it more memory and no more speed."""

CUDA_CHUNK = 32
"""Points tried at once on CUDA; halved when memory runs out."""

CUDA_SMALL = 256 * 2**20
"""Bytes a batch on CUDA may hold for stacked points to be the faster ones: see benchmarks/RESULTS-cuda.md."""

Setting = Literal["auto", "loop", "calibrate"] | int


@dataclass(frozen=True)
class PointsAtOnce:
    """How many points are stacked.

    Attributes:
        setting: ``loop`` for none; a number of points; ``auto`` for a rule of device, precision and size, so that two
            runs compute the same bits; ``calibrate`` for whichever a short timing finds faster, which may differ
            between two runs in the last bits.
    """

    setting: Setting = "auto"

    def __post_init__(self) -> None:
        known = self.setting in ("auto", "loop", "calibrate") if isinstance(self.setting, str) else self.setting >= 1
        if not known:
            raise UsageError(
                f"points_at_once: expected auto, loop, calibrate or a positive number, found {self.setting!r}.",
                "Use auto.",
            )

    def most(self, plan: Plan, device: torch.device, dtype: torch.dtype) -> int:
        """The number of points to stack by setting or rule; 1 is a loop."""
        if isinstance(self.setting, int):
            return self.setting
        if self.setting == "loop" or not plan.tried:
            return 1
        if device.type == "cuda":
            return CUDA_CHUNK if plan.held <= CUDA_SMALL else 1
        return CHUNK if dtype == torch.float64 and plan.held <= SMALL else 1


def faster(looped: Callable[[], object], stacked: Callable[[], object], repeats: int = 3) -> bool:
    """Whether ``stacked`` is the faster one, by the best of a few interleaved runs after one to warm up."""
    best = [float("inf"), float("inf")]
    for _ in range(repeats + 1):
        for index, run in enumerate((looped, stacked)):
            began = time.perf_counter()
            run()
            if _:
                best[index] = min(best[index], time.perf_counter() - began)
    return best[1] < best[0]


def smaller_on_out_of_memory(evaluate: Callable[[int], Result], size: int) -> Result:
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
                    "The device ran out of memory on a single batch.", "Lower --batch-size, or use --device cpu."
                ) from error
        size //= 2
        torch.cuda.empty_cache()
