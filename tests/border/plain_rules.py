"""One step of every training rule from its formula, in plain float64 code."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.training.entropy_sgd import EntropySgd
from bnsharp_cli.training.registry import EntropySgdOptions, SgdsOptions
from bnsharp_cli.training.rules import Sgd, TrainingRule
from bnsharp_cli.training.sam import Asam, Sam
from bnsharp_cli.training.sgds import Sgds
from tests.border.oracle import Block, block_length

RHO, LR, ETA = 0.05, 0.1, 0.01
COEFFICIENT, RADIUS = 0.1, 1e-3
INNER, INNER_LR, SCOPE, AVERAGING = 2, 0.2, 0.5, 0.6

Step = Callable[["Plain"], dict[str, Tensor]]
Tensors = Mapping[str, Tensor]

RULES: dict[str, Callable[[nn.Module, Callable[[], Blocks]], TrainingRule]] = {
    "sgd": lambda module, _: Sgd(module, lr=LR),
    "sam": lambda module, _: Sam(module, lr=LR, rho=RHO),
    "asam": lambda module, _: Asam(module, lr=LR, rho=RHO),
    "sgds": lambda module, blocks: Sgds(
        module, blocks(), lr=LR, options=SgdsOptions(delta=RADIUS, coefficient=COEFFICIENT, regulariser_clip=1e9)
    ),
    "entropy-sgd": lambda module, _: EntropySgd(
        module,
        lr=LR,
        options=EntropySgdOptions(
            langevin_steps=INNER,
            langevin_lr=INNER_LR,
            langevin_noise=0.0,
            langevin_averaging=AVERAGING,
            scope=SCOPE,
        ),
    ),
}


class Plain:
    """A network at any parameters.

    Args:
        model: in float64.
        loss: of the network.
        blocks: its scale-invariant rows.
    """

    def __init__(self, model: nn.Module, loss: Callable[[Any], Tensor], blocks: Collection[Block]) -> None:
        self.model, self.loss = model, loss
        self.weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.blocks = [block for block in blocks if block.keys() <= self.weights.keys()]
        self.start = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self.slope = self.slope_at(self.start)

    def slope_at(self, point: Tensors) -> dict[str, Tensor]:
        """∇L."""
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(point[name])
        loss = self.loss(self.model)
        found = torch.autograd.grad(loss, [*self.weights.values()], allow_unused=True, materialize_grads=True)
        return {name: each.to_dense().detach() for name, each in zip(self.weights, found, strict=True)}

    def slope_along(self, direction: Tensors, length: float) -> dict[str, Tensor]:
        """∇L at a distance along a direction."""
        return self.slope_at({name: own + length * direction[name] for name, own in self.start.items()})

    def descended(self, slope: Tensors) -> dict[str, Tensor]:
        """θ − lr g."""
        return {name: own - LR * slope[name] for name, own in self.start.items()}


def _sgd(plain: Plain) -> dict[str, Tensor]:
    return plain.descended(plain.slope)


def _sam(plain: Plain) -> dict[str, Tensor]:
    """The gradient at θ + ρ g/‖g‖."""
    return _climbed(plain, {name: torch.ones_like(own) for name, own in plain.start.items()})


def _asam(plain: Plain) -> dict[str, Tensor]:
    """The gradient at θ + ρ T²g/‖T g‖, where T is |θ| + η, but 1 for vectors."""
    scales = {name: own.abs() + ETA if own.ndim > 1 else torch.ones_like(own) for name, own in plain.start.items()}
    return _climbed(plain, scales)


def _climbed(plain: Plain, scales: Tensors) -> dict[str, Tensor]:
    scaled = {name: scales[name] * slope for name, slope in plain.slope.items()}
    top = {name: scales[name] * each for name, each in scaled.items()}
    return plain.descended(plain.slope_along(top, RHO / (_length(scaled) or 1.0)))


def _sgds(plain: Plain) -> dict[str, Tensor]:
    """g + λ (g·v)/δ [∇L(θ + 2δv/3) − ∇L(θ − 2δv/3)], Eq. (15) with its sign, for v along the gradient, Eq. (6)."""
    rest = {name: slope.clone() for name, slope in plain.slope.items()}
    for block in plain.blocks:
        for name, rows in block.items():
            rest[name][rows] = 0
    direction = {name: each / (_length(rest) or 1.0) for name, each in rest.items()}
    for block in plain.blocks:
        length = block_length(plain.slope, block)
        factor = block_length(plain.start, block) / length if length else 0.0
        for name, rows in block.items():
            direction[name][rows] = factor * plain.slope[name][rows]
    along = sum(float((plain.slope[name] * each).sum()) for name, each in direction.items())
    ahead, behind = (plain.slope_along(direction, sign * RADIUS * 2 / 3) for sign in (1, -1))
    factor = COEFFICIENT * along / RADIUS
    return plain.descended({n: slope + factor * (ahead[n] - behind[n]) for n, slope in plain.slope.items()})


def _entropy_sgd(plain: Plain) -> dict[str, Tensor]:
    """Algorithm 1 of Chaudhari et al. without noise."""
    point, mean = dict(plain.start), dict(plain.start)
    for _ in range(INNER):
        slope = plain.slope_at(point)
        point = {n: x - INNER_LR * (slope[n] + SCOPE * (x - plain.start[n])) for n, x in point.items()}
        mean = {name: AVERAGING * mean[name] + (1 - AVERAGING) * x for name, x in point.items()}
    return plain.descended({name: own - mean[name] for name, own in plain.start.items()})


def _length(tensors: Tensors) -> float:
    return float(torch.stack([each.square().sum() for each in tensors.values()]).sum().sqrt())


STEPS: dict[str, Step] = {"sgd": _sgd, "sam": _sam, "asam": _asam, "sgds": _sgds, "entropy-sgd": _entropy_sgd}
