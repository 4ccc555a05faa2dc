"""One arithmetic for a whole run: what a network's code casts to float32 stays float64 in a float64 run.

Norms are often written as ``norm(x.float()).to(x.dtype)``, and hidden states begin as ``torch.zeros(…)`` of the default
type. Both are there to serve the precision of training; in a float64 run they would round, or not fit the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

_NARROW = {torch.float32, torch.float16, torch.bfloat16}
_CASTS = {Tensor.float, Tensor.half, Tensor.bfloat16}
_ACCESS = {"__get__", "__set__", "__setitem__", "view"}


class Arithmetic:
    """The arithmetic of one run, which the first floating tensor that it computes with tells."""

    def __init__(self) -> None:
        self._dtype: torch.dtype | None = None

    def adapted(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        """The call to make instead: casts, types and tensors below float64 raised to it in a float64 run."""
        if self._dtype is None and not _accesses(function):
            self._dtype = next((tensor.dtype for tensor in _floating((args, kwargs))), None)
        if self._dtype is not torch.float64 or _in_place(function, kwargs):
            return function, args, kwargs
        if function in _CASTS:
            return Tensor.double, args, {}
        return function, _mapped(args, _raised), _mapped(kwargs, _raised)

    def result(self, function: Any, kwargs: dict[str, Any], returned: Any) -> Any:
        """What the call gave, raised likewise: new tensors have the default type."""
        if self._dtype is not torch.float64 or _in_place(function, kwargs) or not isinstance(returned, Tensor):
            return returned
        return _raised(returned)


def _accesses(function: Any) -> bool:
    return getattr(function, "__name__", "") in _ACCESS


def _in_place(function: Any, kwargs: dict[str, Any]) -> bool:
    """Whether the call concerns this very tensor rather than its value."""
    name = getattr(function, "__name__", "")
    return (name.endswith("_") and not name.endswith("__")) or _accesses(function) or "out" in kwargs


def _raised(value: Any) -> Any:
    if isinstance(value, torch.dtype):
        return torch.float64 if value in _NARROW else value
    return value.double() if isinstance(value, Tensor) and value.dtype in _NARROW else value


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    if type(value) in {list, tuple}:
        return type(value)(_mapped(entry, change) for entry in value)
    if isinstance(value, dict):
        return {key: _mapped(entry, change) for key, entry in value.items()}
    return change(value)


def _floating(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _floating(entry)
    elif isinstance(value, dict):
        yield from _floating(list(value.values()))
