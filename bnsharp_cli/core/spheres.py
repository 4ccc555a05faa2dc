"""The product of spheres φ(θ) on which the sharpest direction lives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bnsharp_cli.core.point import LazyPoint, Point, random_normal


@dataclass(frozen=True)
class RowBlocks:
    """The block that each slice of one tensor belongs to.

    Attributes:
        axis: the dimension whose slices are the rows: 0 for a filter, 1 for a transposed convolution.
        block: (rows,) int64, the number of each row's block.
    """

    axis: int
    block: Tensor

    def to(self, device: torch.device) -> RowBlocks:
        """The same on another device."""
        return RowBlocks(self.axis, self.block.to(device))

    def part(self, rows: slice) -> RowBlocks:
        """The blocks of some rows along the tensor's first dimension."""
        return self if self.axis else RowBlocks(self.axis, self.block[rows])

    def add_to(self, total: Tensor, numbers: Tensor) -> None:
        """Add every number of the tensor to its block's entry of ``total``, (blocks + 1,)."""
        total.index_add_(0, self.block, _row_sums(numbers, self.axis).to(total))

    def spread(self, factors: Tensor, like: Tensor) -> Tensor:
        """Each number's entry of ``factors``, (blocks + 1,), shaped to multiply ``like``."""
        rows = factors[self.block.to(factors.device)].to(like.device)
        return broadcast_over_rows(rows, self.axis, like.ndim)


@dataclass(frozen=True)
class NumberBlocks:
    """The blocks of a tensor of which every number is a block by itself.

    Attributes:
        first: the block of its first number.
        shape: of the tensor.
    """

    first: int
    shape: torch.Size

    def to(self, device: torch.device) -> NumberBlocks:
        """The same on another device."""
        del device
        return self

    def add_to(self, total: Tensor, numbers: Tensor) -> None:
        """Add every number of the tensor to its block's entry of ``total``, (blocks + 1,)."""
        total[self._own] += numbers.flatten().to(total)

    def spread(self, factors: Tensor, like: Tensor) -> Tensor:
        """Each number's entry of ``factors``, (blocks + 1,), shaped to multiply ``like``."""
        return factors[self._own].reshape(self.shape).to(like.device)

    @property
    def _own(self) -> slice:
        return slice(self.first, self.first + self.shape.numel())


BlocksOfTensor = RowBlocks | NumberBlocks
"""The blocks that the numbers of one tensor belong to."""


