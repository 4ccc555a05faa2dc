"""Closures: what they return, what they have to leave to the rule, and the gradient of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.training.agreement import train_together
from bnsharp_cli.training.scaled_losses import is_scaled

A_CLOSURE = "a function that returns a scalar loss with its graph"

LossClosure = Callable[[], Tensor]
"""Computes the loss of a batch at the present parameters, a scalar with its graph."""

GradientWeight = Callable[[float], float]
"""From the loss to the factor of its gradient."""

Differentiate = Callable[[LossClosure, GradientWeight | None], Tensor]
"""Adds the gradient of a closure's loss, times its weight, to ``.grad`` and returns the loss without its graph."""

_LIGHTNING = ("lightning", "pytorch_lightning")
_FOR_LIGHTNING = (
    "With Lightning, set self.automatic_optimization = False in __init__, and in training_step call "
    "self.optimizers().step(closure), where closure returns the loss."
)


def differentiate(closure: LossClosure, weight: GradientWeight | None = None) -> Tensor:
    """Add the gradient of the closure's loss to ``.grad``, times ``weight`` of the loss.

    Returns:
        The loss without its graph, averaged over the processes that train together.

    Raises:
        UsageError: the closure does not return a scalar with a graph.
    """
    known, weighted = weighted_loss(closure, weight)
    weighted.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return known


def weighted_loss(closure: LossClosure, weight: GradientWeight | None) -> tuple[Tensor, Tensor]:
    """The loss without its graph, averaged over the processes that train together, and the weighted loss with it.

    Raises:
        UsageError: the closure does not return a scalar with a graph.
    """
    loss = require_loss(closure())
    known = loss.detach().clone()
    if train_together():
        torch.distributed.all_reduce(known)
        known /= torch.distributed.get_world_size()
    return known, loss if weight is None else weight(float(known)) * loss


def require_loss(loss: object) -> Tensor:
    """What a closure returned, if it is a loss.

    Raises:
        UsageError: it is not a scalar with a graph.
    """
    if not isinstance(loss, Tensor) or loss.ndim or loss.grad_fn is None:
        raise UsageError(
            "The closure did not return a scalar loss with its graph.",
            "Return criterion(model(inputs), targets); the rule itself calls backward.",
            argument="closure",
            expected=A_CLOSURE,
            found=type(loss).__name__,
        )
    return loss


def guarded(closure: LossClosure, parameters: Iterable[Tensor]) -> LossClosure:
    """The closure, refused if it changes ``.grad`` or returns a scaled loss: the step would be silently wrong.

    Args:
        closure: the user's.
        parameters: whose gradients it has to leave alone.
    """
    watched = [*parameters]

    def run() -> Tensor:
        before = _gradients(watched)
        loss = closure()
        for (old, version), (new, present) in zip(before, _gradients(watched), strict=True):
            if new is not old or present != version:
                called = "zero_grad" if new is None else "backward"
                raise UsageError(
                    f"The closure called {called}.",
                    _FOR_LIGHTNING if _is_lightnings(closure) else "Leave zero_grad and backward to the rule.",
                    argument="closure",
                    expected="a function that computes the loss and nothing else",
                )
        if isinstance(loss, Tensor) and is_scaled(loss):
            raise UsageError(
                "The closure scaled the loss by a GradScaler.",
                f"Return the loss itself and give the rule the scaler: {named('scaler')}=scaler.",
                argument="closure",
                expected="a function that returns the loss as it is",
            )
        return loss

    return run


def _gradients(parameters: Iterable[Tensor]) -> list[tuple[Tensor | None, int]]:
    """Every ``.grad`` with the count of the changes made to it."""
    gradients = (parameter.grad for parameter in parameters)
    return [(gradient, 0 if gradient is None else gradient._version) for gradient in gradients]


def _is_lightnings(closure: object) -> bool:
    """Whether Lightning made the closure, to optimise by itself."""
    inner = closure.func if isinstance(closure, partial) else closure
    return str(getattr(inner, "__module__", "")).partition(".")[0] in _LIGHTNING
