"""All batches at several points by one ``vmap`` each: their losses, or their losses and gradients."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.measurement.surface.data_stream import Batch
from bnsharp_cli.measurement.surface.passes import Passes
from bnsharp_cli.measurement.surface.sums import GradientSum

OverBatches = Callable[[Callable[[Batch], Any]], Iterator[Any]]
"""A function of each of this process's batches, in their order."""


def stacked_losses(passes: Passes, points: Sequence[Point], chunk: int, over_batches: OverBatches) -> Tensor | None:
    """The losses of batches at all points, (points, batches) on the CPU, or None where ``vmap`` cannot follow."""
    stack = passes.stack(points)
    try:
        with _refusing_slow_operators():
            losses = [*over_batches(lambda batch: passes.stacked_losses(stack, batch, chunk))]
    except NotMeasurableError:
        return None
    return _side_by_side(losses, len(points))


def stacked_gradients(
    passes: Passes, points: Sequence[Point], over_batches: OverBatches
) -> tuple[Tensor, Point] | None:
    """The same and the sum of the gradients over batches, (points, …) each; or None."""
    stack = passes.stack(points)
    losses: list[Tensor] = []
    total = GradientSum(stack)
    try:
        with _refusing_slow_operators():
            for loss, gradients in over_batches(lambda batch: passes.stacked_gradients(stack, batch, len(points))):
                losses.append(loss)
                total.add(gradients)
                del gradients
    except NotMeasurableError:
        return None
    return _side_by_side(losses, len(points)), total.point()


@contextmanager
def _refusing_slow_operators() -> Iterator[None]:
    """Let an operator fail that ``vmap`` would loop over with a warning to the user: a loop over points is as fast."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="There is a performance drop", category=UserWarning)
        yield


def _side_by_side(losses: Sequence[Tensor], points: int) -> Tensor:
    return torch.stack([*losses], dim=1).cpu() if losses else torch.zeros(points, 0, dtype=torch.float64)
