"""Losses and gradients of batches, gathered in float64."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from bnsharp_cli.core.point import Vector


class GradientSum:
    """A sum of gradients in float64, in memory of its own.

    Args:
        like: names and shapes.
    """

    def __init__(self, like: Mapping[str, Tensor]) -> None:
        self._like = like
        self._sum: Vector = {}

    def add(self, parts: Iterable[Tensor]) -> None:
        """Add one tensor for each name."""
        for name, part in zip(self._like, parts, strict=True):
            if name in self._sum:
                self._sum[name] += part
            else:
                self._sum[name] = part.to(torch.float64, memory_format=torch.contiguous_format, copy=True)

    def point(self) -> Vector:
        """The sum, zero where nothing was added."""
        if self._sum:
            return self._sum
        return {name: torch.zeros_like(tensor, dtype=torch.float64) for name, tensor in self._like.items()}


def as_vector(losses: Sequence[Tensor]) -> Tensor:
    """Scalars as one float64 vector on the CPU, fetched at once."""
    return torch.stack([*losses]).double().cpu() if losses else torch.zeros(0, dtype=torch.float64)
