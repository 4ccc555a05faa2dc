"""Joint scale-invariances beyond the paper: (γ, β) of a norm before a homogeneous map and another norm, and the like.

This is not in the paper. There γ and β lie in θ_*, whose directions have norm 1, so scaling them jointly, which changes
nothing the network computes, can make BN-Sharpness anything, as Theorem 3.1 says of the classical sharpness. Making
each joint scale-invariance a block of its own removes that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point
from bnsharp_cli.measurement.blocks.assignment import FREE, Assignment, confirm
from bnsharp_cli.measurement.blocks.euler import Euler, Evidence, evidence
from bnsharp_cli.measurement.blocks.probe import Probe

_SPARE_COTANGENTS = 4
_NULL = 1e-9
_INTEGER = 1e-5

Members = dict[str, Tensor]
"""Row indices of each tensor of a joint set."""


def add_joint_sets(assignment: Assignment, probe: Probe, euler: Euler) -> dict[int, tuple[str, ...]]:
    """Make every further joint scale-invariance a block of its own, no two of which overlap.

    Returns:
        The names of the tensors of each new block, by its number.
    """
    joint: dict[int, tuple[str, ...]] = {}
    candidates = _joint_sets(probe, euler, assignment.labels)
    while candidates:
        first, waiting = assignment.count, []
        for members in candidates:
            if all(bool((assignment.labels[name][rows] == FREE).all()) for name, rows in members.items()):
                joint[assignment.count] = tuple(members)
                assignment.add(members)
            else:
                waiting.append(members)
        if assignment.count == first:
            break
        for block in confirm(assignment, probe, first):  # what overlaps with one of these may yet do
            del joint[block]
        candidates = waiting
    return joint


def _joint_sets(probe: Probe, euler: Euler, labels: Mapping[str, Tensor]) -> list[Members]:
    """Every further joint Euler-zero set of the rows that are still free; they may overlap.

    First single channels of a module's vectors (γ_c, β_c), then whole modules, then sets of modules (those that write
    into one residual stream), which are the 0/1 vectors in the null space of the modules' Euler products.

    Args:
        probe: for further cotangents.
        euler: the Euler products.
        labels: −1 for every free row.
    """
    modules = _free_modules(labels, probe.places[0].point)
    found: list[Members] = []
    remaining = []
    for members in modules:
        channels = _channel_sets(euler, members, labels)
        whole = _total(euler.pairs, members)
        if channels:
            found.extend(channels)
        elif bool(euler.invariant(whole)[0]):
            found.append(members)
        else:
            remaining.append(members)
    return found + _sets_of_modules(probe, remaining)


def _free_modules(labels: Mapping[str, Tensor], point: Point) -> list[Members]:
    """The free rows by module; a weight of which some rows are invariant is left out."""
    modules: dict[str, Members] = {}
    for name, blocks in labels.items():
        free = (blocks == FREE).nonzero().flatten()
        if len(free) and (point[name].ndim < 2 or len(free) == len(blocks)):
            modules.setdefault(name.rpartition(".")[0], {})[name] = free
    return list(modules.values())


def _channel_sets(euler: Euler, members: Members, labels: Mapping[str, Tensor]) -> list[Members]:
    """Single channels, if every tensor is a free vector of one length and every channel is invariant by itself."""
    point = euler.pairs[0][0]
    vectors = all(point[name].ndim == 1 and len(labels[name]) == len(rows) for name, rows in members.items())
    if not vectors or len({len(rows) for rows in members.values()}) != 1:
        return []
    joint = _sum([evidence(euler.pairs, name, 0) for name in members])
    if not bool(euler.invariant(joint).all()):
        return []
    count = joint.products.shape[-1]
    return [{name: torch.tensor([channel]) for name in members} for channel in range(count)]


def _total(pairs: Sequence[tuple[Point, Point]], members: Members) -> Evidence:
    parts = []
    for name, rows in members.items():
        entry = evidence(pairs, name, 0)
        parts.append(Evidence(entry.products[:, rows], entry.sizes[:, :, rows]).grouped(1))
    return _sum(parts)


def _sets_of_modules(probe: Probe, modules: Sequence[Members]) -> list[Members]:
    if len(modules) < 2:
        return []
    place = probe.places[-1]
    names = [name for members in modules for name in members]
    gradients = probe.gradients(place, len(modules) + _SPARE_COTANGENTS, seed=1, only=names)
    rows = [
        torch.stack([_total([(place.point, gradient)], members).products[0, 0] for members in modules])
        for gradient in gradients
    ]
    products = torch.stack(rows)
    sizes = products.norm(dim=0)
    heard = (sizes > 0).nonzero().flatten()
    if not len(heard):
        return []
    _, singular, right = torch.linalg.svd(products[:, heard] / sizes[heard])
    null = right[singular <= _NULL * singular[0]] / sizes[heard]
    sets = []
    for vector in _reduced_rows(null):
        ones = (vector - 1).abs() < _INTEGER
        if bool((ones | (vector.abs() < _INTEGER)).all()):
            chosen = [modules[int(heard[index])] for index in ones.nonzero().flatten()]
            sets.append({name: rows for members in chosen for name, rows in members.items()})
    return sets


def _reduced_rows(matrix: Tensor) -> Tensor:
    """Reduced row echelon form with column pivoting by size, each row with a leading 1."""
    reduced = matrix.clone()
    for row in range(len(reduced)):
        pivot = int(reduced[row].abs().argmax())
        reduced[row] /= reduced[row, pivot].clone()
        for other in range(len(reduced)):
            if other != row:
                reduced[other] -= reduced[other, pivot].clone() * reduced[row]
    return reduced


def _sum(parts: Sequence[Evidence]) -> Evidence:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
