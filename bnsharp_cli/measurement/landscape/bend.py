"""Training the bend of a curve between two networks: Adam (Kingma & Ba, 2015) in coordinates of matched rows.

A number is moved in units of the root mean square of its scale-invariant row, and any other number of a tensor in
those of the others of that tensor. A rescaling T_a multiplies the unit as it multiplies the row, so the bend of a copy
is the copy of the bend.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bnsharp_cli.core.point import LazyPoint, Point, Vector
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.surface.cost import GRADIENT, Cost
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

_RATE = 0.03
"""The first step, in the units; steps shrink evenly to 0."""

_FIRST_DECAY, _SECOND_DECAY = 0.9, 0.99

_FLOOR = 1e-6
"""A number is not moved by a whole step where its gradient is below this part of the root mean square of all."""

_STRATA = 10
"""In so many steps t lies once in each of as many equal parts of [0, 1]."""


@dataclass(frozen=True)
class TrainedBend:
    """A bend, and where it was on the way.

    Attributes:
        point: w.
        halfway: w after half the steps.
        steps: that were taken.
    """

    point: Point
    halfway: Point
    steps: int


def bend_cost(surface: LossSurface, steps: int) -> Cost:
    """What training a bend costs: each step is a gradient on one batch, or on one for each process."""
    return steps * _at_once(surface) / surface.count * GRADIENT


def curve(first: Point, bend: Point, second: Point, t: float) -> LazyPoint:
    """(1 − t)² a + 2 t (1 − t) w + t² b, tensor by tensor."""
    return LazyPoint(
        first, lambda name: (1 - t) ** 2 * first[name] + 2 * t * (1 - t) * bend[name] + t**2 * second[name]
    )


def train_bend(surface: LossSurface, first: Point, second: Point, blocks: Blocks, steps: int, seed: int) -> TrainedBend:
    """Make E_t L small by moving w, which begins in the middle; it ends early where the loss is not finite.

    Args:
        surface: L.
        first: a.
        second: b, with rows as long as those of a.
        blocks: the scale-invariant rows.
        steps: how many.
        seed: of t.
    """
    units = _units(first, second, blocks)
    bend = {name: torch.lerp(first[name], second[name], 0.5) for name in first}
    halfway, adam, taken = bend, _Adam(bend), 0
    for number, t in enumerate(_times(steps, seed)):
        loss, gradient = _batches(surface, number).value_and_gradient(curve(first, bend, second, t))
        if not math.isfinite(loss):
            break
        share = 2 * t * (1 - t)
        directions = adam.steps({name: share * units[name] * tensor for name, tensor in gradient.items()})
        rate, taken = _RATE * (1 - number / steps), number + 1
        bend = {name: bend[name] - rate * units[name] * step for name, step in directions}
        halfway = bend if 2 * taken <= steps else halfway
    return TrainedBend(bend, halfway, taken)


class _Adam:
    """Directions of steps from gradients."""

    def __init__(self, like: Point) -> None:
        self._first = {name: torch.zeros_like(tensor) for name, tensor in like.items()}
        self._second = {name: torch.zeros_like(tensor) for name, tensor in like.items()}
        self._count = 0

    def steps(self, gradient: Point) -> Iterator[tuple[str, Tensor]]:
        """The direction of each tensor's step."""
        self._count += 1
        first, second = 1 - _FIRST_DECAY**self._count, 1 - _SECOND_DECAY**self._count
        for name, own in gradient.items():
            self._first[name].lerp_(own, 1 - _FIRST_DECAY)
            self._second[name].lerp_(own.square(), 1 - _SECOND_DECAY)
        numbers = sum(tensor.numel() for tensor in gradient.values())
        whole = math.fsum(float(tensor.sum()) for tensor in self._second.values()) / max(1, numbers)
        floor = _FLOOR * math.sqrt(whole / second) or 1.0
        for name, own in self._first.items():
            yield name, (own / first) / ((self._second[name] / second).sqrt() + floor)


def _times(steps: int, seed: int) -> Iterator[float]:
    """T of each step, uniform in [0, 1] and even over runs of steps."""
    generator = torch.Generator().manual_seed(seed)
    for first in range(0, steps, _STRATA):
        order = torch.randperm(_STRATA, generator=generator).tolist()
        within = torch.rand(_STRATA, generator=generator, dtype=torch.float64).tolist()
        yield from ((own + part) / _STRATA for own, part in [*zip(order, within, strict=True)][: steps - first])


def _at_once(surface: LossSurface) -> int:
    """The batches of a step: one for each process."""
    return surface.processes.count


def _batches(surface: LossSurface, number: int) -> LossSurface:
    """L on the batches of one step; the steps go round through them."""
    each = _at_once(surface)
    start = number % (surface.count // each) * each
    return surface.part(start, start + each)


def _units(first: Point, second: Point, blocks: Blocks) -> Vector:
    """The root mean square of the row of each number; outside all rows that of the tensor's others, of both ends."""
    spheres = blocks.spheres(first)
    sizes = spheres.norms({name: torch.ones_like(tensor) for name, tensor in first.items()})
    of_rows = spheres.radii / sizes.clamp_min(1.0)
    relative = torch.ones_like(of_rows)
    relative[blocks.relative :] = 0.0
    units = {}
    for name, tensor in first.items():
        entry = spheres.rows[name]
        inside = entry.spread(relative, tensor).expand_as(tensor) > 0
        others = torch.cat([end[name][~inside] for end in (first, second)])
        rest = others.square().mean().sqrt() if others.numel() else torch.zeros(()).to(tensor)
        units[name] = torch.where(inside, entry.spread(of_rows, tensor).expand_as(tensor), rest)
    return units
