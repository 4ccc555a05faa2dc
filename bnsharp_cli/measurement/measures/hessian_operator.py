"""The Hessian of a loss surface between two scalings, as a matrix that is known by its products."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point, Vector
from bnsharp_cli.core.spheres import Spheres
from bnsharp_cli.measurement.surface.loss_surface import LossSurface


@dataclass
class HessianOperator:
    """D H D with the Hessian H of L at a point and the radii D of the blocks, or H itself.

    It has what curvlinops asks of a linear operator; its vectors lie on the CPU, so that every device sees the same
    random ones. curvlinops' own Hessian calls the network as it is. It refuses batch norms that take the statistics of
    the batch and have running ones, and it knows nothing of weights of batches, casts, processes or a choice of
    parameters.

    Attributes:
        surface: L.
        point: θ.
        spheres: D; None for the identity.
        products: how many vectors were multiplied so far.
        forms: ⟨v, A_b v⟩ for the latest ones and for the part A_b of every batch.
    """

    surface: LossSurface
    point: Point
    spheres: Spheres | None = None
    products: int = 0
    forms: list[tuple[float, ...]] = field(default_factory=list)

    device, dtype = torch.device("cpu"), torch.float64

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n) for n parameters."""
        size = sum(tensor.numel() for tensor in self.point.values())
        return size, size

    def __matmul__(self, vectors: Tensor) -> Tensor:
        """A v for (n,), or for each column of (n, k): they share a forward pass and a gradient."""
        columns = vectors.reshape(len(vectors), -1).T
        found = self.surface.curvature_products(self.point, [self.direction(column) for column in columns])
        self.products += len(found)
        self.forms = [each.forms for each in found]
        multiplied = [_flat(self._scaled(each.product)) for each in found]
        return torch.stack(multiplied, dim=1).reshape(vectors.shape)

    def direction(self, vector: Tensor) -> Point:
        """D v, (n,), by the names of the parameters."""
        parts = torch.split(vector, [tensor.numel() for tensor in self.point.values()])
        named: Vector = {
            name: part.reshape(tensor.shape).to(tensor.device)
            for (name, tensor), part in zip(self.point.items(), parts, strict=True)
        }
        return self._scaled(named)

    def form(self, number: int = 0) -> float:
        """⟨v, A v⟩ for one of the latest vectors."""
        return math.fsum(self.forms[number]) / len(self.forms[number])

    def _scaled(self, vector: Point) -> Point:
        return vector if self.spheres is None else self.spheres.to_direction(vector)


def _flat(vector: Point) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in vector.values()]).cpu()
