r"""Groups of channels that a network lets permute together, found by what it computes.

A hidden channel has writers, the slices of parameters that make it, and readers, the slices that take it in. If all
its readers are 0, nothing depends on its writers: their gradient is 0. So a few channels of every layer are switched
off, each with all readers but one, and gradients tell which readers each slice writes to. Tensors with a common reader
belong to one group, such as all that write into one residual stream. What was found is believed only where a
permutation of the group, at random, leaves every output as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point, Vector
from bnsharp_cli.measurement.blocks.probe import Probe, ProbeLocation

_NO_GRADIENT = 1e-12
"""A slice whose gradient is below this part of what it is with all readers does not reach an output."""

_FEWEST = 2
"""Channels, without which there is nothing to permute."""

_WRITING = (0, 1, 2)
"""Axes along which a parameter may write channels; those of a table of positions are behind the first."""

_TRIALS = 2
"""Sets of channels that are switched off, since a unit may be dead."""


@dataclass(frozen=True)
class ChannelAxis:
    """An axis of a parameter along which a group of channels lies.

    Attributes:
        name: of the parameter.
        axis: the dimension.
        width: how many entries next to each other belong to one channel: more than one behind a flattened picture.
    """

    name: str
    axis: int
    width: int = 1


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that are permuted together.

    Attributes:
        size: how many.
        axes: of all parameters that have them, writers and readers.
    """

    size: int
    axes: tuple[ChannelAxis, ...]

    def permuted(self, point: Point, order: Tensor) -> Vector:
        """The point with channel ``order[i]`` in the place of channel i, everywhere.

        Args:
            point: the parameters.
            order: a permutation, (size,) int64.
        """
        moved = dict(point.items())
        for one in self.axes:
            own = entries_of(order, one.width).to(moved[one.name].device)
            moved[one.name] = moved[one.name].index_select(one.axis, own)
        return moved


def entries_of(channels: Tensor, width: int) -> Tensor:
    """The entries of channels along an axis on which each has ``width`` of them.

    >>> entries_of(torch.tensor([2, 0]), 2).tolist()
    [4, 5, 0, 1]
    """
    return (channels[:, None] * width + torch.arange(width)).flatten()


@dataclass(frozen=True)
class FoundGroups:
    """The groups of a network.

    Attributes:
        groups: those that were verified, in the order of the network's parameters.
        refuted: how many others changed an output when they were permuted.
        untouched: names of the weights none of whose axes is in a group.
    """

    groups: tuple[ChannelGroup, ...]
    refuted: int
    untouched: tuple[str, ...]


def find_channel_groups(probe: Probe, seed: int = 0) -> FoundGroups:
    """The groups of a network, each of which was permuted at random without changing an output.

    It takes a few gradients of a few samples for each number of channels.

    Args:
        probe: of the network.
        seed: of the channels that are switched off, and of the permutations that verify.

    Raises:
        NotMeasurableError: the network cannot be differentiated.
    """
    point = probe.locations[-1].point
    generator = torch.Generator().manual_seed(seed)
    with probe.surface.progress.stage("channels that belong together"):
        proposed = [*_proposed(_Search.of(probe, generator))]
        verified = _verified(probe, proposed, generator)
    inside = {one.name for group in verified for one in group.axes}
    untouched = tuple(name for name, tensor in point.items() if tensor.ndim > 1 and name not in inside)
    return FoundGroups(verified, len(proposed) - len(verified), untouched)


def _proposed(search: _Search) -> list[ChannelGroup]:
    """Groups without a common axis, those of more channels first choice, in the order of the network."""
    point = search.location.point
    sizes = sorted({tensor.shape[0] for tensor in point.values() if tensor.ndim > 1}, reverse=True)
    known: list[ChannelGroup] = []
    for group in (one for size in sizes if size >= _FEWEST for one in search.groups(size)):
        if not _overlap(group, known):
            known.append(group)
    places = {name: place for place, name in enumerate(point)}
    return sorted(known, key=lambda group: min(places[one.name] for one in group.axes))


def _verified(probe: Probe, groups: Sequence[ChannelGroup], generator: torch.Generator) -> tuple[ChannelGroup, ...]:
    """All groups if all may be permuted at once, else those that may be permuted alone."""
    orders = [torch.randperm(group.size, generator=generator) for group in groups]
    if probe.unchanged(lambda point: permuted(point, groups, orders)):
        return tuple(groups)
    return tuple(
        group
        for group, order in zip(groups, orders, strict=True)
        if probe.unchanged(partial(group.permuted, order=order))
    )


def permuted(point: Point, groups: Sequence[ChannelGroup], orders: Sequence[Tensor]) -> Vector:
    """The point with the channels of several groups in other orders."""
    moved = dict(point.items())
    for group, order in zip(groups, orders, strict=True):
        moved = group.permuted(moved, order)
    return moved


def _overlap(group: ChannelGroup, others: Sequence[ChannelGroup]) -> bool:
    taken = {(one.name, one.axis) for other in others for one in other.axes}
    return any((one.name, one.axis) in taken for one in group.axes)


