"""Blocks while they are being found: proposed row by row, and released again where scaling by ½ or 2 refutes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point
from bnsharp_cli.core.spheres import RowBlocks, Spheres
from bnsharp_cli.measurement.blocks.probe import Probe
from bnsharp_cli.measurement.blocks.search_memory import digest
from bnsharp_cli.measurement.surface.cost import FORWARD

FREE = -1
"""The block number of θ_* while blocks are being found; afterwards it is the last one."""

_MOST = 8
"""The most pieces of one tensor that are halved further in search of the rows that are not invariant after all."""


@dataclass
class BlockAssignment:
    """The blocks that have been proposed and not refuted so far.

    Attributes:
        axes: the dimension of each tensor whose slices are its rows.
        labels: the block of each row of each tensor, (rows,); ``FREE`` for none.
        count: how many blocks were ever proposed.
    """

    axes: dict[str, int] = field(default_factory=dict)
    labels: dict[str, Tensor] = field(default_factory=dict)
    count: int = 0

    @classmethod
    def free(cls, point: Point) -> BlockAssignment:
        """An assignment without any block: every row belongs to θ_*."""
        lengths = {name: tensor.shape[0] if tensor.ndim else 1 for name, tensor in point.items()}
        return cls(dict.fromkeys(point, 0), {name: torch.full((length,), FREE) for name, length in lengths.items()})

    def add(self, members: Mapping[str, Tensor]) -> None:
        """One more block, of the rows ``members[name]`` (indices) of each tensor."""
        for name, indices in members.items():
            self.labels[name][indices] = self.count
        self.count += 1

    def release(self, blocks: set[int]) -> None:
        """Give the rows of some blocks back to θ_*."""
        for labels in self.labels.values():
            labels[torch.isin(labels, torch.tensor(sorted(blocks)))] = FREE

    def numbered(self) -> tuple[dict[str, RowBlocks], int]:
        """The block of every row, numbered 0 … count − 1 without gaps, θ_* being number ``count``; and that count."""
        used = sorted({block for labels in self.labels.values() for block in labels.tolist()} - {FREE})
        number = {block: index for index, block in enumerate(used)} | {FREE: len(used)}
        rows = {
            name: RowBlocks(
                self.axes[name], torch.tensor([number[block] for block in labels.tolist()], dtype=torch.int64)
            )
            for name, labels in self.labels.items()
        }
        return rows, len(used)


def confirm(assignment: BlockAssignment, probe: Probe, first: int = 0) -> set[int]:
    """Scale every block from number ``first`` on by ½ and by 2; release those whose scaling changes an output.

    Returns:
        The numbers of the blocks that were released.
    """
    count = assignment.count
    exponents = 2.0 * torch.randint(2, (count,), generator=torch.Generator().manual_seed(1)) - 1
    rows = {
        name: RowBlocks(assignment.axes[name], torch.where(labels == FREE, count, labels))
        for name, labels in assignment.labels.items()
    }
    spheres = Spheres(rows, torch.ones(count + 1, dtype=torch.float64))
    identity = digest(count, *(part for name, entry in rows.items() for part in (name, entry.axis, entry.block)))

    def unchanged(blocks: list[int]) -> bool:
        chosen = torch.zeros(count + 1, dtype=torch.float64)
        chosen[blocks] = exponents[blocks].double()
        question = ("scaled", identity, digest(chosen))
        return all(
            probe.unchanged(partial(spheres.scale, factors=2.0 ** (sign * chosen)), (*question, sign))
            for sign in (1, -1)
        )

    if unchanged(list(range(first, count))):
        return set()
    refuted: set[int] = set()
    progress = probe.surface.progress
    with progress.stage("confirming", 4 * FORWARD, len(assignment.labels)):
        for number, (name, labels) in enumerate(assignment.labels.items()):
            progress.reach(number, name)
            own = [block for block in sorted(set(labels.tolist()) - refuted) if block >= first]
            if own and not unchanged(own):
                refuted.update(_refuted_pieces(own, unchanged))
    assignment.release(refuted)
    return refuted


def _refuted_pieces(blocks: list[int], unchanged: Callable[[list[int]], bool]) -> list[int]:
    """The smallest pieces of ``blocks``, found by halving, whose scaling changes an output."""
    suspects, found = [blocks], []
    while 0 < len(suspects) <= _MOST:
        smaller = []
        for piece in suspects:
            middle = len(piece) // 2
            halves = [half for half in (piece[:middle], piece[middle:]) if half and not unchanged(half)]
            if middle and halves:
                smaller += halves
            else:
                found += piece
        suspects = smaller
    return [*found, *(block for piece in suspects for block in piece)]
