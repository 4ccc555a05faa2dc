"""Blocks: which rows of which tensors are scale-invariant together, and the one block of everything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point
from bnsharp_cli.core.spheres import RowBlocks, Spheres

PARTITIONS = ("paper", "extended")

NO_EFFECT = "no effect on the output"
"""The reason of a tensor in θ_* that no output depends on in batch mode, such as a bias before a norm."""


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
        partition: ``paper`` (rows that a norm makes invariant, Def. 2.2) or ``extended``.
        rows: the block of every row of every tensor; number ``invariant`` is θ_*.
        invariant: how many scale-invariant blocks there are.
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
    rows: Mapping[str, RowBlocks]
    invariant: int
    joint: Mapping[int, tuple[str, ...]]
    tensors: tuple[TensorBlocks, ...]
    notes: tuple[str, ...] = ()

    def spheres(self, point: Point) -> Spheres:
        """The product of spheres φ(θ) at ``point``."""
        return Spheres.around(point, self.rows, self.invariant)

    def free_parameters(self, point: Point) -> int:
        """How many numbers θ_* has."""
        return sum(
            int((entry.block == self.invariant).sum()) * (point[name].numel() // max(1, len(entry.block)))
            for name, entry in self.rows.items()
        )

    def layers(self) -> dict[str, Tensor]:
        """The invariant blocks of each tensor that has any, without the joint ones."""
        found = {}
        for name, entry in self.rows.items():
            own = [
                block
                for block in sorted(set(entry.block.tolist()))
                if block < self.invariant and block not in self.joint
            ]
            if own:
                found[name] = torch.tensor(own)
        return found
