"""Copies of a network: one that is private to a surface, and as many more as threads run at the same time.

A loss that refers to the network, as a penalty on its weights does, is copied along, so that it sees the copy.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bnsharp_cli.measurement.surface.followed_copy import copied_together
from bnsharp_cli.measurement.surface.habits import Habits
from bnsharp_cli.measurement.surface.stacking import FittingStacks

Answer = TypeVar("Answer")

NOTHING: Mapping[int, Any] = {}


def unwrapped(module: nn.Module) -> nn.Module:
    """The network without what torch.compile and the parallel wrappers put around it."""
    while isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel) or hasattr(module, "_orig_mod"):
        module = cast(nn.Module, getattr(module, "_orig_mod", None) or module.module)
    return module


def private_pair(
    module: nn.Module, criterion: Any, device: torch.device | str, exchange: Mapping[int, Any] = NOTHING
) -> tuple[nn.Module, Any]:
    """A copy of a network in eval mode on ``device``, with a copy of its loss if that refers to the network.

    The copy's parameters need no gradient and share the memory of ``module``'s. Tensors that ``module`` carries with a
    graph behind them, such as the weight that the hook of the old weight norm computes anew in every pass, go along as
    values.

    Args:
        module: the network.
        criterion: its loss.
        device: where the copy is.
        exchange: what the copy takes instead of an object, by the ``id`` of the original.

    Returns:
        The copy, and the loss: the very same one if it does not refer to the network.
    """
    shared: dict[int, Tensor] = {id(p): nn.Parameter(_values(p), requires_grad=False) for p in module.parameters()}
    shared |= {id(tensor): tensor.detach() for tensor in _attributes(module) if not tensor.is_leaf}
    others = (*module.buffers(), *_attributes(module))
    shared |= {id(tensor): tensor for tensor in others if tensor.layout is not torch.strided}  # torch cannot copy all
    own, follower = copied_together(module, criterion, {**exchange, **shared})
    return own.eval().to(device=device), follower


def _values(parameter: Tensor) -> Tensor:
    """Its numbers, in memory of their own where they were made in inference mode: those never have a gradient."""
    return parameter.detach().clone() if parameter.is_inference() else parameter.detach()


def _attributes(module: nn.Module) -> list[Tensor]:
    """Tensors that modules carry as plain attributes: constants, and what hooks compute from parameters."""
    return [value for part in module.modules() for value in vars(part).values() if isinstance(value, Tensor)]


class _Whole(nn.Module):
    """A network as a submodule, so that its parameters can stay exchanged while the loss is computed."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, use: Callable[[nn.Module], Answer]) -> Answer:
        return use(self.network)


@dataclass(frozen=True)
class PooledCopy:
    """A copy of a network, with the loss that belongs to it.

    Attributes:
        module: the network.
        criterion: the loss.
    """

    module: nn.Module
    criterion: Any

    def with_tensors(self, tensors: Mapping[str, Tensor], use: Callable[[nn.Module], Answer]) -> Answer:
        """``use`` of the network while ``tensors`` are its parameters and buffers."""
        named = {f"network.{name}": tensor for name, tensor in tensors.items()}
        return cast(Answer, functional_call(_Whole(self.module), named, (use,)))


class ModulePool:
    """Copies of one module and its loss, as many as run at the same time.

    The module itself never runs, so that it can be copied at any time. All copies share its tensors.

    Args:
        module: a private copy.
        criterion: the loss; it is copied along if it refers to the network.

    Attributes:
        habits: what the code of the copies was seen to do.
        fitting: how many points at once fitted into memory.
    """

    def __init__(self, module: nn.Module, criterion: Any = None) -> None:
        self.criterion, self.habits, self.fitting = criterion, Habits(), FittingStacks()
        self._module = module
        self._idle: deque[PooledCopy] = deque()
        self._shared = {id(t): t for t in (*module.parameters(), *module.buffers(), *_attributes(module))}

    @cached_property
    def criterion_follows(self) -> bool:
        """Whether the loss refers to the network, so that each copy has one of its own."""
        with self.copy() as one:
            return one.criterion is not self.criterion

    @contextlib.contextmanager
    def copy(self) -> Iterator[PooledCopy]:
        """A copy of the module that no other thread uses meanwhile."""
        try:
            chosen = self._idle.pop()
        except IndexError:
            chosen = PooledCopy(*copied_together(self._module, self.criterion, self._shared))
        try:
            yield chosen
        finally:
            self._idle.append(chosen)
