"""Finding the blocks: Euler's theorem proposes, a scaling by ½ and 2 confirms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point
from bnsharp_cli.core.row_points import RowPoint
from bnsharp_cli.core.spheres import broadcast_over_rows
from bnsharp_cli.measurement.blocks.assignment import FREE, BlockAssignment, confirm
from bnsharp_cli.measurement.blocks.blocks import PROBED_PARTITIONS, Blocks
from bnsharp_cli.measurement.blocks.euler import EulerProducts, EulerTest, bias_of
from bnsharp_cli.measurement.blocks.joint import add_joint_sets
from bnsharp_cli.measurement.blocks.probe import Probe
from bnsharp_cli.measurement.blocks.reasons import described_blocks
from bnsharp_cli.measurement.blocks.relative import relative_blocks, unprobed_blocks
from bnsharp_cli.measurement.blocks.search_memory import SearchMemory, digest
from bnsharp_cli.measurement.surface.cost import Cost
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

_PASSES = Cost(forward=10, backward=4)
"""Of a few samples, where nothing is refuted: probe and gradients at two locations, then the confirmation."""


def find_blocks(
    surface: LossSurface,
    point: Point,
    partition: str = "paper",
    seed: int = 0,
    memory: SearchMemory | None = None,
) -> Blocks:
    """Find and verify the scale-invariant blocks.

    f is scale-invariant in θ_i exactly if ⟨θ_i, ∂f/∂θ_i⟩ = 0 for every output f (Euler). That is tested in float64
    with the norms' ε removed, for random cotangents, at the user's point and at a generic one, for single rows,
    then rows with their biases, then consecutive groups of rows (group and layer norm); what passes is confirmed by
    scaling it by ½ and 2. Rows that fail the confirmation are left in θ_*, and so are rows without effect.

    Args:
        surface: any surface of the network; the first samples are used, and all where only they use some rows.
        point: the parameters.
        partition: ``paper``; or ``extended``, where every further joint invariance, such as the (γ, β) of a norm before
            a positively homogeneous map and another norm, is a block of its own; or one that asks nothing of the
            network, see :func:`~bnsharp_cli.measurement.blocks.relative.relative_blocks`. Only the first is in the
            paper.
        seed: the seed of cotangents and generic point.
        memory: what was found of earlier networks, which spares those of the same architecture a part of the passes;
            the blocks are the same with and without it.

    Raises:
        NotMeasurableError: the network cannot be differentiated, see ``recomputation``.
    """
    (blocks,) = find_partitions(surface, point, (partition,), seed, memory)
    return blocks


def find_partitions(
    surface: LossSurface,
    point: Point,
    partitions: Sequence[str] = PROBED_PARTITIONS,
    seed: int = 0,
    memory: SearchMemory | None = None,
) -> tuple[Blocks, ...]:
    """Several partitions of one network from at most one probe; see :func:`find_blocks`.

    ``extended`` adds to the blocks that were found before it, so name it after ``paper``. At a point that is never held
    whole nothing is searched: see :func:`~bnsharp_cli.measurement.blocks.relative.unprobed_blocks`.
    """
    if isinstance(point, RowPoint):
        return tuple(
            replace(unprobed_blocks(surface.module, point, one), notes=surface.conduct.notes) for one in partitions
        )
    probed = [partition for partition in partitions if partition in PROBED_PARTITIONS]
    found = dict(zip(probed, _probed(surface, point, probed, seed, memory), strict=True)) if probed else {}
    for partition in partitions:
        if partition not in found:
            found[partition] = relative_blocks(surface.module, point, partition)
    return tuple(replace(found[partition], notes=surface.conduct.notes) for partition in partitions)


def _probed(
    surface: LossSurface, point: Point, partitions: Sequence[str], seed: int, memory: SearchMemory | None
) -> Iterator[Blocks]:
    with surface.progress.stage("finding the scale-invariant blocks", _PASSES):
        yield from _found(point, partitions, Probe.of(surface, point, seed, memory))


def _found(point: Point, partitions: Sequence[str], probe: Probe) -> Iterator[Blocks]:
    euler = EulerTest.of(probe)
    assignment = BlockAssignment.free(point)
    for name, tensor in point.items():
        if tensor.ndim > 1:
            _assign_rows(assignment, euler, point, name)
            _assign_numbers(assignment, probe, euler, name)
    proposed = {name: int((labels != FREE).sum()) for name, labels in assignment.labels.items()}
    confirm(assignment, probe)
    refuted = {name: proposed[name] - int((labels != FREE).sum()) for name, labels in assignment.labels.items()}
    for partition in partitions:
        joint = add_joint_sets(assignment, probe, euler) if partition == "extended" else {}
        yield described_blocks(assignment, probe, euler, partition, joint, refuted)


def _assign_rows(assignment: BlockAssignment, euler: EulerTest, point: Point, name: str) -> None:
    """Give each row of a weight the finest joint set, with or without its bias, that is invariant."""
    bias = bias_of(point, name)
    along_axis = [_invariant_groups(euler, name, axis, bias) for axis in (0, 1)]
    axis = 1 if len(along_axis[1]) > len(along_axis[0]) else 0
    if not along_axis[axis]:
        return
    assignment.axes[name] = axis
    assignment.labels[name] = torch.full((point[name].shape[axis],), FREE)
    for group in along_axis[axis]:
        indices = torch.tensor(group.rows)
        assignment.add({name: indices, bias: indices} if group.with_bias else {name: indices})


def _assign_numbers(assignment: BlockAssignment, probe: Probe, euler: EulerTest, name: str) -> None:
    """Make blocks of rows of a single number, such as weight norm's g, of which only the sign acts.

    Their gradient is zero, so that Euler's theorem cannot tell them from what has no effect; a change of sign can.
    """
    if probe.locations[0].point[name].shape[1:].numel() != 1 or bool((assignment.labels[name] != FREE).any()):
        return
    without_effect = euler.without_effect(euler.rows(name)).cpu()
    flipped = partial(_scaled, name=name, factors=1 - 2 * without_effect.double())
    question = ("flipped", name, digest(without_effect))
    if bool(without_effect.any()) and not probe.unchanged(flipped, question):
        for row in without_effect.nonzero():
            assignment.add({name: row})


def _scaled(point: Point, name: str, factors: Tensor) -> Point:
    tensor = point[name]
    return {**point, name: tensor * broadcast_over_rows(factors.to(tensor.device), 0, tensor.ndim)}


class _RowGroup(NamedTuple):
    """Consecutive rows of a weight that are scale-invariant together, with their entries of the bias or without."""

    rows: range
    with_bias: bool


def _invariant_groups(euler: EulerTest, name: str, axis: int, bias: str) -> list[_RowGroup]:
    """The smallest invariant groups of equally many rows along ``axis``, no two of which overlap."""
    rows = euler.rows(name, axis).cpu()
    count = rows.products.shape[-1]
    candidates: list[tuple[EulerProducts, bool]] = [(rows, False)]
    if bias and axis == 0:
        candidates.append((euler.rows_with_bias(name, bias).cpu(), True))
    taken = torch.zeros(count, dtype=torch.bool)
    found = []
    for groups in (divisor for divisor in range(count, 0, -1) if count % divisor == 0):
        size = count // groups
        for candidate, with_bias in candidates:
            passing = euler.invariant(candidate.grouped(groups))
            for first in (passing.nonzero().flatten() * size).tolist():
                if not bool(taken[first : first + size].any()):
                    taken[first : first + size] = True
                    found.append(_RowGroup(range(first, first + size), with_bias))
    return found
