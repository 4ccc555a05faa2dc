"""The pieces that blocks have in single tensors, so that sums over blocks can be told apart by tensors too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point
from bnsharp_cli.core.spheres import BlocksOfTensor, NumberBlocks, RowBlocks, Spheres, add_products


@dataclass(frozen=True)
class Pieces:
    """Every block cut where a tensor ends. A row is one piece; θ_* has one in each tensor that it reaches.

    Attributes:
        rows: the piece of every number, as spheres have its block.
        block: (pieces,) int64, the block that each belongs to.
        lengths: how many pieces each tensor has; they follow each other in the order of ``rows``.

    >>> rows = {"first": RowBlocks(0, torch.tensor([0, 2])), "second": RowBlocks(0, torch.tensor([2, 1, 2]))}
    >>> point = {"first": torch.ones(2, 3), "second": torch.ones(3)}
    >>> pieces = Pieces.of(Spheres.around(point, rows, relative=2))
    >>> pieces.block.tolist(), pieces.lengths, pieces.inner(point, point).tolist()
    ([0, 2, 1, 2], (2, 2), [3.0, 3.0, 1.0, 2.0])
    """

    rows: Mapping[str, BlocksOfTensor]
    block: Tensor
    lengths: tuple[int, ...]

    @classmethod
    def of(cls, spheres: Spheres) -> Pieces:
        """The pieces of the blocks of spheres."""
        rows: dict[str, BlocksOfTensor] = {}
        numbered = _on_the_cpu(spheres.rows)
        blocks: list[Tensor] = []
        begin = 0
        for name, entry in spheres.rows.items():
            if isinstance(entry, NumberBlocks):
                own = torch.arange(entry.first, entry.first + entry.shape.numel())
                rows[name] = NumberBlocks(begin, entry.shape)
            else:
                own, which = torch.unique(numbered[name], return_inverse=True)
                rows[name] = RowBlocks(entry.axis, (which + begin).to(entry.block.device))
            blocks.append(own)
            begin += len(own)
        return cls(rows, torch.cat(blocks).to(spheres.radii.device), tuple(map(len, blocks)))

    def inner(self, first: Point, second: Point) -> Tensor:
        """⟨first, second⟩ piece by piece, (pieces,)."""
        total = torch.zeros(len(self.block), dtype=torch.float64, device=self.block.device)
        return add_products(self.rows, first, second, total)

    def by_block(self, values: Tensor, blocks: int) -> Tensor:
        """The sums of (pieces,) values over the pieces of each of so many blocks, (blocks,)."""
        return values.new_zeros(blocks).index_add_(0, self.block, values)

    def by_tensor(self, values: Tensor) -> dict[str, Tensor]:
        """The (pieces,) values of the pieces in each tensor."""
        return dict(zip(self.rows, torch.split(values, list(self.lengths)), strict=True))


def _on_the_cpu(rows: Mapping[str, BlocksOfTensor]) -> dict[str, Tensor]:
    """The blocks of rows by the names of their tensors, fetched at once."""
    found = {name: entry.block for name, entry in rows.items() if isinstance(entry, RowBlocks)}
    fetched = torch.cat([*found.values()]).cpu() if found else torch.zeros(0)
    parts = torch.split(fetched, [len(block) for block in found.values()])
    return dict(zip(found, parts, strict=True))
