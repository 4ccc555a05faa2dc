"""Training rules: one small class each, driven by a closure, usable in anyone's loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import torch
from torch import Tensor

Closure = Callable[[], Tensor]


class Rule(Protocol):
    """How one step changes the parameters.

    A closure evaluates the loss of the step's batch at the present parameters, leaves its gradient in ``.grad``
    and returns it; a rule calls it as often as it needs gradients.
    """

    gradients_per_step: int

    def step(self, closure: Closure) -> Tensor:
        """Change the parameters once; return the loss before the change, a scalar."""

    def set_learning_rate(self, learning_rate: float) -> None:
        """Use another learning rate from the next step on."""


class Sgd:
    """Stochastic gradient descent with momentum and L2 weight decay, as ``torch.optim.SGD``.

    Args:
        parameters: what to train.
        learning_rate: the step size, positive.
        momentum: in [0, 1).
        weight_decay: the factor of the parameters that is added to the gradient.
        nesterov: use Nesterov's momentum.
    """

    gradients_per_step = 1

    def __init__(
        self,
        parameters: Iterable[Tensor],
        learning_rate: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        self._optimizer = torch.optim.SGD(
            parameters, lr=learning_rate, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov
        )

    def step(self, closure: Closure) -> Tensor:
        """One gradient, one step; returns the loss before it."""
        loss = closure()
        self._optimizer.step()
        return loss.detach()

    def set_learning_rate(self, learning_rate: float) -> None:
        """Use another learning rate from the next step on."""
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate


RULES: dict[str, type[Sgd]] = {"sgd": Sgd}
