r"""The loss between two networks: along the straight line, with a barrier and its error.

The line :math:`θ(t) = (1 - t) a + t b` belongs to the parametrisation: a copy T_a of b, which computes the same, lies
on another one. So b is first rescaled, row by row, to the lengths of a's scale-invariant rows, after which every copy
of either network gives the same line. The barrier is that of Frankle et al. (2020),

.. math:: \max_t \left[ L(θ(t)) - (1 - t) L(a) - t L(b) \right]

which is 0 where the loss nowhere rises above the straight line between its ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bnsharp_cli.core.point import LazyPoint, Point
from bnsharp_cli.errors import UsageError
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.landscape.kept_evaluations import KeptEvaluations
from bnsharp_cli.measurement.measures.sample_groups import error_of_mean
from bnsharp_cli.measurement.surface.batch_sizes import BatchSizes
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

BETWEEN_STEPS = 21
"""Points of a line, its ends among them."""


@dataclass(frozen=True)
class Between:
    """The loss between two networks.

    Attributes:
        steps: t from 0, the first network, to 1, the second.
        losses: L(θ(t)).
        barrier: how far the loss rises above the straight line between its ends, at least 0.
        error: standard error of the barrier by the choice of samples; None for a single batch.
    """

    steps: tuple[float, ...]
    losses: tuple[float, ...]
    barrier: float
    error: float | None


def straight_line(
    surface: LossSurface,
    first: Point,
    second: Point,
    count: int = BETWEEN_STEPS,
    kept: KeptEvaluations | None = None,
    label: str = "line",
) -> Between:
    """L along the straight line: one forward pass for each step.

    Args:
        surface: L, with batch statistics, since running ones belong to neither network on the way.
        first: a.
        second: b; see :func:`matched`.
        count: of the steps.
        kept: losses that are known from an earlier picture.
        label: of the line among them.

    Raises:
        UsageError: the two have other parameters.
    """
    _require_alike(first, second)
    steps = [number / (count - 1) for number in range(count)]

    def computed(steps: Sequence[float]) -> list[list[float]]:
        return surface.batch_losses([_between(first, second, step) for step in steps])

    return _with_barrier(surface, steps, (kept or KeptEvaluations()).of(label, steps, computed, surface.count))


def along(surface: LossSurface, steps: Sequence[float], points: Sequence[Point]) -> Between:
    """L along any way, and the barrier on it: one forward pass for each point.

    Args:
        surface: L.
        steps: t of each point, from 0 to 1.
        points: of the way, from one network to the other.
    """
    return _with_barrier(surface, steps, surface.batch_losses(points))


def _with_barrier(surface: LossSurface, steps: Sequence[float], by_batch: Sequence[Sequence[float]]) -> Between:
    losses = [math.fsum(own) / len(own) for own in by_batch]
    rises = [loss - (1 - t) * losses[0] - t * losses[-1] for t, loss in zip(steps, losses, strict=True)]
    top = max(range(len(steps)), key=lambda number: rises[number])
    ends = zip(by_batch[top], by_batch[0], by_batch[-1], strict=True)
    of_batches = [loss - (1 - steps[top]) * a - steps[top] * b for loss, a, b in ends]
    error = error_of_mean(of_batches, (surface.sizes or BatchSizes.of(surface.batches)).counted)
    return Between(tuple(steps), tuple(losses), max(0.0, rises[top]), error)


def matched(second: Point, first: Point, blocks: Blocks) -> Point:
    """The second network with its scale-invariant rows as long as those of the first, a copy T_a of itself.

    Args:
        second: b.
        first: a.
        blocks: the scale-invariant rows, of both.

    Raises:
        UsageError: the two have other parameters.
    """
    _require_alike(first, second)
    spheres, other = blocks.spheres(second), blocks.spheres(first).radii
    own = spheres.radii
    usable = (own > 0) & (other > 0)
    factors = torch.where(usable, other / own.clamp_min(torch.finfo(own.dtype).tiny), 1.0)
    factors[blocks.relative :] = 1.0
    return spheres.scale(second, factors)


def _between(first: Point, second: Point, step: float) -> Point:
    return LazyPoint(first, lambda name: torch.lerp(first[name], second[name], step))


def _require_alike(first: Point, second: Point) -> None:
    shapes = [{name: tuple(tensor.shape) for name, tensor in point.items()} for point in (first, second)]
    if shapes[0] != shapes[1]:
        differing = sorted({*shapes[0].items()} ^ {*shapes[1].items()})[0][0]
        raise UsageError(
            f"The networks differ in {differing!r}, so nothing lies between them.",
            "Name two networks of one architecture.",
            argument="checkpoint",
            expected="networks with the same parameters",
            found=differing,
        )
