"""The scale transformation T_a (Def. 2.2) on parameters, running statistics and ε."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def uniform_factors(invariant: int, scale: float) -> Tensor:
    """a_i = ``scale`` for every invariant block, 1 for θ_*; (invariant + 1,)."""
    factors = torch.full((invariant + 1,), scale, dtype=torch.float64)
    factors[invariant] = 1.0
    return factors


def random_factors(invariant: int, decades: float, generator: torch.Generator) -> Tensor:
    """a_i log-uniform in [10^−decades, 10^decades] for every invariant block, 1 for θ_*; (invariant + 1,)."""
    exponents = (2 * torch.rand(invariant, generator=generator, dtype=torch.float64) - 1) * decades
    return torch.cat([10**exponents, torch.ones(1, dtype=torch.float64)])


def smallest_factor(delta: float, row_norms: Tensor) -> float:
    """Eq. (4): a₀ = δ / (√N max_i ‖θ_i‖) for the N rows of one layer.

    The layer scaled by a₀ has norm at most δ, so the ball of radius δ contains the point where it vanishes.
    """
    return delta / (math.sqrt(len(row_norms)) * float(row_norms.max()))


def rescaled_mean(running_mean: Tensor, scale: Tensor, mean_before: Tensor, mean_after: Tensor) -> Tensor:
    """The running mean of a norm whose input was scaled: s (m − b) + b with b the bias before the norm.

    The bias needs not be known: batch means transform alike, so s m + (batch mean after − s · batch mean before).
    """
    return scale * running_mean + (mean_after - scale * mean_before)


def rescaled_variance(running_variance: Tensor, scale: Tensor) -> Tensor:
    """The running variance of a norm whose input was scaled: s² σ²."""
    return scale.square() * running_variance
