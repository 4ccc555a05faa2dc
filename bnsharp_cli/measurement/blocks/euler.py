"""Euler's theorem as a test: f is scale-invariant in θ_i exactly if ⟨θ_i, ∂f/∂θ_i⟩ = 0 for every output f.

It judges by what a network computes, whatever its code looks like.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import reduce

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point, numbers
from bnsharp_cli.measurement.blocks.probe import Probe

INVARIANT = 1e-10
"""Normalised Euler products below this are zero: invariant rows lie below 1e-14, the others above 1e-7."""

UNRESOLVED = 1e-12
"""A row whose ‖θ_i‖‖∂f/∂θ_i‖ is below this share of the largest is no more than rounding."""

RowSets = tuple[tuple[str, ...], int]
"""Names of one tensor or of several whose rows are united, and the axis whose slices are rows."""

_COTANGENTS = 2
_SAMPLES_AT_ONCE = 32


@dataclass(frozen=True)
class EulerProducts:
    """The Euler products of the rows of one tensor, or of sets of rows, for each of a few cotangents.

    Attributes:
        products: ⟨θ_i, ∂f/∂θ_i⟩, (cotangents, rows).
        sizes: ‖θ_i‖² and ‖∂f/∂θ_i‖², (2, cotangents, rows).
    """

    products: Tensor
    sizes: Tensor

    def grouped(self, groups: int) -> EulerProducts:
        """Sum the products over ``groups`` equal runs of consecutive rows."""
        count = self.products.shape[-1]
        shape = (groups, count // groups)
        return EulerProducts(
            self.products.reshape(*self.products.shape[:-1], *shape).sum(-1),
            self.sizes.reshape(*self.sizes.shape[:-1], *shape).sum(-1),
        )

    def beside(self, other: EulerProducts) -> EulerProducts:
        """Join the products of the same rows for two lists of cotangents."""
        return EulerProducts(torch.cat([self.products, other.products]), torch.cat([self.sizes, other.sizes], dim=1))

    def __add__(self, other: EulerProducts) -> EulerProducts:
        """The products of sets that unite each row of one tensor with the same row of another."""
        return EulerProducts(self.products + other.products, self.sizes + other.sizes)

    def cpu(self) -> EulerProducts:
        """The same on the CPU."""
        return EulerProducts(self.products.cpu(), self.sizes.cpu())

    def magnitude(self) -> Tensor:
        """The products of norms ‖θ_i‖‖∂f/∂θ_i‖, (cotangents, rows)."""
        return self.sizes.prod(dim=0).sqrt()


@dataclass(frozen=True)
class EulerTest:
    """The test of a whole network.

    Attributes:
        probe: where it is made: at each location, for a few cotangents.
        scale: the largest ‖θ_i‖‖∂f/∂θ_i‖ of any row.
        other_samples: further products of tensors some of whose rows the probe's samples do not use, by name and axis;
            and those of such a tensor's rows united with the entries of its bias, by both names.
        known: the products at the probe's samples that were asked for, by name and axis.
        gradients: for each cotangent, by the number of the location; where all is known, none is computed.
    """

    probe: Probe
    scale: float = 0.0
    other_samples: dict[RowSets, EulerProducts] = field(default_factory=dict)
    known: dict[tuple[str, int], EulerProducts] = field(default_factory=dict)
    gradients: dict[int, list[Point]] = field(default_factory=dict)

    @classmethod
    def of(cls, probe: Probe) -> EulerTest:
        """The test at every location of ``probe``; rows that only other samples use are tested on those too."""
        euler = cls.of_few_samples(probe)
        if euler._quiet(probe):
            with probe.surface.progress.stage(
                "rows of later samples", items=probe.surface.count * len(probe.locations)
            ):
                euler._add_other_samples(probe)
        return euler

    @classmethod
    def of_few_samples(cls, probe: Probe) -> EulerTest:
        """The test at every location of ``probe``, on its samples alone."""
        euler = cls(probe)
        largest = (euler.at_probe(name).magnitude() for name in probe.locations[0].point)
        scale = max(numbers(sizes.max() for sizes in largest if sizes.numel()), default=0.0)
        return replace(euler, scale=scale)

    @property
    def resolution(self) -> float:
        """‖θ_i‖‖∂f/∂θ_i‖ below this is no more than rounding."""
        return UNRESOLVED * self.scale

    def at_probe(self, name: str, axis: int = 0) -> EulerProducts:
        """The products of each slice of ``name`` along ``axis`` at the probe's samples alone; computed once."""
        if (name, axis) not in self.known:
            first, *others = (self._at_location(number, name, axis) for number in range(len(self.probe.locations)))
            self.known[name, axis] = reduce(EulerProducts.beside, others, first)
        return self.known[name, axis]

    def rows(self, name: str, axis: int = 0) -> EulerProducts:
        """The products of each slice of ``name`` along ``axis``."""
        own = self.at_probe(name, axis)
        further = self.other_samples.get(((name,), axis))
        return own if further is None else own.beside(further)

    def rows_with_bias(self, name: str, bias: str) -> EulerProducts:
        """The products of each row of ``name`` united with its entry of ``bias``."""
        own = self.at_probe(name) + self.at_probe(bias)
        further = self.other_samples.get(((name, bias), 0))
        return own if further is None else own.beside(further)

    def invariant(self, sets: EulerProducts) -> Tensor:
        """The sets of rows that are scale-invariant: all their products vanish, and not all their gradients do.

        Returns:
            (sets,) of bool; a set whose gradient is zero everywhere is not called invariant.
        """
        magnitude = sets.magnitude()
        resolved = magnitude > self.resolution
        vanishes = sets.products.abs() <= INVARIANT * magnitude
        return resolved.any(dim=0) & (vanishes | ~resolved).all(dim=0)

    def without_effect(self, sets: EulerProducts) -> Tensor:
        """The sets of rows that have no effect on any output, (sets,) of bool."""
        return ~(sets.magnitude() > self.resolution).any(dim=0)

    def _at_location(self, number: int, name: str, axis: int) -> EulerProducts:
        """The products at one location, which may be known from another search."""
        location = self.probe.locations[number]

        def compute() -> EulerProducts:
            if number not in self.gradients:
                self.gradients[number] = [*self.probe.gradients(location, _COTANGENTS)]
            return euler_products([(location.point, gradient) for gradient in self.gradients[number]], name, axis)

        return location.findings.answered(("Euler products", name, axis), compute)

    def _add_other_samples(self, probe: Probe) -> None:
        """Test rows without effect, such as those of words that the first samples do not have, on all samples."""
        for location in probe.samples(_SAMPLES_AT_ONCE):
            names = self._quiet(probe)
            if not names:
                return
            sets: list[RowSets] = [((name,), axis) for name in names for axis in (0, 1)]
            sets += [((name, bias), 0) for name in names if (bias := bias_of(location.point, name))]
            wanted = {name for each, _ in sets for name in each}
            pairs = [(location.point, slope) for slope in probe.gradients(location, _COTANGENTS, only=wanted)]
            for each in sets:
                first, *others = (euler_products(pairs, name, each[1]) for name in each[0])
                found = sum(others, first)
                known = self.other_samples.get(each)
                self.other_samples[each] = found if known is None else known.beside(found)

    def _quiet(self, probe: Probe) -> list[str]:
        """The tensors some of whose rows have no effect so far."""
        weights = (name for name, tensor in probe.locations[0].point.items() if tensor.ndim > 1)
        return [name for name in weights if bool(self.without_effect(self.rows(name)).any())]


def euler_products(pairs: Sequence[tuple[Point, Point]], name: str, axis: int) -> EulerProducts:
    """The Euler products of each slice of the tensor ``name`` along ``axis``."""
    products, squares, gradient_squares = [], [], []
    for point, gradient in pairs:
        theta, slope = (_as_rows(vector[name], axis) for vector in (point, gradient))
        products.append((theta * slope).sum(1))
        squares.append(theta.square().sum(1))
        gradient_squares.append(slope.square().sum(1))
    return EulerProducts(torch.stack(products), torch.stack([torch.stack(squares), torch.stack(gradient_squares)]))


def bias_of(point: Point, name: str) -> str:
    """The name of the vector beside a weight that has an entry for each of its rows, or an empty string."""
    module = name.rpartition(".")[0]
    for other, tensor in point.items():
        beside = other.rpartition(".")[0] == module and other != name
        if beside and tensor.ndim == 1 and len(tensor) == len(point[name]):
            return other
    return ""


def _as_rows(tensor: Tensor, axis: int) -> Tensor:
    return tensor.reshape(-1, 1) if tensor.ndim < 2 else tensor.movedim(axis, 0).flatten(1)
