"""An oracle of its own: plain autograd in float64 on a copy, and Gauss quadrature along the gradient direction."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Mapping

import numpy as np
import torch
from torch import Tensor, nn

Loss = Callable[[nn.Module], Tensor]

Block = Mapping[str, slice]
"""Rows of each tensor that are scale-invariant together."""


def bn_limit(module: nn.Module, loss: Loss, rows: Collection[str] = (), power: float = 2.0) -> float:
    """(2/(p+1))^{1/p} (Σ_i ‖∇_iL‖‖θ_i‖ + ‖∇_*L‖), what BN-Sharpness tends to for δ → 0.

    Args:
        module: a network; the loss is taken in train mode, as batch statistics are.
        loss: of a network in float64.
        rows: tensors whose rows along the first dimension are scale-invariant.
        power: p.
    """
    gradients, parameters, _ = _gradients(module, loss)
    return (2 / (power + 1)) ** (1 / power) * sum(norm for norm, _ in _parts(gradients, parameters, rows))


def bn_along_gradient(
    module: nn.Module,
    loss: Loss,
    rows: Collection[str] = (),
    delta: float = 1e-3,
    power: float = 2.0,
    *,
    training: bool = True,
) -> float:
    """(δ⁻¹ ∫ |(L(θ + tv) − L(θ))/δ|^p dt)^{1/p} for v along the gradient (Eq. 6): a lower bound on the supremum.

    Args:
        module: a network; it stays as it is.
        loss: of a network in float64.
        rows: names of the weights each of whose rows is scale-invariant.
        delta: δ.
        power: p.
        training: whether the norms use the batch; there must be no dropout then.
    """
    parameters = dict(module.named_parameters())
    blocks = [{name: slice(row, row + 1)} for name in rows for row in range(len(parameters[name]))]
    return bn_of_blocks(module, loss, blocks, delta, power, training=training)


def bn_of_blocks(
    module: nn.Module,
    loss: Loss,
    blocks: Collection[Block] = (),
    delta: float = 1e-3,
    power: float = 2.0,
    *,
    training: bool = True,
) -> float:
    """The same for any scale-invariant blocks, each of them rows of one tensor or of several."""
    gradients, parameters, own = _gradients(module, loss, training)
    start = float(loss(own).detach())
    direction = {name: gradient.clone() for name, gradient in gradients.items()}
    for block in blocks:
        for name, rows in block.items():
            direction[name][rows] = 0
    free = math.sqrt(sum(float(part.square().sum()) for part in direction.values()))
    direction = {name: part / (free or 1.0) for name, part in direction.items()}
    for block in blocks:
        length = block_length(gradients, block)
        factor = block_length(parameters, block) / length if length else 0.0
        for name, rows in block.items():
            direction[name][rows] = gradients[name][rows] * factor
    nodes, weights = np.polynomial.legendre.leggauss(24)
    total = 0.0
    for node, weight in zip(nodes, weights, strict=True):
        with torch.no_grad():
            for name, parameter in own.named_parameters():
                parameter.copy_(parameters[name] + float(node) * delta * direction[name])
        total += float(weight) * abs((float(loss(own).detach()) - start) / delta) ** power
    return total ** (1 / power)


def plain_loss_and_gradient(module: nn.Module, loss: Loss) -> tuple[float, dict[str, Tensor]]:
    """L and its gradient in float64."""
    gradients, _, own = _gradients(module, loss)
    return float(loss(own).detach()), gradients


def block_length(tensors: Mapping[str, Tensor], block: Block) -> float:
    """The norm of the rows of a block."""
    return math.sqrt(sum(float(tensors[name][rows].square().sum()) for name, rows in block.items()))


def _gradients(
    module: nn.Module, loss: Loss, training: bool = True
) -> tuple[dict[str, Tensor], dict[str, Tensor], nn.Module]:
    own = copy.deepcopy(module).double().train(training).requires_grad_(True)
    parameters = dict(own.named_parameters())
    found = torch.autograd.grad(loss(own), list(parameters.values()), allow_unused=True)
    dense = {
        name: torch.zeros_like(parameters[name]) if each is None else each.to_dense() if each.is_sparse else each
        for name, each in zip(parameters, found, strict=True)
    }
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    return {name: each.detach() for name, each in dense.items()}, before, own


def _parts(
    gradients: dict[str, Tensor], parameters: dict[str, Tensor], rows: Collection[str]
) -> list[tuple[float, float]]:
    """‖∇_iL‖‖θ_i‖ of every block, and ‖∇_*L‖."""
    parts = []
    for name in rows:
        norms, radii = (tensor.flatten(1).norm(dim=1) for tensor in (gradients[name], parameters[name]))
        parts.append((float((norms * radii).sum()), 0.0))
    free = math.sqrt(sum(float(g.square().sum()) for name, g in gradients.items() if name not in rows))
    return [*parts, (free, 0.0)]
