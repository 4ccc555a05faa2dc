"""A run stays in its precision: whatever a network's code casts to a narrower type is promoted again.

Norms are often written as ``norm(x.float()).to(x.dtype)``, hidden states begin as ``torch.zeros(…)`` of the default
type, and losses keep class weights in float32. In a float64 run they would round, or not fit the weights. Parts that a
network computes in half precision serve the speed of training; in the loss surface they would be steps, beside which a
difference of losses says nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_iter, tree_map

from bnsharp_cli.measurement.surface.habits import Habits

HALVES = tuple(
    found
    for name in ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")
    if isinstance(found := getattr(torch, name, None), torch.dtype)
)
"""Types with fewer digits than float32."""

_WIDE: dict[torch.dtype, dict[torch.dtype, torch.dtype]] = {
    torch.float32: {**dict.fromkeys(HALVES, torch.float32), torch.complex32: torch.complex64},
    torch.float64: {
        **dict.fromkeys((torch.float32, *HALVES), torch.float64),
        **dict.fromkeys((torch.complex64, torch.complex32), torch.complex128),
    },
}
"""What narrower types become, by the precision of the run."""

_CASTS: dict[Any, torch.dtype] = {
    Tensor.float: torch.float32,
    Tensor.half: torch.float16,
    Tensor.bfloat16: torch.bfloat16,
    Tensor.cfloat: torch.complex64,  # type: ignore[attr-defined]  # stubs lack it
    Tensor.chalf: torch.complex32,
}
_NAMED_TYPES = {"FloatTensor": torch.float32, "HalfTensor": torch.float16, "BFloat16Tensor": torch.bfloat16}
_ACCESS = {"__get__", "__set__", "__setitem__", "view"}


class Promotion:
    """Keeps a run in one precision.

    Args:
        dtype: the precision; None to decide by the first floating tensor that the run computes with.
        habits: told of every type with fewer digits than float32 that the code asked for.
    """

    def __init__(self, dtype: torch.dtype | None = None, habits: Habits | None = None) -> None:
        self._dtype = dtype
        self._habits = habits or Habits()

    def adapted(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        """The call to make instead: with casts, types and tensors promoted."""
        if self._dtype is None and not _accesses(function):
            self._dtype = _first_floating_type((args, kwargs))
        if self._dtype not in _WIDE or _in_place(function, kwargs):
            return function, args, kwargs
        if function in _CASTS:
            return Tensor.to, (args[0], self._promoted_leaf(_CASTS[function])), {}
        if function is Tensor.type and len(args) > 1:
            args = (args[0], _type_of_name(args[1]), *args[2:])
        return function, tuple(map(self._promoted, args)), {name: self._promoted(each) for name, each in kwargs.items()}

    def result(self, function: Any, kwargs: dict[str, Any], returned: Any) -> Any:
        """What the call returned, promoted likewise: new tensors have the default type."""
        if self._dtype not in _WIDE or _in_place(function, kwargs) or not isinstance(returned, Tensor):
            return returned
        return self._promoted_leaf(returned)

    def _promoted(self, argument: Any) -> Any:
        """An argument with everything in it promoted; most are single values, which need no walk over a tree."""
        nested = isinstance(argument, list | tuple | dict)
        return tree_map(self._promoted_leaf, argument) if nested else self._promoted_leaf(argument)

    def _promoted_leaf(self, value: Any) -> Any:
        dtype = value.dtype if isinstance(value, Tensor) else value if isinstance(value, torch.dtype) else None
        if self._dtype is None or dtype is None or dtype not in _WIDE[self._dtype]:
            return value
        if dtype in HALVES:
            self._habits.narrow.add(str(dtype).removeprefix("torch."))
        wide = _WIDE[self._dtype][dtype]
        return value.to(wide) if isinstance(value, Tensor) else wide


def _accesses(function: Any) -> bool:
    return getattr(function, "__name__", "") in _ACCESS


def _in_place(function: Any, kwargs: dict[str, Any]) -> bool:
    """Whether the call concerns these very tensors rather than their values."""
    name = getattr(function, "__name__", "")
    in_place = name.endswith("_") and not name.endswith("__")
    return in_place or function is torch.autograd.grad or _accesses(function) or "out" in kwargs


def _type_of_name(value: Any) -> Any:
    """The type that ``torch.FloatTensor``, or its name, stands for in ``tensor.type(…)``; anything else as it is."""
    name = value if isinstance(value, str) else getattr(value, "__name__", "")
    return _NAMED_TYPES.get(name.rpartition(".")[-1], value)


def _first_floating_type(arguments: Any) -> torch.dtype | None:
    tensors = (leaf for leaf in tree_iter(arguments) if isinstance(leaf, Tensor))
    found = next((each.dtype for each in tensors if each.is_floating_point() or each.is_complex()), None)
    return {torch.complex128: torch.float64, torch.complex64: torch.float32}.get(found, found) if found else None
