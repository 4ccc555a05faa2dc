"""Balanced rescalings: some weights grow, others shrink by the same factors, and the outputs stay the same.

Examples are one layer against the next around a ReLU (Dinh et al., ICML 2017), the same neuron by neuron, (γ, β) of the
last norm against the classifier, and those of :mod:`~bnsharp_cli.measurement.invariance.attention`. They are found by
what the network computes, whatever its code looks like. If f does not change when θ_A grows and θ_B shrinks, then
⟨θ_A, ∂f/∂θ_A⟩ = ⟨θ_B, ∂f/∂θ_B⟩ for every output f (Euler). That proposes; a rescaling by ½ and by 2 confirms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from bnsharp_cli.core.point import Point
from bnsharp_cli.measurement.blocks.euler import EulerTest
from bnsharp_cli.measurement.blocks.joint import RowIndices, null_vectors
from bnsharp_cli.measurement.blocks.probe import Probe
from bnsharp_cli.measurement.invariance.attention import attention_sets
from bnsharp_cli.measurement.invariance.balancing import (
    BalancedSet,
    Balancing,
    Members,
    Products,
    Slices,
    modules_of,
    parts_of,
)
from bnsharp_cli.measurement.measures.survival import Rescaling

_MOST_PARTS = 256
"""Networks with more tensors that no norm makes invariant are only searched for pairs: a search for larger sets takes a
backward pass for each."""


def balanced_sets(probe: Probe) -> tuple[BalancedSet, ...]:
    """Every balanced rescaling that is found and confirmed; those of one kind share no slice.

    Args:
        probe: of the network, in float64 and without ε.
    """
    euler, point = EulerTest.of_few_samples(probe), probe.locations[0].point
    attention = _confirmed(attention_sets(euler, point), probe)
    search = _Search(probe, euler, tuple(parts_of(point)), point, [frozenset(one.names) for one in attention])
    found = _confirmed([*search.pairs(neurons=False), *search.pairs(neurons=True)], probe)
    wholes = [one for one in (*found, *attention) if one.kind != Rescaling.NEURON and one.whole]
    return (*found, *_confirmed(search.larger_sets(wholes), probe), *attention)


def _confirmed(proposed: Sequence[BalancedSet], probe: Probe) -> tuple[BalancedSet, ...]:
    """The sets by which ½ and 2 change no output; all of a kind are tried together, then one by one."""
    found: list[BalancedSet] = []
    for kind in dict.fromkeys(one.kind for one in proposed):
        own = [one for one in proposed if one.kind == kind]
        found += own if _unchanged(own, probe) else [one for one in own if _unchanged([one], probe)]
    return tuple(found)


def _unchanged(sets: Sequence[BalancedSet], probe: Probe) -> bool:
    balancing = Balancing.of(sets, probe.locations[0].point)
    drawn = 2.0 * torch.randint(2, (balancing.count,), generator=torch.Generator().manual_seed(1)) - 1
    in_turn = 1.0 - 2 * (torch.arange(balancing.count) % 2)  # finds runs next to each other that belong together
    powers = (sign * signs.double() for signs in (drawn, in_turn) for sign in (1, -1))
    return all(probe.unchanged(partial(balancing.scaled, scales=2.0**power)) for power in powers)


@dataclass(frozen=True)
class _Search:
    """The search in one network.

    Attributes:
        probe: of the network.
        euler: its Euler products.
        parts: what may grow: each module's tensors, and weights by themselves.
        point: the parameters, for their shapes.
        known: the names of sets that were found before, and are no pairs again.
    """

    probe: Probe
    euler: EulerTest
    parts: tuple[Members, ...]
    point: Point
    known: Sequence[frozenset[str]]

    def pairs(self, *, neurons: bool) -> Iterator[BalancedSet]:
        """The pairs of parts whose products are equal as a whole, or slice by slice."""
        taken: set[str] = set()
        for part in self.parts:
            own = self._products(part)
            if neurons and own.products.shape[1] < 2:
                continue
            count = own.products.shape[1] if neurons else 1
            for other in self._partners(part, count):
                pair = self._set(part, other, count)
                new = taken.isdisjoint(pair.names) and not any(known.issuperset(pair.names) for known in self.known)
                if new and self._match(own, other, neurons=neurons):
                    taken.update(pair.names)
                    yield pair

    def larger_sets(self, known: Sequence[BalancedSet]) -> list[BalancedSet]:
        """The sets of several parts, such as all norms that write into the stream that the classifier reads."""
        taken = {name for one in known for name in one.names}
        parts = [part for part in _single_parts(self.point) if taken.isdisjoint(slices.name for slices in part)]
        parts = [part for part in parts if self._products(part).total.acts(self.euler.resolution)]
        if not 2 < len(parts) <= _MOST_PARTS:
            return []
        found = []
        for vector in null_vectors(self.probe, [self._all_rows(part) for part in parts]):
            if -1 not in vector:  # a joint scale-invariance, which balances nothing
                continue
            sides = [
                tuple(slices for part, sign in zip(parts, vector, strict=True) if sign == side for slices in part)
                for side in (1, -1)
            ]
            one = self._set(sides[0], sides[1])
            if taken.isdisjoint(one.names):
                taken.update(one.names)
                found.append(one)
        return found

    def _set(self, first: Members, second: Members, count: int = 1) -> BalancedSet:
        """The two as a set; γ and β are what grows."""
        grows, shrinks = sorted((first, second), key=self._weights)
        kind = Rescaling.LAYER if self._weights(grows) else Rescaling.CLASSIFIER
        return BalancedSet(kind if count == 1 else Rescaling.NEURON, grows, shrinks, count)

    def _partners(self, part: Members, count: int) -> Iterator[Members]:
        """What may shrink while ``part`` grows, cut into ``count`` runs."""
        names = {slices.name for slices in part}
        for other in self.parts:
            if names.isdisjoint(slices.name for slices in other):
                if len(other) == 1 and self.point[other[0].name].ndim > 1:
                    yield from (
                        (Slices(other[0].name, axis),) for axis in (1, 0) if self._divisible(other, axis, count)
                    )
                elif self._divisible(other, other[0].axis, count):
                    yield other

    def _divisible(self, part: Members, axis: int, count: int) -> bool:
        return self.point[part[0].name].shape[axis] % count == 0

    def _match(self, own: Products, other: Members, *, neurons: bool) -> bool:
        resolution = self.euler.resolution
        if not neurons:
            return own.total.matches(self._products(other).total, resolution)
        return own.matches(self._products(other, own.products.shape[1]), resolution)

    def _products(self, part: Members, count: int | None = None) -> Products:
        return Products.of_members(part, self.euler, self.point, count)

    def _all_rows(self, part: Members) -> RowIndices:
        return {slices.name: torch.arange(len(self.point[slices.name])) for slices in part}

    def _weights(self, part: Members) -> int:
        return sum(self.point[slices.name].ndim > 1 for slices in part)


def _single_parts(point: Point) -> Iterator[Members]:
    """Each weight alone, and the vectors of each module together."""
    for names in modules_of(point):
        yield from ((Slices(name),) for name in names if point[name].ndim > 1)
        vectors = tuple(Slices(name) for name in names if point[name].ndim == 1)
        if vectors:
            yield vectors
