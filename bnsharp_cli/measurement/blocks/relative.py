"""Partitions by shape alone: every row, tensor or number is a block with a radius relative to its norm.

Nothing has to be found in the network. A rescaling θ_b → a_b θ_b, a_b > 0, maps φ(θ) onto φ of the rescaled θ. So
whatever makes the loss invariant under it, BN-Sharpness is invariant as well, as long as it scales whole blocks.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

# The base class of all transposed convolutions has no public name.
from torch.nn.modules.conv import _ConvTransposeNd

from bnsharp_cli.core.point import Point
from bnsharp_cli.core.row_points import outline
from bnsharp_cli.core.spheres import BlocksOfTensor, NumberBlocks, RowBlocks
from bnsharp_cli.measurement.blocks.blocks import NOT_SEARCHED, PROBED_PARTITIONS, Blocks, TensorBlocks

_Part = tuple[BlocksOfTensor, int, str]
"""The blocks of one tensor from a first number on, how many they are, and what they are in words."""


def relative_blocks(module: nn.Module, point: Point, partition: str) -> Blocks:
    """The blocks of a partition that needs no probe.

    Args:
        module: tells which weights are of transposed convolutions, whose filters lie along their second dimension.
        point: the parameters, of which the shapes are used.
        partition: ``filter``, where every row of a tensor of two dimensions or more is a block, and every vector
            (Li et al., NeurIPS 2018); ``layer``, every tensor; ``element``, every number (Kwon et al., ICML 2021).
    """
    transposed = {name for name, owner in module.named_modules() if isinstance(owner, _ConvTransposeNd)}
    rows: dict[str, BlocksOfTensor] = {}
    tensors, count = [], 0
    for name, tensor in outline(point).items():
        axis = int(tensor.ndim > 1 and _owner(name) in transposed)
        rows[name], own, words = _PARTS[partition](tensor, axis, count)
        count += own
        tensors.append(TensorBlocks(name, tensor.shape[axis] if tensor.ndim else 1, 0, words, False))
    return Blocks(partition, rows, count, {}, tuple(tensors))


def unprobed_blocks(module: nn.Module, point: Point, partition: str) -> Blocks:
    """The blocks of any partition without a pass: those of :func:`relative_blocks`, or θ_* alone.

    Args:
        module: as for :func:`relative_blocks`.
        point: the parameters, of which the shapes are used.
        partition: one that a probe would find is left without blocks, and its tensors say so.
    """
    if partition not in PROBED_PARTITIONS:
        return relative_blocks(module, point, partition)
    lengths = {name: tensor.shape[0] if tensor.ndim else 1 for name, tensor in outline(point).items()}
    rows = {name: RowBlocks(0, torch.zeros(length, dtype=torch.int64)) for name, length in lengths.items()}
    return Blocks(
        partition, rows, 0, {}, tuple(TensorBlocks(n, length, 0, NOT_SEARCHED, False) for n, length in lengths.items())
    )


def _filters(tensor: Tensor, axis: int, first: int) -> _Part:
    if tensor.ndim < 2:
        return _whole(tensor, axis, first)
    count = tensor.shape[axis]
    return RowBlocks(axis, torch.arange(first, first + count)), count, "every row a block"


def _whole(tensor: Tensor, axis: int, first: int) -> _Part:
    length = tensor.shape[axis] if tensor.ndim else 1
    return RowBlocks(axis, torch.full((length,), first)), 1, "one block"


def _numbers(tensor: Tensor, axis: int, first: int) -> _Part:
    del axis
    return NumberBlocks(first, tensor.shape), tensor.numel(), "every number a block"


_PARTS: dict[str, Callable[[Tensor, int, int], _Part]] = {"filter": _filters, "layer": _whole, "element": _numbers}


def _owner(name: str) -> str:
    """The module of a parameter, and of the tensors that parametrize one."""
    return name.partition(".parametrizations.")[0] if ".parametrizations." in name else name.rpartition(".")[0]
