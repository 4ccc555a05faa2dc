"""Euler's theorem as a test: which parameters are scale-invariant, whatever the code of the model looks like."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point
from bnsharp_cli.measurement.blocks.probe import Place, Probe

INVARIANT = 1e-10
"""Normalised Euler products below this are zero: invariant rows lie below 1e-14, the others above 1e-7."""

UNRESOLVED = 1e-12
"""Relative size of ‖θ_i‖‖∂f/∂θ_i‖ below which a row says nothing."""

_COTANGENTS = 2
_CHUNK = 32


@dataclass(frozen=True)
class Evidence:
    """Inner products for one slice of parameters, one entry per cotangent and row: (cotangents, rows).

    Attributes:
        products: ⟨θ_i, ∂f/∂θ_i⟩.
        sizes: ‖θ_i‖² and ‖∂f/∂θ_i‖², stacked: (2, cotangents, rows).
    """

    products: Tensor
    sizes: Tensor

    def grouped(self, groups: int) -> Evidence:
        """The evidence for ``groups`` joint sets of consecutive rows."""
        count = self.products.shape[-1]
        shape = (groups, count // groups)
        return Evidence(
            self.products.reshape(*self.products.shape[:-1], *shape).sum(-1),
            self.sizes.reshape(*self.sizes.shape[:-1], *shape).sum(-1),
        )

    def beside(self, other: Evidence) -> Evidence:
        """The evidence of both for the same rows."""
        return Evidence(torch.cat([self.products, other.products]), torch.cat([self.sizes, other.sizes], dim=1))

    def __add__(self, other: Evidence) -> Evidence:
        """That for the union of two sets of rows, row by row."""
        return Evidence(self.products + other.products, self.sizes + other.sizes)

    def magnitude(self) -> Tensor:
        """‖θ_i‖‖∂f/∂θ_i‖, (cotangents, rows)."""
        return self.sizes.prod(dim=0).sqrt()


@dataclass(frozen=True)
class Euler:
    """The Euler products of a whole network.

    Attributes:
        pairs: (point, gradient) for each place of a probe and each of a few cotangents.
        further: of the rows of some tensors, from the samples that the probe left out.
        scale: the largest ‖θ_i‖‖∂f/∂θ_i‖ of any row.
    """

    pairs: Sequence[tuple[Point, Point]]
    scale: float
    further: dict[str, Evidence] = field(default_factory=dict)

    @classmethod
    def of(cls, probe: Probe) -> Euler:
        """The products at every place; of rows that only other samples use, such as an embedding's, on those too."""
        pairs = [(place.point, slope) for place in probe.places for slope in probe.gradients(place, _COTANGENTS)]
        names = list(probe.places[0].point)
        largest = (evidence(pairs, name, 0).magnitude() for name in names)
        euler = cls(pairs, max((float(sizes.max()) for sizes in largest if sizes.numel()), default=0.0))
        euler._listen_further(probe)
        return euler

    def rows(self, name: str, axis: int = 0) -> Evidence:
        """The evidence for each slice of ``name`` along ``axis``."""
        own = evidence(self.pairs, name, axis)
        return own.beside(self.further[name]) if axis == 0 and name in self.further else own

    def invariant(self, joint: Evidence) -> Tensor:
        """Which sets are scale-invariant: the product vanishes for every cotangent, and for one it could not but.

        Returns:
            (sets,) of bool; a set whose gradient is zero everywhere is not called invariant.
        """
        magnitude = joint.magnitude()
        resolved = magnitude > UNRESOLVED * self.scale
        vanishes = joint.products.abs() <= INVARIANT * magnitude
        return resolved.any(dim=0) & (vanishes | ~resolved).all(dim=0)

    def silent(self, joint: Evidence) -> Tensor:
        """Which sets have no effect on any output, (sets,) of bool."""
        return ~(joint.magnitude() > UNRESOLVED * self.scale).any(dim=0)

    def _listen_further(self, probe: Probe) -> None:
        for inputs in () if probe.heard_noise else _samples(probe):
            names = [name for name, tensor in probe.places[0].point.items() if tensor.ndim > 1 and self._partly(name)]
            if not names:
                return
            place = Place(probe.places[-1].point, inputs)
            pairs = [(place.point, slope) for slope in probe.gradients(place, _COTANGENTS, only=names)]
            for name in names:
                found = evidence(pairs, name, 0)
                self.further[name] = self.further[name].beside(found) if name in self.further else found

    def _partly(self, name: str) -> bool:
        """Whether some rows have an effect and others none."""
        quiet = self.silent(self.rows(name))
        return bool(quiet.any()) and not bool(quiet.all())


def _samples(probe: Probe) -> Iterator[Tensor]:
    """All samples of the surface, a few at a time."""
    for inputs, _ in probe.surface.batches:
        yield from torch.tensor_split(inputs, math.ceil(len(inputs) / _CHUNK))


def evidence(pairs: Sequence[tuple[Point, Point]], name: str, axis: int) -> Evidence:
    """The inner products of each slice of ``name`` along ``axis`` with its gradient."""
    products, squares, gradient_squares = [], [], []
    for point, gradient in pairs:
        theta, slope = (_as_rows(vector[name], axis) for vector in (point, gradient))
        products.append((theta * slope).sum(1))
        squares.append(theta.square().sum(1))
        gradient_squares.append(slope.square().sum(1))
    return Evidence(torch.stack(products), torch.stack([torch.stack(squares), torch.stack(gradient_squares)]))


def _as_rows(tensor: Tensor, axis: int) -> Tensor:
    return tensor.reshape(-1, 1) if tensor.ndim < 2 else tensor.movedim(axis, 0).flatten(1)
