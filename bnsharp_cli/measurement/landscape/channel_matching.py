r"""The channels of one network in the order of another's: weight matching (Ainsworth et al., Git Re-Basin, ICLR 2023).

Permuting hidden channels changes nothing that a network computes, but it changes the line to another network. The
permutations make :math:`\sum \langle a, π(b) \rangle` as large as they can, group by group, each group by an
assignment, until no group gains. Scale-invariant rows count with length 1, so copies T_a are permuted alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from bnsharp_cli.core.point import Point, Vector, inner
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.landscape.channel_groups import ChannelAxis, ChannelGroup, permuted

_SWEEPS = 100
_GAIN = 1e-12
"""Relative to the sum; what is less is rounding."""


def match_channels(second: Point, first: Point, blocks: Blocks, groups: Sequence[ChannelGroup]) -> Vector:
    """The second network with its channels permuted to be like those of the first.

    There are two ways to begin: as the channels are, and group by group from the inputs on, each by what is known of
    the groups before it. What ends with the larger sum is taken. It takes no pass.

    Args:
        second: b.
        first: a.
        blocks: the scale-invariant rows, of both.
        groups: of channels, in the order of the network.
    """
    unit = [_with_unit_rows(point, blocks) for point in (second, first)]
    begun = [torch.arange(group.size) for group in groups]
    ends = [_improved(unit[0], unit[1], groups, orders) for orders in (begun, _from_inputs(unit[0], unit[1], groups))]
    orders, _ = max(ends, key=lambda end: end[1])
    return permuted(second, groups, orders)


def _with_unit_rows(point: Point, blocks: Blocks) -> Vector:
    spheres = blocks.spheres(point)
    factors = torch.where(spheres.radii > 0, 1 / spheres.radii.clamp_min(torch.finfo(spheres.radii.dtype).tiny), 1.0)
    factors[blocks.relative :] = 1.0
    return dict(spheres.scale(point, factors))


def _from_inputs(second: Point, first: Point, groups: Sequence[ChannelGroup]) -> list[Tensor]:
    """Each group by the parameters that no later group permutes, too."""
    orders, moved = [], dict(second.items())
    later = {(one.name, one.axis): number for number, group in enumerate(groups) for one in group.axes}
    for number, group in enumerate(groups):
        settled = [
            one for one in group.axes if all(other <= number for (name, _), other in later.items() if name == one.name)
        ]
        orders.append(_assigned(moved, first, group.size, settled or group.axes))
        moved = group.permuted(moved, orders[-1])
    return orders


def _improved(
    second: Point, first: Point, groups: Sequence[ChannelGroup], orders: Sequence[Tensor]
) -> tuple[list[Tensor], float]:
    """Better permutations by assignments group by group, until no group gains; and the sum."""
    found, moved = [*orders], permuted(second, groups, orders)
    reached = inner(first, moved)
    for _ in range(_SWEEPS):
        before = reached
        for number, group in enumerate(groups):
            order = _assigned(moved, first, group.size, group.axes)
            trial = group.permuted(moved, order)
            gain = _sum_over(group, first, trial) - _sum_over(group, first, moved)
            if gain > _GAIN * abs(reached):
                found[number], moved, reached = found[number][order], trial, reached + gain
        if reached == before:
            break
    return found, reached


def _sum_over(group: ChannelGroup, first: Point, second: Point) -> float:
    names = {one.name: first[one.name] for one in group.axes}
    return inner(names, second)


def _assigned(second: Point, first: Point, size: int, axes: Sequence[ChannelAxis]) -> Tensor:
    """The permutation that makes the sum over some axes largest."""
    products = torch.zeros(size, size, dtype=torch.float64)
    for one in axes:
        own, other = (each[one.name].movedim(one.axis, 0).reshape(size, -1) for each in (first, second))
        products += (own @ other.T).cpu()
    _, order = linear_sum_assignment(products.numpy(), maximize=True)
    return torch.from_numpy(order)
