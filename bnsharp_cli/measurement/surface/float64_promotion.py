"""A float64 run stays float64: whatever a network's code casts to a narrower type is promoted again.

Norms are often written as ``norm(x.float()).to(x.dtype)``, and hidden states begin as ``torch.zeros(…)`` of the default
type. Both serve the precision of training; in a float64 run they would round, or not fit the weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_iter, tree_map

_WIDE = {
    **dict.fromkeys((torch.float32, torch.float16, torch.bfloat16), torch.float64),
    **dict.fromkeys((torch.complex64, torch.complex32), torch.complex128),
}
_CASTS = {
    **{getattr(Tensor, name): "double" for name in ("float", "half", "bfloat16")},
    **{getattr(Tensor, name): "cdouble" for name in ("cfloat", "chalf")},
}
_ACCESS = {"__get__", "__set__", "__setitem__", "view"}


class Float64Promotion:
    """Decides by the first floating tensor that a run computes with whether it is a float64 run, and keeps it one."""

    def __init__(self) -> None:
        self._dtype: torch.dtype | None = None

    def adapted(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        """The call to make instead: in a float64 run with casts, types and tensors promoted to float64."""
        if self._dtype is None and not _accesses(function):
            self._dtype = _first_floating_type((args, kwargs))
        if self._dtype is not torch.float64 or _in_place(function, kwargs):
            return function, args, kwargs
        if function in _CASTS:
            return getattr(Tensor, _CASTS[function]), args, {}
        return function, tuple(map(_promoted, args)), {name: _promoted(value) for name, value in kwargs.items()}

    def result(self, function: Any, kwargs: dict[str, Any], returned: Any) -> Any:
        """What the call returned, promoted likewise: new tensors have the default type."""
        if self._dtype is not torch.float64 or _in_place(function, kwargs) or not isinstance(returned, Tensor):
            return returned
        return _promoted_leaf(returned)


def _accesses(function: Any) -> bool:
    return getattr(function, "__name__", "") in _ACCESS


def _in_place(function: Any, kwargs: dict[str, Any]) -> bool:
    """Whether the call concerns this very tensor rather than its value."""
    name = getattr(function, "__name__", "")
    return (name.endswith("_") and not name.endswith("__")) or _accesses(function) or "out" in kwargs


def _promoted(argument: Any) -> Any:
    """An argument with everything in it promoted; most are single values, which need no walk over a tree."""
    nested = isinstance(argument, list | tuple | dict)
    return tree_map(_promoted_leaf, argument) if nested else _promoted_leaf(argument)


def _promoted_leaf(value: Any) -> Any:
    if isinstance(value, torch.dtype):
        return _WIDE.get(value, value)
    return value.to(_WIDE[value.dtype]) if isinstance(value, Tensor) and value.dtype in _WIDE else value


def _first_floating_type(arguments: Any) -> torch.dtype | None:
    tensors = (leaf for leaf in tree_iter(arguments) if isinstance(leaf, Tensor))
    found = next((each.dtype for each in tensors if each.is_floating_point() or each.is_complex()), None)
    return torch.float64 if found is torch.complex128 else found
