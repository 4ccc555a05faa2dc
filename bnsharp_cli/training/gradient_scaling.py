"""Gradients by way of a ``GradScaler`` in one's own loop, for rules that take several of them in a step."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.training.agreement import train_together
from bnsharp_cli.training.closures import GradientWeight, LossClosure, differentiate, weighted_loss

_OF_THE_SCALER = ("grad_scale", "found_inf")
"""What ``GradScaler.step`` puts on an optimiser that scales by itself."""


class OverflowedGradientError(Exception):
    """A gradient is not finite at the scale of its pass. The scale is smaller now; the step has to be left out.

    Args:
        loss: that of the pass, without its graph.
    """

    def __init__(self, loss: Tensor) -> None:
        super().__init__("a gradient overflowed")
        self.loss = loss


class ScaledGradients:
    """How a rule takes gradients with a scaler: each pass is scaled, unscaled and checked by itself.

    The scaler is updated after each pass, so its growth interval counts passes. One that is switched off, as torch
    does where there is no CUDA, makes no difference.

    Args:
        scaler: the user's.
        optimizer: the rule.

    Raises:
        UsageError: it is no scaler.
    """

    def __init__(self, scaler: torch.amp.GradScaler, optimizer: torch.optim.Optimizer) -> None:
        if not isinstance(scaler, torch.amp.GradScaler):
            raise UsageError.of_type("scaler", "a torch.amp.GradScaler or None", scaler, "Pass torch.amp.GradScaler().")
        self._scaler, self._optimizer = scaler, optimizer

    def __call__(self, closure: LossClosure, weight: GradientWeight | None = None) -> Tensor:
        """See :func:`~bnsharp_cli.training.closures.differentiate`.

        Raises:
            OverflowedGradientError: ``.grad`` is of no use then.
            UsageError: the closure does not return a scalar with a graph, or weights are in float16.
        """
        if not self._scaler.is_enabled():
            return differentiate(closure, weight)
        loss, weighted = weighted_loss(closure, weight)
        parameters = [parameter for group in self._optimizer.param_groups for parameter in group["params"]]
        _require_range(parameters)
        earlier = [_kept(parameter.grad) for parameter in parameters]
        self._optimizer.zero_grad()
        self._scaler.scale(weighted).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        if any(parameter.grad is not None for parameter in parameters):
            scale = self._scaler.get_scale()
            self._scaler.unscale_(self._optimizer)
            self._scaler.update()
            if self._scaler.get_scale() < scale:
                raise OverflowedGradientError(loss)
        for parameter, gradient in zip(parameters, earlier, strict=True):
            if gradient is not None:
                parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
        return loss


def _kept(gradient: Tensor | None) -> Tensor | None:
    """A gradient that the next pass does not write into, as it may where a parallel wrapper owns the memory."""
    return gradient.clone() if gradient is not None and train_together() else gradient


def _require_range(parameters: Iterable[Tensor]) -> None:
    """Refuse weights whose gradients no scaler can unscale.

    Raises:
        UsageError: some are in float16.
    """
    if any(parameter.dtype is torch.float16 for parameter in parameters):
        raise UsageError.of(
            "scaler",
            "weights in float32",
            "weights in float16",
            "Keep the weights in float32 and run the closure under torch.autocast.",
        )


def require_no_grad_scaler(optimizer: torch.optim.Optimizer) -> None:
    """Refuse a step that ``GradScaler.step`` asks for: it knows nothing of the gradients that a rule will take.

    Args:
        optimizer: the rule, on which the scaler has put its own attributes; they are gone afterwards.

    Raises:
        UsageError: a scaler asks.
    """
    handed = [vars(optimizer).pop(name) for name in _OF_THE_SCALER if name in vars(optimizer)]
    if handed:
        raise UsageError(
            f"{named('scaler')}: scaler.step cannot scale the gradients that {type(optimizer).__name__} takes.",
            f"Give the rule the scaler, {named('scaler')}=scaler, and call rule.step(closure) alone.",
            argument="scaler",
            expected="a scaler that the rule was made with",
            found="scaler.step",
        )
