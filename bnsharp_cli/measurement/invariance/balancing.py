"""Balanced rescalings as values: which slices grow, which shrink by the same factors, and their Euler products."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point
from bnsharp_cli.core.spheres import BlocksOfTensor, RowBlocks, Spheres
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.blocks.euler import EulerProducts, EulerTest
from bnsharp_cli.measurement.measures.survival import Rescaling

_EQUAL = 1e-9
"""Euler products that differ by less, relative to ‖θ‖‖∂f/∂θ‖, are equal in float64."""


@dataclass(frozen=True)
class Slices:
    """The slices of one tensor along one axis, in as many runs of equal length as there are factors.

    Attributes:
        name: of the tensor.
        axis: the dimension that is cut.
        start: the first slice of each period.
        stop: the slice behind the last one of each period; None for all that follow.
        period: how many slices a period has, such as those of one head; None where all are one.
    """

    name: str
    axis: int = 0
    start: int = 0
    stop: int | None = None
    period: int | None = None

    @property
    def whole(self) -> bool:
        """Whether no slice is left out."""
        return self.start == 0 and self.stop is None

    def numbers(self, point: Point) -> Tensor:
        """The number of each slice, (slices,) int64.

        >>> Slices("qkv.weight", 0, 2, 4, period=6).numbers({"qkv.weight": torch.zeros(12, 5)}).tolist()
        [2, 3, 8, 9]
        """
        every = torch.arange(point[self.name].shape[self.axis])
        return every.reshape(-1, self.period or len(every))[:, self.start : self.stop].flatten()

    def products(self, euler: EulerTest, point: Point) -> EulerProducts:
        """Their Euler products."""
        every = euler.at_probe(self.name, self.axis)
        if self.whole:
            return every
        own = self.numbers(point).to(every.products.device)
        return EulerProducts(every.products[..., own], every.sizes[..., own])


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
        return tuple(dict.fromkeys(slices.name for slices in (*self.grows, *self.shrinks)))

    @property
    def whole(self) -> bool:
        """Whether no slice of these tensors is left out."""
        return all(slices.whole for slices in (*self.grows, *self.shrinks))


@dataclass(frozen=True)
class Balancing:
    """Several balanced sets, no two of which share a slice, as one partition.

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
        rows: dict[str, BlocksOfTensor] = {
            name: RowBlocks(0, torch.full((length,), 2 * count)) for name, length in lengths.items()
        }
        first = 0
        for one in sets:
            for part, offset in ((one.grows, first), (one.shrinks, count + first)):
                for slices in part:
                    own = torch.arange(offset, offset + one.count)
                    cut = _rows(rows[slices.name], slices, point, 2 * count)
                    numbers = slices.numbers(point)
                    cut.block[numbers] = own.repeat_interleave(len(numbers) // one.count)
                    rows[slices.name] = cut
            first += one.count
        return cls(tuple(sets), Blocks("balanced", rows, 2 * count, {}, ()))

    @property
    def count(self) -> int:
        """How many r there are."""
        return self.blocks.relative // 2

    @property
    def names(self) -> tuple[str, ...]:
        """The tensors that are rescaled."""
        return tuple(dict.fromkeys(name for one in self.sets for name in one.names))

    def factors(self, scales: Tensor) -> Tensor:
        """The factor of each block, (blocks + 1,), for r = ``scales``, (count,)."""
        return torch.cat([scales, 1 / scales, torch.ones(1, dtype=scales.dtype)])

    def scaled(self, point: Point, scales: Tensor) -> Point:
        """``point`` rescaled by r = ``scales``."""
        factors = self.factors(scales)
        return Spheres(self.blocks.rows, torch.ones_like(factors)).scale(point, factors)


@dataclass(frozen=True)
class Products:
    """The Euler products of the slices of a part, and what they are small beside; (cotangents, slices) each."""

    products: Tensor
    magnitude: Tensor

    @classmethod
    def of_members(cls, members: Members, euler: EulerTest, point: Point, count: int | None = None) -> Products:
        """The products of some slices united, in ``count`` equal runs; None for each by itself."""
        entries = [slices.products(euler, point) for slices in members]
        grouped = [entry if count is None else entry.grouped(count) for entry in entries]
        return cls.of(sum(grouped[1:], grouped[0]))

    @classmethod
    def of(cls, products: EulerProducts) -> Products:
        """The products as they are."""
        return cls(products.products, products.magnitude())

    @property
    def total(self) -> Products:
        """The products of all slices together."""
        return Products(self.products.sum(1, keepdim=True), self.magnitude.sum(1, keepdim=True))

    def matches(self, other: Products, resolution: float) -> bool:
        """Whether every product of the two is equal, and some are neither zero nor rounding."""
        size = self.magnitude + other.magnitude
        differs = (self.products - other.products).abs() > _EQUAL * size
        return not bool((differs & (size > resolution)).any()) and self.acts(resolution)

    def acts(self, resolution: float) -> bool:
        """Whether some slices are not scale-invariant by themselves."""
        return bool(((self.products.abs() > _EQUAL * self.magnitude) & (self.magnitude > resolution)).any())


def _rows(known: BlocksOfTensor, slices: Slices, point: Point, free: int) -> RowBlocks:
    """The blocks of a tensor, cut along the axis of some of its slices; what others along it have already stays."""
    if isinstance(known, RowBlocks) and known.axis == slices.axis:
        return known
    return RowBlocks(slices.axis, torch.full((point[slices.name].shape[slices.axis],), free))


def modules_of(point: Point) -> list[list[str]]:
    """The names of the parameters, by the module that has them."""
    modules: dict[str, list[str]] = {}
    for name, tensor in point.items():
        if tensor.ndim and tensor.numel():
            modules.setdefault(name.rpartition(".")[0], []).append(name)
    return list(modules.values())


def parts_of(point: Point) -> Iterator[Members]:
    """A module's tensors, slice by slice of its output, and each of its weights alone."""
    for names in modules_of(point):
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
