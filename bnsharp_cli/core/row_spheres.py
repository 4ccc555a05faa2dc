"""The product of spheres φ(θ) around a point that is never held whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point
from bnsharp_cli.core.row_points import RowPoint
from bnsharp_cli.core.spheres import BlocksOfTensor, NumberBlocks

_SEEDS = 2**62


@dataclass(frozen=True)
class RowSpheres:
    """What measures ask of :class:`~bnsharp_cli.core.spheres.Spheres`, with nothing of the size of the network held.

    Directions are V = r u itself, not coordinates u. What is held is a number for each block of rows, and nothing for
    blocks of single numbers, where v_i = ±|θ_i|.

    Attributes:
        point: θ.
        rows: the blocks of every parameter.
        radii: (blocks + 1,) float64 for blocks of rows, the last one for θ_*.
    """

    point: RowPoint
    rows: Mapping[str, BlocksOfTensor]
    radii: Tensor

    @classmethod
    def around(cls, point: RowPoint, rows: Mapping[str, BlocksOfTensor], relative: int) -> RowSpheres:
        """φ(θ) at ``point`` with ``relative`` blocks of relative radius; block number ``relative`` is θ_*."""
        local = {name: entry.to(point.device) for name, entry in rows.items()}
        of_numbers = any(isinstance(entry, NumberBlocks) for entry in local.values())
        none = torch.zeros(1 if of_numbers else relative + 1, dtype=torch.float64, device=point.device)
        radii = cls(point, local, none).norms(point)
        radii[-1] = 1.0
        return cls(point, local, radii)

    def norms(self, vector: RowPoint) -> Tensor:
        """‖vector_i‖ by blocks of rows, (blocks + 1,)."""
        total = torch.zeros_like(self.radii)
        for name, entry in self.rows.items():
            if not isinstance(entry, NumberBlocks):
                for rows, piece in vector.pieces(name):
                    entry.part(rows).add_to(total, piece.square())
        return total.sqrt()

    def zeros(self, relative: int) -> int:
        """How many of the ``relative`` blocks of relative radius are zero."""
        numbers = (name for name, entry in self.rows.items() if isinstance(entry, NumberBlocks))
        single = sum(int((piece == 0).sum()) for name in numbers for _, piece in self.point.pieces(name))
        return single + int((self.radii[:relative][: len(self.radii) - 1] == 0).sum())

    def random(self, like: Point, generator: torch.Generator) -> RowPoint:
        """A direction uniform on each sphere, the same on every copy of a network, from a seed of ``generator``."""
        del like
        seed = int(torch.randint(_SEEDS, (), generator=generator))
        return self.direction_along(self.point.normal(seed))

    def direction_along(self, vector: Point) -> RowPoint:
        """V ∈ φ(θ) with v_i along ``vector``'s block; 0 where that is zero."""
        along = vector if isinstance(vector, RowPoint) else RowPoint.of(vector)
        norms = self.norms(along)
        factors = torch.where(norms > 0, self.radii / norms.clamp_min(torch.finfo(norms.dtype).tiny), 0.0)

        def direction(name: str, rows: slice, piece: Tensor) -> Tensor:
            entry = self.rows[name]
            if isinstance(entry, NumberBlocks):
                return piece.sign() * self.point.piece(name, rows).abs()
            return piece * entry.part(rows).spread(factors, piece)

        return along.each(direction)

    def on_segment(self, point: Point, direction: Point, step: float) -> RowPoint:
        """``point`` + ``step`` · V."""
        assert isinstance(point, RowPoint)
        assert isinstance(direction, RowPoint)
        return point.plus(direction, step)
