"""Finding the blocks: Euler's theorem proposes, a scaling by ½ and 2 confirms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point
from bnsharp_cli.core.spheres import Rows, Spheres, along
from bnsharp_cli.measurement.blocks.assignment import FREE, BlockAssignment, confirm
from bnsharp_cli.measurement.blocks.blocks import NO_EFFECT, PARTITIONS, Blocks, TensorBlocks
from bnsharp_cli.measurement.blocks.euler import EulerProducts, EulerTest
from bnsharp_cli.measurement.blocks.joint import add_joint_sets
from bnsharp_cli.measurement.blocks.probe import Probe
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

_SAME_FACTOR = 1e-9


def find_blocks(surface: LossSurface, point: Point, partition: str = "paper", seed: int = 0) -> Blocks:
    """Find and verify the scale-invariant blocks.

    f is scale-invariant in θ_i exactly if ⟨θ_i, ∂f/∂θ_i⟩ = 0 for every output f (Euler). That is tested in float64
    with the norms' ε removed, for random cotangents, at the user's point and at a generic one, for single rows,
    then rows with their biases, then consecutive groups of rows (group and layer norm); what passes is confirmed by
    scaling it by ½ and 2. Rows that fail the confirmation are left in θ_*, and so are rows without effect.

    Args:
        surface: any surface of the network; the first samples are used, and all where only they use some rows.
        point: the parameters.
        partition: ``paper``; or ``extended``, where every further joint invariance, such as the (γ, β) of a norm before
            a positively homogeneous map and another norm, is a block of its own. The second is not in the paper.
        seed: of cotangents and generic point.

    Raises:
        NotMeasurableError: gradients of the network cannot be had, see ``recomputation``.
    """
    (blocks,) = find_partitions(surface, point, (partition,), seed)
    return blocks


def find_partitions(
    surface: LossSurface, point: Point, partitions: Sequence[str] = PARTITIONS, seed: int = 0
) -> tuple[Blocks, ...]:
    """Several partitions of one network from a single probe; see :func:`find_blocks`."""
    probe = Probe.of(surface, point, seed)
    euler = EulerTest.of(probe)
    assignment = BlockAssignment.free(point)
    for name, tensor in point.items():
        if tensor.ndim > 1:
            _assign_rows(assignment, euler, point, name)
            _assign_numbers(assignment, probe, euler, name)
    proposed = {name: int((labels != FREE).sum()) for name, labels in assignment.labels.items()}
    confirm(assignment, probe)
    refuted = {name: proposed[name] - int((labels != FREE).sum()) for name, labels in assignment.labels.items()}
    found = []
    for partition in partitions:
        joint = add_joint_sets(assignment, probe, euler) if partition == "extended" else {}
        found.append(_finish(assignment, probe, euler, partition, joint, refuted))
    return tuple(found)


def _assign_rows(assignment: BlockAssignment, euler: EulerTest, point: Point, name: str) -> None:
    """Give each row of a weight the finest joint set, with or without its bias, that is invariant."""
    bias = _bias_of(point, name)
    best: tuple[int, list[tuple[list[int], bool]]] = (0, [])
    for axis in (0, 1):
        found = _invariant_groups(euler, name, axis, bias)
        if len(found) > len(best[1]):
            best = (axis, found)
    axis, groups = best
    if not groups:
        return
    assignment.axes[name] = axis
    assignment.labels[name] = torch.full((point[name].shape[axis],), FREE)
    for members, with_bias in groups:
        indices = torch.tensor(members)
        assignment.add({name: indices, bias: indices} if with_bias and bias else {name: indices})


def _assign_numbers(assignment: BlockAssignment, probe: Probe, euler: EulerTest, name: str) -> None:
    """Make blocks of rows of a single number, such as weight norm's g, of which only the sign acts.

    Their gradient is zero, so that Euler's theorem cannot tell them from what has no effect; a change of sign can.
    """
    if probe.locations[0].point[name].shape[1:].numel() != 1 or bool((assignment.labels[name] != FREE).any()):
        return
    without_effect = euler.without_effect(euler.rows(name)).cpu()
    flipped = partial(_scaled, name=name, factors=1 - 2 * without_effect.double())
    if bool(without_effect.any()) and not probe.unchanged(flipped):
        for row in without_effect.nonzero():
            assignment.add({name: row})


def _scaled(point: Point, name: str, factors: Tensor) -> Point:
    tensor = point[name]
    return {**point, name: tensor * along(factors.to(tensor.device), 0, tensor.ndim)}


def _invariant_groups(euler: EulerTest, name: str, axis: int, bias: str) -> list[tuple[list[int], bool]]:
    rows = euler.rows(name, axis)
    count = rows.products.shape[-1]
    biases = euler.rows(bias) if bias and axis == 0 else None
    taken = torch.zeros(count, dtype=torch.bool)
    found = []
    for groups in (divisor for divisor in range(count, 0, -1) if count % divisor == 0):
        candidates: list[tuple[EulerProducts, bool]] = [(rows, False)]
        if biases is not None:
            candidates.append((rows + biases, True))
        for candidate, with_bias in candidates:
            passing = euler.invariant(candidate.grouped(groups)).cpu()
            size = count // groups
            for group in passing.nonzero().flatten().tolist():
                members = list(range(group * size, (group + 1) * size))
                if not bool(taken[members].any()):
                    taken[members] = True
                    found.append((members, with_bias))
    return found


def _bias_of(point: Point, name: str) -> str:
    """The one-dimensional parameter beside a weight that has an entry for each of its rows, if there is one."""
    module = name.rpartition(".")[0]
    for other, tensor in point.items():
        beside = other.rpartition(".")[0] == module and other != name
        if beside and tensor.ndim == 1 and len(tensor) == len(point[name]):
            return other
    return ""


def _finish(
    assignment: BlockAssignment,
    probe: Probe,
    euler: EulerTest,
    partition: str,
    joint: Mapping[int, tuple[str, ...]],
    refuted: Mapping[str, int],
) -> Blocks:
    rows, count = assignment.numbered()
    first_joint = count - len(joint)
    renumbered = {first_joint + index: joint[block] for index, block in enumerate(sorted(joint))}
    norms = _feeding(probe, rows, count, set(renumbered))
    tensors = []
    for name, entry in rows.items():
        is_invariant = entry.block < count
        quiet = euler.without_effect(euler.rows(name, entry.axis)).cpu() & ~is_invariant
        reason = _reason(entry, renumbered, norms.get(name, ""), count, int(quiet.sum()))
        if refuted[name]:
            reason += f"; {refuted[name]} of {len(quiet)} rows seemed so, but scaling them by ½ or 2 changed an output"
        tensors.append(TensorBlocks(name, len(entry.block), int(is_invariant.sum()), reason))
    return Blocks(partition, rows, count, renumbered, tuple(tensors))


def _reason(entry: Rows, joint: Mapping[int, tuple[str, ...]], norm: str, invariant_count: int, quiet: int) -> str:
    blocks = set(entry.block.tolist())
    if blocks & set(joint):
        names = list(dict.fromkeys(name for block in sorted(blocks & set(joint)) for name in joint[block]))
        return f"scales jointly: {', '.join(names)}"
    if min(blocks, default=invariant_count) < invariant_count:
        reason = f"normalised by {norm}" if norm else "scale-invariant"
        return f"{reason}; {quiet} of {len(entry.block)} rows have {NO_EFFECT}" if quiet else reason
    if quiet == len(entry.block) and quiet:
        return NO_EFFECT
    return "not scale-invariant"


def _feeding(probe: Probe, rows: Mapping[str, Rows], count: int, joint: set[int]) -> dict[str, str]:
    """Which norm each invariant tensor feeds, read off the norms' inputs when each tensor is scaled by its own factor.

    This only names the reason; nothing relies on it.
    """
    weights = [name for name, entry in rows.items() if any(b < count and b not in joint for b in entry.block.tolist())]
    factors = {name: 1 + (index + 1) / (len(weights) + 1) for index, name in enumerate(weights)}
    per_block = torch.ones(count + 1, dtype=torch.float64)
    for name, factor in factors.items():
        per_block[rows[name].block] = factor
    per_block[[count, *joint]] = 1.0
    location = probe.locations[-1]
    before, after = probe.moments(location), probe.moments(location, Spheres(rows, per_block).to_direction)
    found: dict[str, str] = {}
    for own, scaled in zip(before, after, strict=True):
        ratio = (scaled.size / own.size).flatten()
        for name, factor in factors.items():
            if bool((ratio - factor).abs().lt(_SAME_FACTOR).any()):
                found.setdefault(name, own.call.owner or f"a {own.call.kind} norm")
    return found
