"""Balanced rescalings: some weights grow, others shrink by the same factors, and the outputs stay the same.

Examples are one layer against the next around a ReLU (Dinh et al., ICML 2017), the same neuron by neuron, and (γ, β) of
the last norm against the classifier. They are found by what the network computes, whatever its code looks like. If f
does not change when θ_A grows and θ_B shrinks, then ⟨θ_A, ∂f/∂θ_A⟩ = ⟨θ_B, ∂f/∂θ_B⟩ for every output f (Euler). That
proposes; a rescaling by ½ and by 2 confirms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point
from bnsharp_cli.core.spheres import RowBlocks, Spheres
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.blocks.euler import EulerProducts, EulerTest
from bnsharp_cli.measurement.blocks.joint import RowIndices, null_vectors
from bnsharp_cli.measurement.blocks.probe import Probe
from bnsharp_cli.measurement.measures.survival import Rescaling

_EQUAL = 1e-9
"""Euler products that differ by less, relative to ‖θ‖‖∂f/∂θ‖, are equal in float64."""

_MOST_PARTS = 256
"""Networks with more tensors that no norm makes invariant are only searched for pairs: a search for larger sets takes a
backward pass for each."""


@dataclass(frozen=True)
class Slices:
    """The slices of one tensor along one axis, in as many runs of equal length as there are factors.

    Attributes:
        name: of the tensor.
        axis: the dimension that is cut.
    """

    name: str
    axis: int = 0


Members = tuple[Slices, ...]
"""Slices that are multiplied together: those of a weight and of its bias, or of γ and β."""


@dataclass(frozen=True)
class BalancedSet:
    """Slice j of everything in ``grows`` may be multiplied by r_j > 0 if that of ``shrinks`` is divided by it.

    Attributes:
        kind: of the rescaling.
        grows: what is multiplied.
        shrinks: what is divided.
        count: how many r there are; 1 where whole tensors are rescaled.
    """

    kind: Rescaling
    grows: Members
    shrinks: Members
    count: int = 1

    @property
    def names(self) -> tuple[str, ...]:
        """The tensors that are rescaled."""
        return tuple(slices.name for slices in (*self.grows, *self.shrinks))


@dataclass(frozen=True)
class Balancing:
    """Several balanced sets, no two of which share a tensor, as one partition.

    Attributes:
        sets: what is rescaled.
        blocks: a block for each r_j, one for each 1/r_j, and one for everything else.
    """

    sets: tuple[BalancedSet, ...]
    blocks: Blocks

    @classmethod
    def of(cls, sets: Sequence[BalancedSet], point: Point) -> Balancing:
        """The sets at ``point``, which only tells the shapes."""
        count = sum(one.count for one in sets)
        lengths = {name: tensor.shape[0] if tensor.ndim else 1 for name, tensor in point.items()}
        rows = {name: RowBlocks(0, torch.full((length,), 2 * count)) for name, length in lengths.items()}
        first = 0
        for one in sets:
            for part, offset in ((one.grows, first), (one.shrinks, count + first)):
                for slices in part:
                    length = point[slices.name].shape[slices.axis]
                    own = torch.arange(offset, offset + one.count).repeat_interleave(length // one.count)
                    rows[slices.name] = RowBlocks(slices.axis, own)
            first += one.count
        return cls(tuple(sets), Blocks("balanced", rows, 2 * count, {}, ()))

    @property
    def count(self) -> int:
        """How many r there are."""
        return self.blocks.relative // 2

    def factors(self, scales: Tensor) -> Tensor:
        """The factor of each block, (blocks + 1,), for r = ``scales``, (count,)."""
        return torch.cat([scales, 1 / scales, torch.ones(1, dtype=scales.dtype)])

    def scaled(self, point: Point, scales: Tensor) -> Point:
        """``point`` rescaled by r = ``scales``."""
        factors = self.factors(scales)
        return Spheres(self.blocks.rows, torch.ones_like(factors)).scale(point, factors)


def balanced_sets(probe: Probe) -> tuple[BalancedSet, ...]:
    """Every balanced rescaling that is found and confirmed; those of one kind share no tensor.

    Args:
        probe: of the network, in float64 and without ε.
    """
    search = _Search.of(probe)
    proposed = [*search.pairs(neurons=False), *search.pairs(neurons=True)]
    found = _confirmed(proposed, probe)
    wholes = [one for one in found if one.kind != Rescaling.NEURON]
    return (*found, *_confirmed(search.larger_sets(wholes), probe))


def _confirmed(proposed: Sequence[BalancedSet], probe: Probe) -> tuple[BalancedSet, ...]:
    """The sets by which ½ and 2 change no output; all of a kind are tried together, then one by one."""
    found: list[BalancedSet] = []
    for kind in dict.fromkeys(one.kind for one in proposed):
        own = [one for one in proposed if one.kind == kind]
        found += own if _unchanged(own, probe) else [one for one in own if _unchanged([one], probe)]
    return tuple(found)


def _unchanged(sets: Sequence[BalancedSet], probe: Probe) -> bool:
    balancing = Balancing.of(sets, probe.locations[0].point)
    signs = 2.0 * torch.randint(2, (balancing.count,), generator=torch.Generator().manual_seed(1)) - 1
    both = (2.0 ** (sign * signs.double()) for sign in (1, -1))
    return all(probe.unchanged(partial(balancing.scaled, scales=scales)) for scales in both)


@dataclass(frozen=True)
class _Products:
    """The Euler products of the slices of a part, and what they are small beside; (cotangents, slices) each."""

    products: Tensor
    magnitude: Tensor

    @classmethod
    def of(cls, products: EulerProducts) -> _Products:
        return cls(products.products, products.magnitude())

    @property
    def total(self) -> _Products:
        return _Products(self.products.sum(1, keepdim=True), self.magnitude.sum(1, keepdim=True))

    def matches(self, other: _Products, resolution: float) -> bool:
        """Whether every product of the two is equal, and some are neither zero nor rounding."""
        size = self.magnitude + other.magnitude
        differs = (self.products - other.products).abs() > _EQUAL * size
        return not bool((differs & (size > resolution)).any()) and self.acts(resolution)

    def acts(self, resolution: float) -> bool:
        """Whether some slices are not scale-invariant by themselves."""
        return bool(((self.products.abs() > _EQUAL * self.magnitude) & (self.magnitude > resolution)).any())


@dataclass(frozen=True)
class _Search:
    """The search in one network.

    Attributes:
        probe: of the network.
        euler: its Euler products.
        parts: what may grow: each module's tensors, and weights by themselves.
        point: the parameters, for their shapes.
    """

    probe: Probe
    euler: EulerTest
    parts: tuple[Members, ...]
    point: Point

    @classmethod
    def of(cls, probe: Probe) -> _Search:
        point = probe.locations[0].point
        return cls(probe, EulerTest.of_few_samples(probe), tuple(_parts(point)), point)

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
                if taken.isdisjoint(pair.names) and self._match(own, other, neurons=neurons):
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

    def _match(self, own: _Products, other: Members, *, neurons: bool) -> bool:
        resolution = self.euler.resolution
        if not neurons:
            return own.total.matches(self._products(other).total, resolution)
        return own.matches(self._products(other, own.products.shape[1]), resolution)

    def _products(self, part: Members, count: int | None = None) -> _Products:
        entries = [self.euler.at_probe(slices.name, slices.axis) for slices in part]
        grouped = [entry if count is None else entry.grouped(count) for entry in entries]
        return _Products.of(sum(grouped[1:], grouped[0]))

    def _all_rows(self, part: Members) -> RowIndices:
        return {slices.name: torch.arange(len(self.point[slices.name])) for slices in part}

    def _weights(self, part: Members) -> int:
        return sum(self.point[slices.name].ndim > 1 for slices in part)


def _modules(point: Point) -> list[list[str]]:
    """The names of the parameters, by the module that has them."""
    modules: dict[str, list[str]] = {}
    for name, tensor in point.items():
        if tensor.ndim and tensor.numel():
            modules.setdefault(name.rpartition(".")[0], []).append(name)
    return list(modules.values())


def _parts(point: Point) -> Iterator[Members]:
    """A module's tensors, slice by slice of its output, and each of its weights alone."""
    for names in _modules(point):
        vectors = [name for name in names if point[name].ndim == 1]
        weights = [name for name in names if point[name].ndim > 1]
        lengths = {len(point[name]) for name in vectors}
        if len(lengths) == 1:
            (length,) = lengths
            axes = [next((axis for axis in (0, 1) if point[name].shape[axis] == length), None) for name in weights]
            if None not in axes:
                cut = (Slices(name, axis or 0) for name, axis in zip(weights, axes, strict=True))
                yield (*cut, *map(Slices, vectors))
        yield from ((Slices(name),) for name in weights)


def _single_parts(point: Point) -> Iterator[Members]:
    """Each weight alone, and the vectors of each module together."""
    for names in _modules(point):
        yield from ((Slices(name),) for name in names if point[name].ndim > 1)
        vectors = tuple(Slices(name) for name in names if point[name].ndim == 1)
        if vectors:
            yield vectors
