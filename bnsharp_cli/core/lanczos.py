"""The largest eigenvalue of a symmetric matrix that is known by its products alone (Lanczos 1950)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

LEAST_STEPS = 10
"""Before so many, a small residual may be that of another eigenvalue."""


@dataclass(frozen=True)
class LanczosRun:
    """What some products with A say about its eigenvalues.

    Attributes:
        values: (steps,) the Ritz values, ascending; the last is a lower bound of the largest eigenvalue, and the first
            an upper bound of the smallest.
        coefficients: (steps, steps), the eigenvectors of the tridiagonal matrix, one a column. The squares of the first
            row are weights: the distribution of the Ritz values by them is that of the eigenvalues, as the start sees
            it.
        vector: (n,) the unit vector whose Rayleigh quotient is the largest Ritz value.
        residuals: (steps,) ‖A x − λ x‖ for the unit vector x of every Ritz value λ; an eigenvalue lies no farther than
            that from λ.
    """

    values: Tensor
    coefficients: Tensor
    vector: Tensor
    residuals: Tensor

    @property
    def residual(self) -> float:
        """The residual of the largest Ritz value."""
        return float(self.residuals[-1])

    @property
    def largest(self) -> float:
        """The largest Ritz value."""
        return float(self.values[-1])


def lanczos(
    multiply: Callable[[Tensor], Tensor], start: Tensor, steps: int, tolerance: float, keep: torch.dtype = torch.float64
) -> LanczosRun:
    """The Ritz values of A after some steps of the Lanczos method, with every vector made orthogonal to all others.

    Without that, copies of the largest eigenvalue would appear among the others.

    Args:
        multiply: A v from v, both (n,) float64.
        start: (n,) float64, not zero.
        steps: the most products.
        tolerance: the residual, relative to the largest Ritz value, at which fewer are enough.
        keep: the precision in which the vectors are kept.

    >>> matrix = torch.diag(torch.arange(1, 5).double())
    >>> round(lanczos(lambda v: matrix @ v, torch.ones(4).double(), 9, 1e-9).largest, 9)
    4.0
    """
    basis = torch.empty(min(steps, len(start)), len(start), dtype=keep)
    diagonal, beside = [], []
    following = start / start.norm()
    for step in range(len(basis)):
        basis[step] = following
        following = multiply(following)
        diagonal.append(float(basis[step].double() @ following))
        for _ in range(2):  # once leaves what rounding of the first time brought in
            following = following - _combined(basis[: step + 1], basis[: step + 1].to(following) @ following)
        beside.append(float(following.norm()))
        values, coefficients = torch.linalg.eigh(_tridiagonal(diagonal, beside[:-1]))
        residuals = beside[-1] * coefficients[-1].abs()
        residual = float(residuals[-1])
        ended = beside[-1] <= torch.finfo(keep).eps * float(values.abs().max())
        settled = step + 1 >= LEAST_STEPS and residual <= tolerance * abs(float(values[-1]))
        if ended or settled or not math.isfinite(residual):
            break
        following = following / beside[-1]
    vector = _combined(basis[: len(diagonal)], coefficients[:, -1])
    return LanczosRun(values, coefficients, vector / vector.norm(), residuals)


def _tridiagonal(diagonal: list[float], beside: list[float]) -> Tensor:
    main, other = (torch.tensor(numbers, dtype=torch.float64) for numbers in (diagonal, beside))
    return torch.diag(main) + torch.diag(other, 1) + torch.diag(other, -1)


def _combined(vectors: Tensor, factors: Tensor) -> Tensor:
    """Σ factor · vector in float64, one after the other, so that no copy of all vectors is made."""
    total = torch.zeros(vectors.shape[1], dtype=torch.float64)
    for vector, factor in zip(vectors, factors.tolist(), strict=True):
        total.add_(vector, alpha=factor)
    return total
