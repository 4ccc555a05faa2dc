"""Sharpness-aware minimisation, the baselines that a user would pick today: two gradients a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from bnsharp_cli.core.point import OnDemand, Point, norm
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.training.detour import Detour, RandomState
from bnsharp_cli.training.registry import SamOptions
from bnsharp_cli.training.rules import Closure, Rule


class Sam(Rule):
    """SAM (Foret et al., ICLR 2021): the gradient at θ + ρ ∇L/‖∇L‖.

    Args:
        module: what to train.
        lr: the step size.
        rho: ρ, the radius of the ball in parameter space.
        **of_sgd: momentum, weight_decay, nesterov.
    """

    gradients_per_step = 2

    def __init__(self, module: nn.Module, lr: float, *, rho: float = 0.05, **of_sgd: Any) -> None:
        super().__init__(module, lr, **of_sgd)
        self.rho = rho

    @classmethod
    def from_options(cls, module: nn.Module, options: SamOptions, blocks: Callable[[], Blocks], **of_sgd: Any) -> Self:
        """See :meth:`Rule.from_options`."""
        del blocks
        radius = {} if options.rho is None else {"rho": options.rho}
        return cls(module, **radius, **of_sgd)

    def _step(self, closures: list[Closure]) -> Tensor:
        start = RandomState(self.module)
        loss = self._plain_pass(closures[0])
        with Detour(self, start) as detour:
            gradient = detour.take_gradient()
            detour.displace(*self._ascent(detour.origin, gradient))
            del gradient
            detour.add_gradient(closures[0])
        self._descend()
        return loss

    def _ascent(self, theta: Point, gradient: Point) -> tuple[Mapping[str, Tensor], float]:
        """A direction, and how far along it."""
        del theta
        return gradient, _over(self.rho, norm(gradient))


class Asam(Sam):
    """ASAM (Kwon et al., ICML 2021), invariant to rescaling each weight: θ + ρ T²∇L/‖T∇L‖, T = |θ| + η.

    T is 1 for parameters of fewer than two dimensions: biases and what norms carry. (The authors' code goes by names
    and scales the weights of norms as well.)

    Args:
        module: what to train.
        lr: the step size.
        rho: ρ, relative to the weights.
        eta: η.
        **of_sgd: momentum, weight_decay, nesterov.
    """

    def __init__(self, module: nn.Module, lr: float, *, rho: float = 0.5, eta: float = 0.01, **of_sgd: Any) -> None:
        super().__init__(module, lr, rho=rho, **of_sgd)
        self.eta = eta

    def _ascent(self, theta: Point, gradient: Point) -> tuple[Mapping[str, Tensor], float]:
        scaled = OnDemand(theta, lambda name: self._scale(theta[name]) * gradient[name])
        length = float(torch.stack([tensor.square().sum() for tensor in scaled.values()]).sum().sqrt())
        return OnDemand(theta, lambda name: self._scale(theta[name]) * scaled[name]), _over(self.rho, length)

    def _scale(self, weight: Tensor) -> Tensor:
        return weight.abs() + self.eta if weight.ndim > 1 else torch.ones_like(weight)


def _over(radius: float, length: float) -> float:
    return radius / length if length > 0 else 0.0
