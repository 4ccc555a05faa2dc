"""Passes at points that are never held whole, and gradients without a second copy of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from bnsharp_cli.core.point import Point, Vector
from bnsharp_cli.core.row_points import RowPoint
from bnsharp_cli.measurement.surface.data_stream import Batch
from bnsharp_cli.measurement.surface.foreign_errors import NO_GRADIENT, accepting, require_graph
from bnsharp_cli.measurement.surface.passes import Passes
from bnsharp_cli.measurement.surface.row_weights import RowWeights

MakeWeight = Callable[[], Tensor]


@dataclass(frozen=True)
class RowPasses(Passes):
    """Passes whose parameters are a :class:`RowPoint`, handed out as the network asks for them.

    Attributes:
        weights: the network's own, all that can be varied.
        stand_in: what the network has instead of every weight while it runs.
        used: the names of parameters that any pass used; added to.
        collected: what gradients are added to; None for passes without.
    """

    weights: Point = field(default_factory=dict)
    stand_in: float = math.nan
    used: set[str] | None = None
    collected: GradientByWeight | None = None

    def cast(self, point: Point) -> Point:
        """The point itself: what the network gets of it is computed in its precision."""
        return point

    def add_gradient(self, parameters: RowPoint, batch: Batch, total: Vector) -> Tensor:
        """The batch's loss, whose gradient is added to ``total``: to the tensors of the parameters that it has.

        Raises:
            NotMeasurableError: autograd finds no way from the loss back to the parameters.
        """
        collected = GradientByWeight(total)
        passes = RowPasses(**{**vars(self), "collected": collected})
        with torch.enable_grad(), saved_tensors_hooks(collected.packed, _unpacked):
            loss = passes.loss(parameters, batch)
        if collected.used or not self.constants:
            require_graph(loss)
            with accepting("The network cannot be differentiated", NO_GRADIENT):
                torch.autograd.grad(loss, [collected.anchor], allow_unused=True)
        return loss.detach()

    def _state(self, parameters: Point) -> Point:
        """Stand-ins, which every call gets exchanged; a number with the shape of a weight takes no memory."""
        del parameters
        return {
            name: torch.full((), self.stand_in, dtype=self.dtype, device=weight.device).expand(weight.shape)
            for name, weight in self.weights.items()
        }

    def _handing(self, module: nn.Module, parameters: Point) -> AbstractContextManager[object]:
        assert isinstance(parameters, RowPoint)
        made = self.collected.weight if self.collected is not None else None
        handing = RowWeights(module, parameters.completed(self.weights), self.dtype, made)
        handing.used = self.used if self.used is not None else set()
        return handing


class GradientByWeight:
    """Adds the gradient of every call to the sum for its weight as soon as autograd has it.

    So the graph holds no weight: autograd is told to keep the name of one instead, and it is computed again for the
    backward pass.

    Args:
        total: the sums, by the names of the weights that have any.

    Attributes:
        anchor: a number that the loss depends on through every weight.
        used: whether any weight with a sum was handed out.
    """

    def __init__(self, total: Vector) -> None:
        self._total = total
        self.anchor = torch.zeros((), requires_grad=True)
        self.used = False
        self._handed: list[tuple[ref[Tensor], MakeWeight]] = []

    def weight(self, name: str, make: MakeWeight) -> Tensor:
        """The weight ``name`` for one call, made by ``make``."""
        made = make()
        self._handed = [pair for pair in self._handed if pair[0]() is not None]
        if name in self._total:
            self.used = True
            made = _Collected.apply(self.anchor, made, partial(self._add, name))
        self._handed.append((ref(made), make))
        return made

    def packed(self, tensor: Tensor) -> Any:
        """What autograd keeps instead of a tensor that it needs for the backward pass."""
        memory = tensor.untyped_storage().data_ptr()
        for known, make in self._handed:
            weight = known()
            if weight is not None and weight.untyped_storage().data_ptr() == memory:
                return make, tensor.shape, tensor.stride(), tensor.storage_offset()
        return tensor

    def _add(self, name: str, gradient: Tensor) -> None:
        self._total[name].add_(gradient)


def _unpacked(kept: Any) -> Tensor:
    if isinstance(kept, Tensor):
        return kept
    make, *geometry = kept
    whole: Tensor = make()
    return whole.as_strided(*geometry)


class _Collected(torch.autograd.Function):
    """A weight whose gradient goes to a function."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, weight: Tensor, collect: Callable[[Tensor], None]) -> Tensor:
        del anchor
        ctx.collect = collect
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, None]:
        ctx.collect(gradient)
        return None, None, None


def zeros_of(point: RowPoint, dtype: torch.dtype, names: Collection[str]) -> Vector:
    """Zeros of the shapes of some tensors of a point."""
    return {name: torch.zeros(point.shapes[name], dtype=dtype, device=point.device) for name in names}
