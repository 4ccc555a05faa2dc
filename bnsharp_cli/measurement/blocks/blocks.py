"""Blocks: which numbers share a radius relative to their norm, and the one block θ_* of everything else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point
from bnsharp_cli.core.row_points import RowPoint, outline
from bnsharp_cli.core.row_spheres import RowSpheres
from bnsharp_cli.core.spheres import BlocksOfTensor, RowBlocks, Spheres

PROBED_PARTITIONS = ("paper", "extended")
"""Partitions whose blocks are scale-invariant, which only the network itself can tell."""

PARTITIONS = (*PROBED_PARTITIONS, "filter", "layer", "element")
"""All partitions; in the others every number belongs to a block with a relative radius, invariant or not."""

NO_EFFECT = "no effect on the output"
"""The reason of a tensor in θ_* that no output depends on in batch mode, such as a bias before a norm."""

NOT_SEARCHED = "not searched, to save memory"
"""The reason of every tensor where scale-invariant blocks were not looked for."""


@dataclass(frozen=True)
class TensorBlocks:
    """What was found about one tensor.

    Attributes:
        name: the name of the parameter.
        rows: how many it has.
        invariant: how many of them belong to a scale-invariant block.
        reason: why, in words.
        without_effect: whether no output depends on it.
    """

    name: str
    rows: int
    invariant: int
    reason: str
    without_effect: bool


@dataclass(frozen=True)
class Blocks:
    """A partition of the parameters.

    Attributes:
        partition: ``paper`` (rows that a norm makes invariant, Def. 2.2), ``extended``, ``filter``, ``layer`` or
            ``element``.
        rows: the blocks of every tensor; number ``relative`` is θ_*.
        relative: how many blocks have a radius relative to their norm.
        joint: the names of the tensors of each block that only the extended partition has, by block number.
        tensors: a record per tensor.
        notes: what a reader should know of the network that they were found in.

    >>> import torch
    >>> from bnsharp_cli import find_blocks
    >>> network = torch.nn.Sequential(torch.nn.Linear(4, 8, bias=False), torch.nn.BatchNorm1d(8))
    >>> blocks = find_blocks(network, [(torch.randn(16, 4), torch.arange(16) % 8)])
    >>> blocks.partition, blocks.invariant, [tensor.name for tensor in blocks.tensors]
    ('paper', 8, ['0.weight', '1.weight', '1.bias'])
    """

    partition: str
    rows: Mapping[str, BlocksOfTensor]
    relative: int
    joint: Mapping[int, tuple[str, ...]]
    tensors: tuple[TensorBlocks, ...]
    notes: tuple[str, ...] = ()

    @property
    def probed(self) -> bool:
        """Whether the blocks are those that were found to be scale-invariant."""
        return self.partition in PROBED_PARTITIONS

    @property
    def invariant(self) -> int:
        """How many blocks were found to be scale-invariant; 0 for a partition that does not ask."""
        return self.relative if self.probed else 0

    def spheres(self, point: Point) -> Spheres:
        """The product of spheres φ(θ) at ``point``."""
        return Spheres.around(point, self.rows, self.relative)

    def spheres_at(self, point: Point) -> Spheres | RowSpheres:
        """The same, of the kind that holds nothing of the size of the network where ``point`` does not either."""
        if isinstance(point, RowPoint):
            return RowSpheres.around(point, self.rows, self.relative)
        return self.spheres(point)

    def zero_blocks(self, spheres: Spheres | RowSpheres) -> int:
        """How many blocks with a relative radius are zero where the spheres are, so that they stay fixed."""
        return spheres.zeros(self.relative)

    def zero_notes(self, spheres: Spheres | RowSpheres) -> tuple[str, ...]:
        """What a reader must know of blocks that stay fixed, if there are any."""
        zero = self.zero_blocks(spheres)
        said = f"{zero:,} of {self.relative:,} blocks are zero: their radius is 0, and they stay fixed"
        return (said,) if zero else ()

    def free_parameters(self, point: Point) -> int:
        """How many numbers θ_* has."""
        like = outline(point)
        return sum(
            int((entry.block == self.relative).sum()) * (like[name].numel() // max(1, len(entry.block)))
            for name, entry in self._by_rows()
        )

    def layers(self) -> dict[str, Tensor]:
        """The blocks of relative radius of each tensor that has any, without the joint ones."""
        found = {}
        for name, entry in self._by_rows():
            own = [
                block
                for block in sorted(set(entry.block.tolist()))
                if block < self.relative and block not in self.joint
            ]
            if own:
                found[name] = torch.tensor(own)
        return found

    def _by_rows(self) -> Iterator[tuple[str, RowBlocks]]:
        """The tensors whose blocks are of rows."""
        for name, entry in self.rows.items():
            if isinstance(entry, RowBlocks):
                yield name, entry
