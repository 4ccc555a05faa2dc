"""Finds the precision that a network really computes in: the narrowest type that its numbers pass through.

Casts and autocast in Python code are promoted (see :mod:`promotion`). What code that is no Python does, such as a
scripted module under autocast, cannot be changed, only seen: then the rounding floor is that of the narrower type.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import NotMeasurableError


class NarrowedTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's class is not typed
    """While it is active, watches for results that are narrower than ``dtype`` and than what they come from.

    Attributes:
        narrowest: the narrowest type of such a result, or None.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # nor is its constructor
        self._bits = torch.finfo(dtype).bits
        self.narrowest: torch.dtype | None = None

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the operator; compare what comes out with what went in."""
        del types
        returned = func(*args, **(kwargs or {}))
        widest = max((torch.finfo(tensor.dtype).bits for tensor in _floating((args, kwargs))), default=0)
        for tensor in _floating(returned):
            narrower = torch.finfo(tensor.dtype).bits < min(widest, self._bits)
            if narrower and (self.narrowest is None or _unit(tensor.dtype) > _unit(self.narrowest)):
                self.narrowest = tensor.dtype
        return returned


def narrowest_type(
    run: Callable[[Point, Tensor], object], point: Point, inputs: Sequence[Tensor], dtype: torch.dtype
) -> torch.dtype | None:
    """The narrowest type that numbers of a network pass through; None if that is ``dtype``, or if it does not run.

    Args:
        run: the network, from parameters and inputs.
        point: parameters.
        inputs: to be tried one after the other until the network takes them: a few, then those of a whole batch.
        dtype: the precision of the run.
    """
    seen = NarrowedTensors(dtype)
    for part in inputs:
        with contextlib.suppress(NotMeasurableError), torch.no_grad(), seen:
            run(point, part)
            break
    return seen.narrowest


def _floating(values: Any) -> Iterator[Tensor]:
    return (each for each in tree_iter(values) if isinstance(each, Tensor) and each.is_floating_point())


def _unit(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps
