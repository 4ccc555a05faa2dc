"""The loss of the first batch: what is looked at to see whether it is a function of the weights that are handed in."""

from __future__ import annotations

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point, Vector, random_normal
from bnsharp_cli.core.row_points import RowPoint
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

ELSEWHERE = 0.1
"""How far each weight moves for a pass at other weights."""

SAME = 64.0
"""In units of the precision: what two answers to the same question may differ by, where sums run in any order."""


def first_loss(surface: LossSurface) -> Tensor:
    """The loss of the first batch, without gradient."""
    with torch.no_grad():
        return surface.outputs_and_loss(surface.point(), surface.batches[0])[1]


def same_loss(surface: LossSurface, one: float, other: float) -> bool:
    """Whether two losses are the same but for the order of sums."""
    return abs(one - other) <= SAME * torch.finfo(surface.dtype).eps * max(abs(one), abs(other))


def leaves_at(surface: LossSurface) -> Vector:
    """The surface's point, in tensors that want a gradient."""
    return {name: tensor.clone().requires_grad_() for name, tensor in surface.point().items()}


def moved(point: Point, step: float, seed: int = 0) -> tuple[Point, Point]:
    """A point beside ``point``, where each number moves by about ``step``, and the direction in which it lies."""
    if isinstance(point, RowPoint):
        drawn = point.normal(seed)
        return point.plus(drawn, step), drawn
    noise = random_normal(point, torch.Generator().manual_seed(seed), rough=True)
    return {name: tensor + step * noise[name] for name, tensor in point.items()}, noise
