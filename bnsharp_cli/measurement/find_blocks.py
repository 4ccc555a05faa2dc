"""Finding the blocks: Euler's theorem proposes, a scaling by ½ and 2 confirms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point
from bnsharp_cli.core.spheres import Rows, Spheres
from bnsharp_cli.measurement.blocks import NO_EFFECT, Blocks, TensorBlocks
from bnsharp_cli.measurement.joint import FREE, joint_sets
from bnsharp_cli.measurement.probe import Evidence, Probe, evidence, invariant, silent
from bnsharp_cli.measurement.surface import LossSurface

_SAME_FACTOR = 1e-9


@dataclass
class _Assignment:
    """Blocks being found."""

    axes: dict[str, int] = field(default_factory=dict)
    labels: dict[str, Tensor] = field(default_factory=dict)
    count: int = 0

    def add(self, members: Mapping[str, Tensor]) -> None:
        """One more block, of the rows ``members[name]`` (indices) of each tensor."""
        for name, indices in members.items():
            self.labels[name][indices] = self.count
        self.count += 1

    def release(self, blocks: set[int]) -> None:
        """Give the rows of some blocks back to θ_*."""
        for labels in self.labels.values():
            labels[torch.isin(labels, torch.tensor(sorted(blocks)))] = FREE

    def numbered(self) -> tuple[dict[str, Rows], int]:
        """Every tensor's rows with blocks 0 … count − 1 and θ_* as block ``count``."""
        used = sorted({block for labels in self.labels.values() for block in labels.tolist()} - {FREE})
        number = {block: index for index, block in enumerate(used)} | {FREE: len(used)}
        rows = {
            name: Rows(self.axes[name], torch.tensor([number[block] for block in labels.tolist()], dtype=torch.int64))
            for name, labels in self.labels.items()
        }
        return rows, len(used)


def find_blocks(surface: LossSurface, point: Point, partition: str = "paper", seed: int = 0) -> Blocks:
    """Find and verify the scale-invariant blocks.

    f is scale-invariant in θ_i exactly if ⟨θ_i, ∂f/∂θ_i⟩ = 0 for every output f (Euler). That is tested in float64
    with the norms' ε removed, for random cotangents, at the user's point and at a generic one, for single rows,
    then rows with their biases, then consecutive groups of rows (group and layer norm); what passes is confirmed by
    scaling it by ½ and 2. A tensor that fails the confirmation is left in θ_*, and so is a row without effect.

    Args:
        surface: any surface of the network; its first batch is used.
        point: the parameters.
        partition: ``paper``; or ``extended``, where every further joint invariance, such as the (γ, β) of a norm before
            a positively homogeneous map and another norm, is a block of its own. The second is not in the paper.
        seed: of cotangents and generic point.
    """
    probe = Probe.of(surface, point, seed)
    pairs = probe.pairs()
    assignment = _Assignment()
    for name, tensor in point.items():
        assignment.axes[name] = 0
        assignment.labels[name] = torch.full((tensor.shape[0] if tensor.ndim else 1,), FREE)
    scale = max((float(evidence(pairs, name, 0).magnitude().max()) for name in point), default=0.0)
    for name, tensor in point.items():
        if tensor.ndim > 1:
            _assign_rows(assignment, pairs, point, name, scale)
    _confirm(assignment, probe)
    joint: dict[int, tuple[str, ...]] = {}
    if partition == "extended":
        for members in joint_sets(probe, pairs, assignment.labels, scale):
            joint[assignment.count] = tuple(members)
            assignment.add(members)
    return _finish(assignment, probe, pairs, partition, joint, scale)


def _assign_rows(
    assignment: _Assignment, pairs: list[tuple[Point, Point]], point: Point, name: str, scale: float
) -> None:
    """Give each row of a weight the finest joint set, with or without its bias, that is invariant."""
    bias = _bias_of(point, name)
    best: tuple[int, list[tuple[list[int], bool]]] = (0, [])
    for axis in (0, 1):
        found = _invariant_groups(pairs, name, axis, bias, scale)
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


def _invariant_groups(
    pairs: list[tuple[Point, Point]], name: str, axis: int, bias: str, scale: float
) -> list[tuple[list[int], bool]]:
    rows = evidence(pairs, name, axis)
    count = rows.products.shape[-1]
    biases = evidence(pairs, bias, 0) if bias and axis == 0 else None
    taken = torch.zeros(count, dtype=torch.bool)
    found = []
    for groups in (divisor for divisor in range(count, 0, -1) if count % divisor == 0):
        candidates: list[tuple[Evidence, bool]] = [(rows, False)]
        if biases is not None:
            candidates.append((rows + biases, True))
        for candidate, with_bias in candidates:
            passing = invariant(candidate.grouped(groups), scale).cpu()
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


def _confirm(assignment: _Assignment, probe: Probe) -> None:
    """Scale every block by ½ or 2; release the tensors whose scaling changes an output."""
    rows, count = assignment.numbered()
    generator = torch.Generator().manual_seed(1)
    drawn = torch.tensor([0.5, 2.0], dtype=torch.float64)[torch.randint(2, (count + 1,), generator=generator)]
    drawn[count] = 1.0
    spheres = Spheres(rows, torch.ones(count + 1, dtype=torch.float64))
    if probe.unchanged(partial(spheres.scale, factors=drawn)):
        return
    for name, labels in assignment.labels.items():
        own = torch.ones(count + 1, dtype=torch.float64)
        own[rows[name].block] = drawn[rows[name].block]
        if not probe.unchanged(partial(spheres.scale, factors=own)):
            assignment.release(set(labels.tolist()))


def _finish(
    assignment: _Assignment,
    probe: Probe,
    pairs: list[tuple[Point, Point]],
    partition: str,
    joint: Mapping[int, tuple[str, ...]],
    scale: float,
) -> Blocks:
    rows, count = assignment.numbered()
    first_joint = count - len(joint)
    renumbered = {first_joint + index: joint[block] for index, block in enumerate(sorted(joint))}
    norms = _feeding(probe, rows, count, set(renumbered))
    tensors = []
    for name, entry in rows.items():
        is_invariant = entry.block < count
        quiet = silent(evidence(pairs, name, entry.axis), scale).cpu() & ~is_invariant
        reason = _reason(entry, renumbered, norms.get(name, ""), count, int(quiet.sum()))
        tensors.append(TensorBlocks(name, len(entry.block), int(is_invariant.sum()), reason))
    return Blocks(partition, rows, count, renumbered, tuple(tensors))


def _reason(entry: Rows, joint: Mapping[int, tuple[str, ...]], norm: str, invariant_count: int, quiet: int) -> str:
    blocks = set(entry.block.tolist())
    if blocks & set(joint):
        names = list(dict.fromkeys(name for block in sorted(blocks & set(joint)) for name in joint[block]))
        return f"scales jointly: {', '.join(names)}"
    if min(blocks, default=invariant_count) < invariant_count:
        return f"normalised by {norm}" if norm else "scale-invariant"
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
    point = probe.points[-1]
    scaled = Spheres(rows, per_block).to_direction(point)
    found: dict[str, str] = {}
    for (call, _, std), (_, _, scaled_std) in zip(probe.moments(point), probe.moments(scaled), strict=True):
        ratio = (scaled_std / std).flatten()
        for name, factor in factors.items():
            if bool((ratio - factor).abs().lt(_SAME_FACTOR).any()):
                found.setdefault(name, call.owner or f"a {call.kind} norm")
    return found
