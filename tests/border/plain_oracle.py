"""BN-Sharpness by plain autograd on a deep copy in float64, along the direction of Eq. (6), by Gauss quadrature."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection

import numpy as np
import torch
from torch import Tensor, nn

NODES = 24


def along_the_gradient(
    model: nn.Module,
    loss_of: Callable[[nn.Module], Tensor],
    rows: Collection[str] = (),
    *,
    delta: float = 1e-3,
    training: bool = False,
) -> float:
    """BN-Sharpness, p = 2, at the direction of Eq. (6), which is the sharpest one for small δ.

    Args:
        model: a network; it stays as it is.
        loss_of: the loss of a network.
        rows: names of the weights each of whose rows is scale-invariant.
        delta: δ.
        training: whether the norms use the batch; there must be no dropout then.
    """
    own = copy.deepcopy(model).double().train(training)
    names, weights = zip(*own.named_parameters(), strict=True)
    loss = loss_of(own)
    gradients = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
    free = math.sqrt(
        sum(float(slope.square().sum()) for name, slope in zip(names, gradients, strict=True) if name not in rows)
    )
    directions = [
        _by_rows(slope, weight.detach()) if name in rows else slope / (free or 1.0)
        for name, weight, slope in zip(names, weights, gradients, strict=True)
    ]
    return _mean_change(own, [*weights], directions, loss_of, delta)


def _by_rows(slope: Tensor, weight: Tensor) -> Tensor:
    flat, sizes = slope.flatten(1), weight.flatten(1).norm(dim=1)
    lengths = flat.norm(dim=1)
    factors = torch.where(lengths > 0, sizes / lengths.clamp_min(1e-300), 0.0)
    return (flat * factors[:, None]).reshape(slope.shape)


def _mean_change(
    model: nn.Module, weights: list[Tensor], directions: list[Tensor], loss_of: Callable[..., Tensor], delta: float
) -> float:
    start, centre = [weight.detach().clone() for weight in weights], float(loss_of(model).detach())
    total = 0.0
    for position, share in zip(*np.polynomial.legendre.leggauss(NODES), strict=True):
        with torch.no_grad():
            for weight, own, direction in zip(weights, start, directions, strict=True):
                weight.copy_(own + float(position) * delta * direction)
        total += share * ((float(loss_of(model).detach()) - centre) / delta) ** 2
    return math.sqrt(total)