@dataclass(frozen=True)
class _Search:
    """Gradients of a network of which some channels are switched off.

    Attributes:
        probe: of the network.
        location: where.
        plain: the gradient with all channels.
        generator: of the channels.
    """

    probe: Probe
    location: ProbeLocation
    plain: Point
    generator: torch.Generator

    @classmethod
    def of(cls, probe: Probe, generator: torch.Generator) -> _Search:
        """At the generic location, where few units are dead."""
        location = probe.locations[-1]
        return cls(probe, location, _gradient(probe, location), generator)

    def groups(self, size: int) -> Iterator[ChannelGroup]:
        """The sets of axes that write to and read the same ``size`` channels, as far as gradients tell."""
        remaining = self._all_read(size)
        while remaining:
            writers, read = _connected(remaining)
            for writer in writers:
                del remaining[writer]
            axes = (*writers, *sorted(read, key=lambda one: [*self.location.point].index(one.name)))
            if any(one.width == 1 for one in axes):
                yield ChannelGroup(size, axes)

    def _all_read(self, size: int) -> dict[ChannelAxis, set[ChannelAxis]]:
        """The readers of every axis that has no others; flattened pictures are tried where plain readers are not all.

        Few channels have many of these: switching two of them off would leave nothing of other layers.
        """
        point = self.location.point
        writers = [*_axes(point, size, _WRITING)]
        every = [one for one in _axes(point, size, (1,)) if point[one.name].ndim > 1]
        read = self._read_by(size, writers, [one for one in every if one.width == 1])
        rest = [one for one in writers if one not in read]
        if any(one.width == 1 and one.axis == 0 and point[one.name].ndim > 1 for one in rest):
            read |= self._read_by(size, rest, every)
        return read

    def _read_by(
        self, size: int, writers: Sequence[ChannelAxis], readers: Sequence[ChannelAxis]
    ) -> dict[ChannelAxis, set[ChannelAxis]]:
        read: dict[ChannelAxis, set[ChannelAxis]] = {one: set() for one in writers}
        at_once = max(1, size // 2)
        for first in range(0, len(readers), at_once):
            for _ in range(_TRIALS):
                channels = torch.randperm(size, generator=self.generator).tolist()
                left = dict(zip(readers[first : first + at_once], channels[1:], strict=False))
                gradient = _gradient(self.probe, self._without(readers, channels[0], left))
                tested = torch.tensor([channels[0], *left.values()])
                for one in [*read]:
                    off, *others = self._reached(one, gradient, tested)
                    if off:
                        del read[one]
                        continue
                    read[one] |= {reader for reader, reached in zip(left, others, strict=True) if reached}
        return {one: found for one, found in read.items() if found}

    def _without(self, readers: Sequence[ChannelAxis], off: int, left: Mapping[ChannelAxis, int]) -> ProbeLocation:
        """The location with channel ``off`` off for all readers, and each channel of ``left`` for all but its own."""
        point = {name: tensor.clone() for name, tensor in self.location.point.items()}
        for one in readers:
            channels = torch.tensor([off, *(channel for reader, channel in left.items() if reader != one)])
            own = entries_of(channels, one.width).to(point[one.name].device)
            point[one.name].index_fill_(one.axis, own, 0.0)
        return ProbeLocation(point, self.location.inputs, self.location.targets)

    def _reached(self, one: ChannelAxis, gradient: Point, channels: Tensor) -> list[bool]:
        """Whether outputs depend on the slices of some channels."""
        entries = entries_of(channels, one.width).to(gradient[one.name].device)
        sizes, plain = (
            each[one.name].index_select(one.axis, entries).movedim(one.axis, 0).reshape(len(channels), -1).norm(dim=1)
            for each in (gradient, self.plain)
        )
        found: list[bool] = (sizes > _NO_GRADIENT * plain).tolist()
        return found


def _gradient(probe: Probe, location: ProbeLocation) -> Point:
    (gradient,) = probe.gradients(location, 1)
    return gradient


def _axes(point: Point, size: int, dimensions: Sequence[int]) -> Iterator[ChannelAxis]:
    """The axes, of the given numbers, that are as long as all channels together or a multiple of that."""
    for name, tensor in point.items():
        for axis in dimensions:
            if axis < tensor.ndim and tensor.shape[axis] and tensor.shape[axis] % size == 0:
                yield ChannelAxis(name, axis, tensor.shape[axis] // size)


def _connected(read: Mapping[ChannelAxis, set[ChannelAxis]]) -> tuple[list[ChannelAxis], set[ChannelAxis]]:
    """The first writer with all that share a reader with it, directly or through others, and their readers."""
    writers = [next(iter(read))]
    reached = set(read[writers[0]])
    while more := [one for one, own in read.items() if one not in writers and own & reached]:
        writers += more
        reached = reached.union(*(read[one] for one in more))
    return writers, reached
