"""Points and directions in parameter space: one float64 tensor per parameter name."""

from __future__ import annotations

import math

import torch
from torch import Tensor

Point = dict[str, Tensor]


def add_scaled(point: Point, direction: Point, step: float) -> Point:
    """``point + step · direction``."""
    return {name: tensor.add(direction[name], alpha=step) for name, tensor in point.items()}


def inner(first: Point, second: Point) -> float:
    """The Euclidean inner product ⟨first, second⟩, in float64."""
    return math.fsum(float(torch.sum(first[name] * second[name])) for name in first)


def norm(vector: Point) -> float:
    """The Euclidean norm ‖vector‖."""
    return math.sqrt(inner(vector, vector))


def scaled(vector: Point, factor: float) -> Point:
    """``factor · vector``."""
    return {name: tensor * factor for name, tensor in vector.items()}


def random_normal(like: Point, generator: torch.Generator) -> Point:
    """Independent standard normal entries, drawn on the CPU so that every device sees the same numbers."""
    return {
        name: torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.device)
        for name, tensor in like.items()
    }
