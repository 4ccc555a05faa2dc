r"""The plane of a training path: the two principal directions of its checkpoints around the last (Li et al., 2018).

Every checkpoint is first rescaled, row by row, to the lengths of the last one's scale-invariant rows. With
:math:`d_k` its displacement from the last one in normalised coordinates, the directions are the two eigenvectors with
the largest eigenvalues of :math:`\sum_k d_k d_k^T`. A copy T_a of any checkpoint changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point, Vector, inner
from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.measurement.landscape.between import matched
from bnsharp_cli.measurement.landscape.directions import Direction, Surroundings
from bnsharp_cli.measurement.landscape.plane import PlaneSteps

FEWEST_CHECKPOINTS = 3
"""The last one, and two others that span a plane with it."""

_ON_ONE_LINE = 1e-12
"""The second eigenvalue relative to the first, below which it is rounding."""


@dataclass(frozen=True)
class TrainingPath:
    """The plane of a training path.

    Attributes:
        directions: v and w, orthogonal and of length 1 over all blocks together.
        places: (s, t) of the projection of each checkpoint, in their order, the last one at (0, 0).
        shares: of the squared lengths of all displacements, along v and along w.
    """

    directions: tuple[Direction, Direction]
    places: tuple[PlaneSteps, ...]
    shares: tuple[float, float]


def training_path(around: Surroundings, earlier: Sequence[Point]) -> TrainingPath:
    """The principal directions of checkpoints around the last one.

    Args:
        around: the last checkpoint.
        earlier: the others, at least two.

    Raises:
        UsageError: they have other parameters, or all lie on one line with the last one.
    """
    displacements = [_displacement(around, point) for point in earlier]
    products = [[inner(one, other) for other in displacements] for one in displacements]
    values, vectors = torch.linalg.eigh(torch.tensor(products, dtype=torch.float64))
    first, second = float(values[-1]), float(values[-2])
    if not second > _ON_ONE_LINE * first:
        raise UsageError(
            "The checkpoints lie on one line, which spans no plane.",
            f"Name other checkpoints of the training, or leave out {named('span')}.",
            argument="checkpoint",
            expected="checkpoints that span a plane",
            found=f"{len(earlier) + 1} checkpoints on one line",
        )
    weights = [_turned(vectors[:, number]) for number in (-1, -2)]
    shares = (first / float(values.sum()), second / float(values.sum()))
    directions = [
        Direction(f"principal direction {number}", _combined(displacements, own, size))
        for number, own, size in zip((1, 2), weights, (first, second), strict=True)
    ]
    s, t = ((own * size**0.5).tolist() for own, size in zip(weights, (first, second), strict=True))
    return TrainingPath((directions[0], directions[1]), (*zip(s, t, strict=True), (0.0, 0.0)), shares)


def _displacement(around: Surroundings, point: Point) -> Vector:
    """From the last checkpoint in normalised coordinates; 0 in blocks that are zero there, which stay fixed."""
    other, spheres = matched(point, around.point, around.blocks), around.spheres
    difference = {name: other[name] - around.point[name] for name in other}
    radii = spheres.radii
    factors = torch.where(radii > 0, 1 / radii.clamp_min(torch.finfo(radii.dtype).tiny), 0.0)
    return dict(spheres.scale(difference, factors))


def _turned(vector: Tensor) -> Tensor:
    """An eigenvector with the sign that makes its largest entry positive."""
    return vector * vector[vector.abs().argmax()].sign()


def _combined(displacements: Sequence[Vector], weights: Tensor, size: float) -> Vector:
    """The unit vector in the space of all parameters that belongs to an eigenvector of the inner products."""
    return {
        name: sum(
            (float(weight) * one[name] for weight, one in zip(weights, displacements, strict=True)),
            torch.zeros_like(displacements[0][name]),
        )
        / size**0.5
        for name in displacements[0]
    }
