"""The rounding floor: what the arithmetic alone contributes to a difference of losses."""

from __future__ import annotations

import math

import torch

from bnsharp_cli.core.point import Point, random_normal
from bnsharp_cli.measurement.surface import LossSurface

_TRIALS = 3
_FACTOR = 3.0
_DIRECTION_UNITS = 32.0


def loss_rounding(surface: LossSurface, point: Point, loss: float, seed: int = 0) -> float:
    """Root mean square error of L(point) by rounding, from evaluations with every parameter moved by its last bit.

    A backward stable evaluation is the exact one at a point moved by about one unit in the last place, so the
    spread of such evaluations is the size of the rounding error. Costs three forwards.
    """
    generator = torch.Generator().manual_seed(seed)
    epsilon = torch.finfo(surface.dtype).eps
    moved = []
    for _ in range(_TRIALS):
        signs = random_normal(point, generator)
        moved.append({name: tensor * (1 + epsilon * signs[name].sign()) for name, tensor in point.items()})
    changes = [value - loss for value in surface.values(moved)]
    spread = math.sqrt(math.fsum(change * change for change in changes) / _TRIALS)
    return max(spread, math.ulp(loss))


def rounding_floor(loss_error: float, delta: float, power: float, value: float, dtype: torch.dtype) -> float:
    """What rounding alone can have changed in a value of F^{1/p}.

    F^{1/p} is an L^p norm of ΔL/δ over an interval of length 2δ with weight 1/δ, so by Minkowski's inequality errors
    e(t) of ΔL change it by at most 2^{1/p} max |e| / δ. Each ΔL is a difference of two losses, hence √2; a factor 3
    stands for the largest of the errors. The direction comes from gradients that are rounded too, which moves the
    value by some units in the last place of the network's arithmetic.

    Args:
        loss_error: root mean square error of one loss.
        delta: δ.
        power: p, or ∞.
        value: the value of F^{1/p}.
        dtype: of the network's arithmetic.
    """
    by_losses = _FACTOR * math.sqrt(2) * 2 ** (1 / power) * loss_error / delta
    return by_losses + _DIRECTION_UNITS * torch.finfo(dtype).eps * value
