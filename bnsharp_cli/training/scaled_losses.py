"""Losses that a ``GradScaler`` has scaled, told from losses that are only multiplied by something.

``scaler.scale(loss)`` is the product of the loss and a tensor that holds the scale of the scaler. Autograd keeps the
factors of a product, so the last steps of the graph say whether a loss is scaled, however the scaler was called.
"""

from __future__ import annotations

import gc
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor

_LINEAR = {
    f"{name}Backward{number}"
    for name in ("Mul", "Div", "Add", "Sub", "Neg", "Sum", "Mean", "Stack", "Cat", "Select", "Unbind", "ToCopy", "View")
    for number in range(3)
}
"""What a scaled loss may go through and remain scaled: averages over parts and the like."""

_MOST_SEARCHES = 16
"""Searches of all objects in vain, each a fraction of a second, before factors are taken to change by themselves."""


class _Scalers:
    """The scalers of this process that are known, and the factors that belong to none."""

    def __init__(self) -> None:
        self._known: WeakSet[torch.amp.GradScaler] = WeakSet()
        self._refuted: set[float] = set()
        self._searched_in_vain = 0

    def have(self, scale: float) -> bool:
        """Whether one of them has this scale at present."""
        if not self._one_has(scale) and self._is_worth_a_search(scale):
            self._known.update(one for one in gc.get_objects() if issubclass(type(one), torch.amp.GradScaler))
            if not self._one_has(scale):
                self._refuted.add(scale)
                self._searched_in_vain += 1
        return self._one_has(scale)

    def _one_has(self, scale: float) -> bool:
        return scale != 1 and any(one.is_enabled() and one.get_scale() == scale for one in self._known)

    def _is_worth_a_search(self, scale: float) -> bool:
        """Most factors are shares; scales are far above 1 and only rarely fall below it."""
        in_vain = self._searched_in_vain
        return not in_vain or (scale > 1 and scale not in self._refuted and in_vain < _MOST_SEARCHES)


_SCALERS = _Scalers()


def is_scaled(loss: Tensor) -> bool:
    """Whether a ``GradScaler`` has scaled the loss or a term of it.

    >>> scaler, weight = torch.amp.GradScaler("cpu"), torch.ones((), requires_grad=True)
    >>> is_scaled(weight.square()), is_scaled(scaler.scale(weight.square()) / 2)
    (False, True)
    """
    waiting: list[Any] = [loss.grad_fn]
    seen: set[Any] = set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen or type(node).__name__ not in _LINEAR:
            continue
        seen.add(node)
        if type(node).__name__ == "MulBackward0" and any(
            _is_scale(factor) for factor in (node._saved_self, node._saved_other)
        ):
            return True
        waiting += [following for following, _ in node.next_functions]
    return False


def _is_scale(factor: Any) -> bool:
    """Whether one factor of a product is the scale of a scaler."""
    if not isinstance(factor, Tensor) or factor.ndim or factor.requires_grad or not factor.is_floating_point():
        return False
    return _SCALERS.have(float(factor))
