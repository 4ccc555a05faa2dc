r"""Directions of pictures, in the normalised coordinates of Definition 3.1.

A direction is :math:`v_i = r_i u_i` with :math:`\|u_i\| = 1` in every block: as long as the block's weights where its
radius is relative, and of length 1 for θ_*. A rescaling T_a multiplies v_i as it multiplies θ_i, and so changes no
picture. With the partition ``filter`` random directions are the filter-normalised ones of Li et al. (2018), but that
biases and norms take part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch

from bnsharp_cli.core.point import Point
from bnsharp_cli.core.spheres import Spheres
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.landscape.kept_evaluations import KeptEvaluations
from bnsharp_cli.measurement.measures.bn_sharpness import bn_sharpness
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.loss_surface import LossSurface


@dataclass(frozen=True)
class Surroundings:
    """A network with what its pictures are drawn from.

    Attributes:
        surface: L.
        point: θ.
        blocks: which numbers share a radius.
        options: δ, the search for the sharpest direction, and the seed of random ones: the first has this one, the
            next the one after it.
        kept: losses that are known from an earlier, interrupted picture.
    """

    surface: LossSurface
    point: Point
    blocks: Blocks
    options: MeasureOptions
    kept: KeptEvaluations = field(default_factory=KeptEvaluations)

    @cached_property
    def spheres(self) -> Spheres:
        """The product of spheres around the point."""
        return self.blocks.spheres(self.point)


@dataclass(frozen=True)
class Direction:
    """One direction in normalised coordinates.

    Attributes:
        name: in words, for a legend.
        coordinates: u, of length 1 in every block.
        measured: BN-Sharpness, whose search found it; None for any other.
        number: which of several with this name.
    """

    name: str
    coordinates: Point
    measured: Measurement | None = None
    number: int = 0


def sharpest(around: Surroundings) -> Direction:
    """The direction that BN-Sharpness found at δ.

    Raises:
        BnsharpError: it cannot be measured.
    """
    found = bn_sharpness(around.surface, around.point, around.blocks, around.options)
    assert found.direction is not None
    return Direction("sharpest", around.spheres.normalise(found.direction), found)


def along_gradient(around: Surroundings) -> Direction:
    """Along the gradient in every block (Eq. 6): the sharpest one for δ → 0."""
    _, gradient = around.surface.value_and_gradient(around.point)
    return Direction("gradient", around.spheres.normalise(gradient))


def random_direction(around: Surroundings, number: int = 0) -> Direction:
    """Uniform on every sphere; the same for every copy T_a of a network.

    Args:
        around: the network.
        number: which of several.
    """
    generator = torch.Generator().manual_seed(around.options.seed + number)
    return Direction("random", around.spheres.random(around.point, generator), number=number)


def orthogonal_to(around: Surroundings, first: Direction, number: int = 0) -> Direction:
    """A random direction without its part along ``first``, block by block; 0 in blocks of one number."""
    spheres = around.spheres
    other = random_direction(around, number).coordinates
    rest = spheres.tangent(first.coordinates, other)
    return Direction(f"random, orthogonal to {first.name}", spheres.normalise(rest, resolution=_NOTHING_LEFT))


_NOTHING_LEFT = 1e-9
"""Of the length of the longest block: what is left of a block of one number is rounding."""

SPANS: Mapping[str, Callable[[Surroundings], Direction]] = {
    "sharpest": sharpest,
    "gradient": along_gradient,
    "random": random_direction,
}
"""The first direction of a plane; the second is random and orthogonal."""
