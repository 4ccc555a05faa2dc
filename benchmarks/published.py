"""Worst-case sharpness as published by others, implemented here from their papers.

Andriushchenko, Croce, Müller, Hein, Flammarion (ICML 2023), "A modern look at the relationship between sharpness and
generalization", with the elementwise normalisation of Kwon et al. (ICML 2021, "ASAM") and the ascent of Croce & Hein
(ICML 2020, "Auto-PGD"), Algorithm 1.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parameters_to_vector, vector_to_parameters

RADIUS = 0.1
STEPS = 20
_MOMENTUM = 0.75
_SUCCESSES = 0.75


class Ball(Protocol):
    """A ball around the origin of R^n."""

    def steepest(self, gradient: Tensor) -> Tensor:
        """The unit vector of the ball's norm along which a linear function of this gradient grows fastest."""

    def project(self, vector: Tensor) -> Tensor:
        """``vector``, pulled into the ball."""

    def random(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """A random start in the ball."""


@dataclass(frozen=True)
class L2Ball:
    """‖z‖₂ ≤ radius; starts lie on its surface."""

    radius: float

    def steepest(self, gradient: Tensor) -> Tensor:
        """G / ‖g‖."""
        return gradient / gradient.norm().clamp_min(torch.finfo(gradient.dtype).tiny)

    def project(self, vector: Tensor) -> Tensor:
        """Along the ray to the origin."""
        return vector * min(1.0, self.radius / max(float(vector.norm()), torch.finfo(vector.dtype).tiny))

    def random(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Uniform on the sphere."""
        return self.radius * self.steepest(torch.randn(like.shape, generator=generator, dtype=like.dtype))


@dataclass(frozen=True)
class LInfBall:
    """max |z_i| ≤ radius; starts are uniform in it."""

    radius: float

    def steepest(self, gradient: Tensor) -> Tensor:
        """Sign g."""
        return gradient.sign()

    def project(self, vector: Tensor) -> Tensor:
        """Entry by entry."""
        return vector.clamp(-self.radius, self.radius)

    def random(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Uniform in the box."""
        return self.radius * (2 * torch.rand(like.shape, generator=generator, dtype=like.dtype) - 1)


BALLS: dict[str, type[L2Ball | LInfBall]] = {"l2": L2Ball, "linf": LInfBall}


def worst_case_sharpness(
    module: nn.Module,
    batches: Sequence[tuple[Tensor, Tensor]],
    criterion: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy,
    *,
    norm: str = "linf",
    adaptive: bool = True,
    radius: float = RADIUS,
    steps: int = STEPS,
    seed: int = 0,
) -> float:
    r"""The mean over batches B of :math:`\max_{‖ε ⊘ c‖_p ≤ ρ} L_B(w + ε) - L_B(w)`, a lower bound by ascent.

    Each batch costs 1 + 2 · ``steps`` forwards and ``steps`` backwards: the loss at w, and at every step a gradient and
    the loss of the new iterate. The ascent runs in z = ε ⊘ c, where the ball is a ball; entries with c = 0 stay.

    Args:
        module: a network, left as it is.
        batches: pairs of inputs and targets.
        criterion: mean loss of a batch.
        norm: ``l2`` or ``linf``.
        adaptive: c = \|w\| entry by entry, or else c = 1.
        radius: ρ.
        steps: of the ascent.
        seed: of the random starts.
    """
    private = copy.deepcopy(module)
    parameters = list(private.parameters())
    centre = parameters_to_vector(parameters).detach().clone()
    weights = centre.abs() if adaptive else torch.ones_like(centre)
    generator = torch.Generator().manual_seed(seed)
    ball = BALLS[norm](radius)
    gains = []
    for inputs, targets in batches:

        def loss(z: Tensor, inputs: Tensor = inputs, targets: Tensor = targets) -> Tensor:
            vector_to_parameters(centre + weights * z, parameters)
            return criterion(private(inputs), targets)

        def slope(z: Tensor, loss: Callable[[Tensor], Tensor] = loss) -> Tensor:
            gradients = torch.autograd.grad(loss(z), parameters)
            return weights * torch.cat([gradient.flatten() for gradient in gradients])

        gains.append(
            _auto_pgd(loss, slope, ball, ball.random(centre.cpu(), generator).to(centre.device), 2 * radius, steps)
        )
    return math.fsum(gains) / len(gains)


@torch.no_grad()
def _auto_pgd(
    loss: Callable[[Tensor], Tensor],
    slope: Callable[[Tensor], Tensor],
    ball: Ball,
    start: Tensor,
    step: float,
    steps: int,
) -> float:
    """Max loss − loss(0) by Algorithm 1 of Croce & Hein: momentum, and a step that is halved at checkpoints."""
    clean = best_value = float(loss(torch.zeros_like(start)))
    best = torch.zeros_like(start)
    previous = current = start
    last, successes, checked, unchanged = -math.inf, 0, 0, (math.nan, math.nan)
    checkpoints = _checkpoints(steps)
    for iteration in range(1, steps + 1):
        with torch.enable_grad():
            gradient = slope(current)
        ahead = ball.project(current + step * ball.steepest(gradient))
        mixed = current + _MOMENTUM * (ahead - current) + (1 - _MOMENTUM) * (current - previous)
        previous, current = current, ahead if iteration == 1 else ball.project(mixed)
        value = float(loss(current))
        successes += value > last
        last = value
        if value > best_value:
            best_value, best = value, current
        if iteration in checkpoints:
            stuck = successes < _SUCCESSES * (iteration - checked) or unchanged == (step, best_value)
            unchanged, successes, checked = (step, best_value), 0, iteration
            if stuck:
                step, previous, current, last = step / 2, best, best, best_value
    return best_value - clean


def _checkpoints(steps: int) -> set[int]:
    """⌈p_j · steps⌉ with p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j − p_{j−1} − 0.03, 0.06)."""
    fractions = [0.0, 0.22]
    while fractions[-1] < 1:
        fractions.append(fractions[-1] + max(fractions[-1] - fractions[-2] - 0.03, 0.06))
    return {math.ceil(fraction * steps) for fraction in fractions[1:]}