@dataclass(frozen=True)
class Spheres:
    r"""The product of spheres of Definition 3.1, in normalised coordinates.

    Directions are written :math:`v_i = r_i u_i` with :math:`\|u_i\| = 1`, :math:`r_i = \|\theta_i\|` for a block with
    a relative radius and 1 for the block θ_* of everything else. A rescaling of whole blocks that leaves the loss
    unchanged leaves it unchanged as a function of u (Eq. 7 for T_a), and with it whatever is computed in u.

    Attributes:
        rows: the blocks of every parameter.
        radii: (blocks + 1,), the last one for θ_*; in the precision of θ.
    """

    rows: Mapping[str, BlocksOfTensor]
    radii: Tensor

    @classmethod
    def around(cls, point: Point, rows: Mapping[str, BlocksOfTensor], relative: int) -> Spheres:
        """φ(θ) at ``point`` with ``relative`` blocks of relative radius; block number ``relative`` is θ_*."""
        device, dtype = (first := next(iter(point.values()))).device, first.dtype
        local = {name: entry.to(device) for name, entry in rows.items()}
        spheres = cls(local, torch.ones(relative + 1, dtype=dtype, device=device))
        radii = spheres.norms(point)
        radii[relative] = 1.0
        return cls(local, radii)

    def zeros(self, relative: int) -> int:
        """How many of the ``relative`` blocks of relative radius are zero."""
        return int((self.radii[:relative] == 0).sum())

    def inner(self, first: Point, second: Point) -> Tensor:
        """⟨first, second⟩ block by block, (blocks + 1,)."""
        return add_products(self.rows, first, second, torch.zeros_like(self.radii))

    def norms(self, vector: Point) -> Tensor:
        """‖vector_i‖ block by block, (blocks + 1,)."""
        return self.inner(vector, vector).sqrt()

    def scale(self, vector: Point, factors: Tensor) -> Point:
        """Each block of ``vector`` times its entry of ``factors``, (blocks + 1,)."""
        return {name: tensor * self._spread(name, factors, tensor) for name, tensor in vector.items()}

    def to_direction(self, coordinates: Point) -> Point:
        """V = r u."""
        return self.scale(coordinates, self.radii)

    def direction_along(self, vector: Point) -> LazyPoint:
        """V ∈ φ(θ) with v_i along ``vector``'s block, tensor by tensor (Eq. 6); 0 where that is zero."""
        norms = self.norms(vector)
        factors = torch.where(norms > 0, self.radii / norms.clamp_min(torch.finfo(norms.dtype).tiny), 0.0)
        return LazyPoint(vector, lambda name: vector[name] * self._spread(name, factors, vector[name]))

    def on_segment(self, point: Point, coordinates: Point, step: float) -> LazyPoint:
        """``point`` + ``step`` · r u, tensor by tensor, without holding v = r u."""
        factors = step * self.radii
        return LazyPoint(
            point,
            lambda name: torch.addcmul(point[name], coordinates[name], self._spread(name, factors, point[name])),
        )

    def to_coordinates_gradient(self, gradient: Point) -> Point:
        """∇_u = r ∇_v, by the chain rule."""
        return self.scale(gradient, self.radii)

    def normalise(self, vector: Point, fallback: Callable[[], Point] | None = None, resolution: float = 0.0) -> Point:
        """Each block divided by its norm.

        Args:
            vector: any vector.
            fallback: makes unit vectors for the blocks whose norm is zero or at most ``resolution`` times the largest;
                called if there are any.
            resolution: relative size below which a block is rounding noise.
        """
        norms = self.norms(vector)
        weak = norms <= resolution * norms.max()
        unit = self.scale(vector, torch.where(weak, 0.0, 1.0 / norms.clamp_min(torch.finfo(norms.dtype).tiny)))
        if fallback is None or not bool(weak.any()):
            return unit
        replaced = self.scale(fallback(), weak.double())
        return {name: tensor + replaced[name] for name, tensor in unit.items()}

    def tangent(self, coordinates: Point, vector: Point) -> Point:
        """The part of ``vector`` that is tangent to the unit spheres at ``coordinates`` (Eq. 14)."""
        radial = self.scale(coordinates, self.inner(coordinates, vector))
        return {name: tensor - radial[name] for name, tensor in vector.items()}

    def random(self, like: Point, generator: torch.Generator) -> Point:
        """Unit coordinates shaped as ``like``, uniform on each sphere and the same on every copy of a network."""
        return self.normalise(random_normal(like, generator))

    def _spread(self, name: str, factors: Tensor, tensor: Tensor) -> Tensor:
        """Each number's entry of ``factors``, shaped to multiply ``tensor``."""
        return self.rows[name].spread(factors, tensor)


def add_products(rows: Mapping[str, BlocksOfTensor], first: Point, second: Point, total: Tensor) -> Tensor:
    """``total`` with the product of every two numbers added to the entry of their block."""
    for name, entry in rows.items():
        entry.add_to(total, first[name] * second[name])
    return total


def _row_sums(tensor: Tensor, axis: int) -> Tensor:
    if tensor.ndim == 0:
        return tensor.reshape(1)
    return tensor.movedim(axis, 0).flatten(1).sum(dim=1) if tensor.ndim > 1 else tensor


def broadcast_over_rows(values: Tensor, axis: int, dimensions: int) -> Tensor:
    """(rows,) values shaped to multiply the slices along ``axis`` of a tensor with that many dimensions."""
    if dimensions == 0:
        return values.reshape(())
    shape = [1] * dimensions
    shape[axis] = -1
    return values.reshape(shape)
