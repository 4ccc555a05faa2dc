"""Gradients in mixed precision, for rules that take any number of them in a step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from bnsharp_cli.errors import NotMeasurableError, named

AMP_DTYPES: Mapping[str, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}
_TRIES = 64
"""Halvings of the scale; the first scale is 2¹⁶, and after forty nothing is left of it."""


class FullPrecision:
    """Gradients in the precision of the parameters."""

    def autocast(self) -> AbstractContextManager[object]:
        """The context of a forward pass."""
        return nullcontext()

    def backward(self, loss: Tensor, average: Callable[[], None]) -> None:
        """Add the gradient of ``loss`` to ``.grad``.

        Args:
            loss: a scalar.
            average: averages ``.grad`` over the processes; called once this process's gradient is in it.
        """
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        average()

    def state_dict(self) -> dict[str, Any]:
        """What has to be kept from step to step."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with what :meth:`state_dict` returned."""


class MixedPrecision(FullPrecision):
    """Gradients in bfloat16, or in float16 with a scaled loss, wherever torch's autocast considers it safe.

    The parameters keep their precision. A gradient that overflows in float16 is computed again from the same forward
    pass with half the scale: so a rule gets true gradients only, however many it takes in a step, no step is skipped,
    and running statistics are updated once.

    Args:
        name: in ``AMP_DTYPES``.
        optimizer: the optimiser of the parameters.
        device: where the parameters are.
    """

    def __init__(self, name: str, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        self._dtype = AMP_DTYPES[name]
        self._optimizer = optimizer
        self._device = device
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._dtype is torch.float16)

    def autocast(self) -> AbstractContextManager[object]:
        """See :meth:`FullPrecision.autocast`."""
        # An autocast inside another one keeps its cache of cast weights until the outer one ends: they would be those
        # of the first step in every step.
        return torch.autocast(self._device.type, self._dtype, cache_enabled=False)

    def backward(self, loss: Tensor, average: Callable[[], None]) -> None:
        """See :meth:`FullPrecision.backward`.

        Raises:
            NotMeasurableError: the gradient is not finite at any scale.
        """
        if not self._scaler.is_enabled():
            super().backward(loss, average)
            return
        parameters = [parameter for group in self._optimizer.param_groups for parameter in group["params"]]
        earlier = [parameter.grad for parameter in parameters]
        for _ in range(_TRIES):
            self._optimizer.zero_grad()
            self._scaler.scale(loss).backward(retain_graph=True)  # type: ignore[no-untyped-call]  # torch leaves it untyped
            average()
            scale = self._scaler.get_scale()
            self._scaler.unscale_(self._optimizer)
            self._scaler.update()
            if self._scaler.get_scale() >= scale:
                _add(parameters, earlier)
                return
        raise NotMeasurableError(
            "The gradient is not finite in float16 at any scale.",
            f"Use {named('amp')} bf16.",
            argument="amp",
            expected="a gradient that is finite in float16",
            found="fp16",
        )

    def state_dict(self) -> dict[str, Any]:
        """See :meth:`FullPrecision.state_dict`."""
        return self._scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See :meth:`FullPrecision.load_state_dict`."""
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(state)


def _add(parameters: Iterable[Tensor], gradients: Iterable[Tensor | None]) -> None:
    """Add ``gradients`` to what is in ``.grad``."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)


def choose_precision(name: str | None, optimizer: torch.optim.Optimizer, device: torch.device) -> FullPrecision:
    """The precision of gradients.

    Args:
        name: in ``AMP_DTYPES``; None for that of the parameters.
        optimizer: the optimiser of the parameters.
        device: where the parameters are.
    """
    return FullPrecision() if name is None else MixedPrecision(name, optimizer, device)
