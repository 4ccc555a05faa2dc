"""Training rules: one small class each, driven by a closure, usable in anyone's loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Closure = Callable[[], Tensor]
"""Evaluates the loss of a batch at the present parameters, leaves its gradient in ``.grad`` and returns it."""


@dataclass(frozen=True)
class RuleOptions:
    """What single rules take beside the learning rate, momentum and weight decay of all."""


class Sgd(torch.optim.SGD):
    """Stochastic gradient descent with momentum and L2 weight decay.

    Args:
        module: whose parameters are trained.
        lr: the step size, positive.
        momentum: in [0, 1).
        weight_decay: the factor of the parameters that is added to the gradient.
        nesterov: use Nesterov's momentum.
        clip_gradient: the longest gradient, without weight decay, that is not shortened; None for any.
    """

    gradients_per_step = 1
    batches_per_step = 1

    def __init__(
        self,
        module: nn.Module,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        clip_gradient: float | None = None,
    ) -> None:
        super().__init__(module.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov)
        self._module = module
        self._clip = clip_gradient

    def step(self, closure: Closure) -> Tensor:  # type: ignore[override]  # torch's own closure may be left out
        """Change the parameters once; return the loss before the change, a scalar."""
        with torch.enable_grad():
            loss = closure()
        if self._clip is not None:
            nn.utils.clip_grad_norm_(self._module.parameters(), self._clip)
        super().step()
        return loss.detach()

    def end_epoch(self) -> None:
        """Advance what grows by the epoch, which here is nothing."""


RULES: dict[str, type[Sgd]] = {"sgd": Sgd}
