"""Why a tensor's rows are scale-invariant or not, in words: the norm that they feed, or that they have no effect."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from bnsharp_cli.core.spheres import RowBlocks, Spheres
from bnsharp_cli.measurement.blocks.assignment import BlockAssignment
from bnsharp_cli.measurement.blocks.blocks import NO_EFFECT, Blocks, TensorBlocks
from bnsharp_cli.measurement.blocks.euler import EulerTest
from bnsharp_cli.measurement.blocks.probe import Probe
from bnsharp_cli.measurement.blocks.search_memory import digest

_SAME_FACTOR = 1e-9


def described_blocks(
    assignment: BlockAssignment,
    probe: Probe,
    euler: EulerTest,
    partition: str,
    joint: Mapping[int, tuple[str, ...]],
    refuted: Mapping[str, int],
) -> Blocks:
    """The blocks that were found, with a reason for each tensor.

    Args:
        assignment: the blocks.
        probe: tells which norm a tensor feeds.
        euler: tells which rows have no effect.
        partition: the name of the partition.
        joint: the names of the tensors of each block that only the extended partition has, by its number.
        refuted: how many rows of each tensor were proposed and then refuted by scaling.
    """
    rows, count = assignment.numbered()
    first_joint = count - len(joint)
    renumbered = {first_joint + index: joint[block] for index, block in enumerate(sorted(joint))}
    norms = _norms_fed(probe, rows, count, set(renumbered))
    tensors = []
    for name, entry in rows.items():
        is_invariant = entry.block < count
        quiet = euler.without_effect(euler.rows(name, entry.axis)).cpu() & ~is_invariant
        reason = _reason(entry, renumbered, norms.get(name, ""), count, int(quiet.sum()))
        if refuted[name]:
            reason += f"; {refuted[name]} of {len(quiet)} rows seemed so, but scaling them by ½ or 2 changed an output"
        silent = bool(quiet.all()) and len(quiet) > 0 and not refuted[name]
        tensors.append(TensorBlocks(name, len(entry.block), int(is_invariant.sum()), reason, silent))
    return Blocks(partition, rows, count, renumbered, tuple(tensors))


def _reason(entry: RowBlocks, joint: Mapping[int, tuple[str, ...]], norm: str, invariant_count: int, quiet: int) -> str:
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


def _norms_fed(probe: Probe, rows: Mapping[str, RowBlocks], count: int, joint: set[int]) -> dict[str, str]:
    """The norm that each invariant tensor feeds: the one whose input grows by the factor that the tensor is scaled by.

    The name appears only in the reason; no result depends on it.
    """
    weights = [name for name, entry in rows.items() if any(b < count and b not in joint for b in entry.block.tolist())]
    factors = {name: 1 + (index + 1) / (len(weights) + 1) for index, name in enumerate(weights)}
    per_block = torch.ones(count + 1, dtype=torch.float64)
    for name, factor in factors.items():
        per_block[rows[name].block] = factor
    per_block[[count, *joint]] = 1.0
    location = probe.locations[-1]
    parts = (part for name, entry in rows.items() for part in (name, entry.axis, entry.block))
    return location.findings.answered(
        ("norms fed", digest(*parts, per_block)), lambda: _norms_that_grow(probe, Spheres(rows, per_block), factors)
    )


def _norms_that_grow(probe: Probe, grown: Spheres, factors: Mapping[str, float]) -> dict[str, str]:
    """The norm whose input grows by the factor of a tensor, once all have grown."""
    location = probe.locations[-1]
    before, after = probe.moments(location), probe.moments(location, grown.to_direction)
    found: dict[str, str] = {}
    for own, scaled in zip(before, after, strict=True):
        ratio = (scaled.size / own.size).flatten()
        for name, factor in factors.items():
            if bool((ratio - factor).abs().lt(_SAME_FACTOR).any()):
                found.setdefault(name, own.call.owner or f"a {own.call.kind} norm")
    return found
