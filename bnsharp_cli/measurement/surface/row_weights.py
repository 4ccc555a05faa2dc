"""Hands weights to a network function by function: each is computed for one call, and dropped after it.

The network's own weights are never written to, so there is nothing to restore, whatever a pass ends with. While it runs
it has stand-ins instead of them, NaN in every place and without memory: what is not exchanged, such as the weight of a
scripted part, shows in the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._C import DisableTorchFunction  # the one way around the modes that see every call; it has no public name
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_iter, tree_map

from bnsharp_cli.core.row_points import RowPoint, row_slices
from bnsharp_cli.measurement.surface.weights_watch import rightly_read

_ABOUT_THE_TENSOR = {
    "size", "dim", "ndimension", "numel", "nelement", "element_size", "is_floating_point", "is_complex", "is_signed",
    "is_inference", "get_device", "__len__", "__hash__", "is_tensor", "shape", "dtype", "device", "layout", "ndim",
    "requires_grad", "requires_grad_", "is_leaf", "is_cuda", "is_cpu", "is_meta", "is_sparse", "is_quantized",
    "is_mkldnn", "is_nested", "itemsize", "nbytes", "grad", "grad_fn", "_version",
}  # fmt: skip
"""Functions and attributes that do not depend on the values of a tensor."""

_ARGUMENTS = ("input", "weight", "bias")


class RowWeights(TorchFunctionMode):
    """While it is active, every function of torch gets the weights of a point instead of those of a module.

    The weights of linear layers are taken some rows at a time, and so is a table in which rows are looked up. Any other
    function gets a whole tensor, which lives as long as that function keeps it.

    In a narrow ``dtype`` such as bfloat16, the calls that take a weight are computed in float32 and rounded: a small
    change of a weight would be lost in the weight itself.

    Args:
        module: whose weights are stand-ins, which every function gets exchanged.
        point: the weights that are handed out instead.
        dtype: the precision of the run.
        differentiable: makes a weight whose gradient is kept, from its name and its values; None for none.

    Attributes:
        used: the names of the weights that were handed out.
    """

    def __init__(
        self,
        module: nn.Module,
        point: RowPoint,
        dtype: torch.dtype,
        differentiable: Callable[[str, Callable[[], Tensor]], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self._names = {id(tensor): name for name, tensor in module.named_parameters() if name in point.shapes}
        self._weights = point
        self._dtype, self._precision = dtype, handed_precision(dtype)
        self._differentiable = differentiable
        self.used: set[str] = set()

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call ``func`` with the weights of the point."""
        del types
        kwargs = kwargs or {}
        own = [self._names[id(leaf)] for leaf in tree_iter((args, kwargs)) if id(leaf) in self._names]
        if not own:
            return func(*args, **kwargs)
        if _asks_about(func):
            with DisableTorchFunction():  # the others would convert the weight first
                return func(*args, **kwargs)
        self.used.update(own)
        answer = self._by_rows(func, args, kwargs)
        if answer is None:
            answer = func(*tree_map(self._handed, args), **tree_map(self._handed, kwargs))
        return answer if self._precision == self._dtype else tree_map(self._rounded, answer)

    def _by_rows(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
        """What ``func`` answers where it needs some rows of its weight at a time; None for any other call."""
        if func not in {functional.linear, functional.embedding} or self._differentiable is not None:
            return None
        call = {**dict(zip(_ARGUMENTS, args, strict=False)), **kwargs}
        name = self._names.get(id(call.get("weight")))
        if name is None or len(row_slices(self._weights.shapes[name])) == 1:
            return None
        if func is functional.linear:
            return self._linear(name, self._handed(call["input"]), self._handed(call.get("bias")))
        plain = len(args) <= 2 and call.get("max_norm") is None  # torch's own code calls it with keywords
        usable = plain and _inside(call["input"], self._weights.shapes[name][0])
        return self._looked_up(name, call["input"]) if usable else None

    def _linear(self, name: str, inputs: Tensor, bias: Tensor | None) -> Tensor | None:
        """W x + b, some rows of W at a time."""
        answer: Tensor | None = None
        for rows in row_slices(self._weights.shapes[name]):
            part = functional.linear(inputs, self._piece(name, rows), None if bias is None else bias[rows])
            if answer is None:
                answer = part.new_empty((*part.shape[:-1], self._weights.shapes[name][0]), dtype=self._dtype)
            answer[..., rows] = part
        return answer

    def _looked_up(self, name: str, inputs: Tensor) -> Tensor:
        """The rows of a table that ``inputs`` are the numbers of."""
        with DisableTorchFunction():
            wanted, places = torch.unique(inputs, return_inverse=True)
            table = torch.empty(
                len(wanted), *self._weights.shapes[name][1:], dtype=self._precision, device=inputs.device
            )
            numbers = wanted.cpu()
            for rows in row_slices(self._weights.shapes[name]):
                first, last = torch.searchsorted(numbers, torch.tensor([rows.start, rows.stop])).tolist()
                if first < last:
                    table[first:last] = self._piece(name, rows)[wanted[first:last] - rows.start]
        return functional.embedding(places, table)

    def _piece(self, name: str, rows: slice) -> Tensor:
        with _unwatched():
            return self._weights.piece(name, rows).to(self._precision)

    def whole(self, name: str) -> Tensor:
        """A weight as it is handed out."""
        with _unwatched():
            return self._weights.whole(name, self._precision)

    def _handed(self, value: Any) -> Any:
        """An argument of a call as the call gets it."""
        name = self._names.get(id(value))
        if name is None:
            wide = isinstance(value, Tensor) and value.dtype == self._dtype
            return value.to(self._precision) if wide else value
        if self._differentiable is None:
            return self.whole(name)
        return self._differentiable(name, lambda: self.whole(name))

    def _rounded(self, value: Any) -> Any:
        wide = isinstance(value, Tensor) and value.dtype == self._precision
        return value.to(self._dtype) if wide else value


def handed_precision(dtype: torch.dtype) -> torch.dtype:
    """The precision of weights in a run in ``dtype``: at least float32."""
    return dtype if dtype in {torch.float32, torch.float64} else torch.float32


@contextmanager
def _unwatched() -> Iterator[None]:
    """Values are computed as they are, whatever sees or changes the calls of the network."""
    with DisableTorchFunction(), rightly_read(), torch.no_grad():
        yield


def _asks_about(func: Any) -> bool:
    attribute = getattr(func, "__self__", None) if getattr(func, "__name__", "") == "__get__" else func
    return getattr(attribute, "__name__", "") in _ABOUT_THE_TENSOR


def _inside(numbers: Tensor, rows: int) -> bool:
    """Whether all are numbers of rows."""
    return bool(numbers.numel()) and int(numbers.min()) >= 0 and int(numbers.max()) < rows
