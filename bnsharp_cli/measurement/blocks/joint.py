"""Joint scale-invariances beyond the paper: (γ, β) of a norm before a homogeneous map and another norm, and the like.

This is not in the paper. There γ and β lie in θ_*, whose directions have norm 1, so scaling them jointly, which changes
nothing the network computes, can make BN-Sharpness anything, as Theorem 3.1 says of the classical sharpness. Making
each joint scale-invariance a block of its own removes that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point
from bnsharp_cli.measurement.blocks.assignment import FREE, BlockAssignment, confirm
from bnsharp_cli.measurement.blocks.euler import EulerProducts, EulerTest, euler_products
from bnsharp_cli.measurement.blocks.probe import Probe, ProbeLocation
from bnsharp_cli.measurement.blocks.search_memory import digest
from bnsharp_cli.measurement.surface.cost import BACKWARD, FORWARD

_SPARE_COTANGENTS = 4
_NULL = 1e-9
_INTEGER = 1e-5

RowIndices = dict[str, Tensor]
"""The rows of each tensor that belong to a joint set, (rows,) int64."""


def add_joint_sets(assignment: BlockAssignment, probe: Probe, euler: EulerTest) -> dict[int, tuple[str, ...]]:
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
        for block in confirm(assignment, probe, first):  # a set that overlaps with a released one may still pass
            del joint[block]
        candidates = waiting
    return joint


def _joint_sets(probe: Probe, euler: EulerTest, labels: Mapping[str, Tensor]) -> list[RowIndices]:
    """Every further set of free rows whose Euler products vanish jointly; such sets may overlap.

    First single channels of a module's vectors (γ_c, β_c), then whole modules, then sets of modules (those that write
    into one residual stream), which are the 0/1 vectors in the null space of the modules' Euler products.

    Args:
        probe: for further cotangents.
        euler: the test of the network.
        labels: the block of each row, ``FREE`` for none.
    """
    modules = _free_modules(labels, probe.locations[0].point)
    found: list[RowIndices] = []
    remaining = []
    for members in modules:
        channels = _channel_sets(euler, members, labels)
        whole = _of_rows(euler.at_probe, members)
        if channels:
            found.extend(channels)
        elif bool(euler.invariant(whole)[0]):
            found.append(members)
        else:
            remaining.append(members)
    return found + _sets_of_modules(probe, remaining)


def _free_modules(labels: Mapping[str, Tensor], point: Point) -> list[RowIndices]:
    """The free rows by module; a weight of which some rows are invariant is left out."""
    modules: dict[str, RowIndices] = {}
    for name, blocks in labels.items():
        free = (blocks == FREE).nonzero().flatten()
        if len(free) and (point[name].ndim < 2 or len(free) == len(blocks)):
            modules.setdefault(name.rpartition(".")[0], {})[name] = free
    return list(modules.values())


def _channel_sets(euler: EulerTest, members: RowIndices, labels: Mapping[str, Tensor]) -> list[RowIndices]:
    """One set for each channel, if all tensors are free vectors of one length and every channel is invariant alone."""
    point = euler.probe.locations[0].point
    vectors = all(point[name].ndim == 1 and len(labels[name]) == len(rows) for name, rows in members.items())
    if not vectors or len({len(rows) for rows in members.values()}) != 1:
        return []
    joint = _sum([euler.at_probe(name) for name in members])
    if not bool(euler.invariant(joint).all()):
        return []
    count = joint.products.shape[-1]
    return [{name: torch.tensor([channel]) for name in members} for channel in range(count)]


def _of_rows(products: Callable[[str], EulerProducts], members: RowIndices) -> EulerProducts:
    """The products of all members together, from those of each row of a tensor."""
    parts = []
    for name, rows in members.items():
        entry = products(name)
        parts.append(EulerProducts(entry.products[:, rows], entry.sizes[:, :, rows]).grouped(1))
    return _sum(parts)


def _sets_of_modules(probe: Probe, modules: Sequence[RowIndices]) -> list[RowIndices]:
    sets = []
    for vector in null_vectors(probe, modules):
        if -1 not in vector:
            chosen = (members for members, sign in zip(modules, vector, strict=True) if sign)
            sets.append({name: rows for members in chosen for name, rows in members.items()})
    return sets


def null_vectors(probe: Probe, parts: Sequence[RowIndices]) -> list[list[int]]:
    """Vectors s of −1, 0 and 1 with Σ_m s_m ⟨θ_m, ∂f/∂θ_m⟩ = 0 for every output f, a sign for each part m.

    Scaling the parts with s_m = 1 by c and those with s_m = −1 by 1/c then changes nothing to first order. It takes a
    backward pass for each part.

    Args:
        probe: of the network.
        parts: rows of tensors that are scaled together.
    """
    if len(parts) < 2:
        return []
    location = probe.locations[-1]
    rows = digest(*(part for members in parts for part in ("part", *members, *members.values())))
    return location.findings.answered(("null vectors", rows), lambda: _null_vectors(probe, location, parts))


def _null_vectors(probe: Probe, location: ProbeLocation, parts: Sequence[RowIndices]) -> list[list[int]]:
    names = [name for members in parts for name in members]
    count = len(parts) + _SPARE_COTANGENTS
    gradients = probe.gradients(location, count, seed=1, only=names)
    with probe.surface.progress.stage("joint sets of rows", FORWARD + count * BACKWARD):
        rows = [
            torch.stack([_product(location.point, gradient, members) for members in parts]) for gradient in gradients
        ]
    products = torch.stack(rows)
    sizes = products.norm(dim=0)
    with_effect = (sizes > 0).nonzero().flatten()
    if not len(with_effect):
        return []
    _, singular, right = torch.linalg.svd(products[:, with_effect] / sizes[with_effect])
    null = right[singular <= _NULL * singular[0]] / sizes[with_effect]
    found = []
    for vector in _reduced_rows(null):
        signs = vector.round().clamp(-1, 1)
        if bool(((vector - signs).abs() < _INTEGER).all()):
            every = torch.zeros(len(parts), dtype=torch.int64)
            every[with_effect.cpu()] = signs.long().cpu()
            found.append(every.tolist())
    return found


def _product(point: Point, gradient: Point, members: RowIndices) -> Tensor:
    """⟨θ_m, ∂f/∂θ_m⟩ of the rows m of some tensors."""
    return _of_rows(lambda name: euler_products([(point, gradient)], name, 0), members).products[0, 0]


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


def _sum(parts: Sequence[EulerProducts]) -> EulerProducts:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
