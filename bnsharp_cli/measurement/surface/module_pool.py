"""Copies of a network: one that is private to a surface, and as many more as threads run at the same time."""

from __future__ import annotations

import contextlib
import copy
from collections import deque
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from bnsharp_cli.measurement.surface.habits import Habits


def unwrapped(module: nn.Module) -> nn.Module:
    """The network without what torch.compile and the parallel wrappers put around it."""
    while isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel) or hasattr(module, "_orig_mod"):
        module = cast(nn.Module, getattr(module, "_orig_mod", None) or module.module)
    return module


def private_copy(module: nn.Module, device: torch.device | str) -> nn.Module:
    """A copy in eval mode on ``device``; its parameters need no gradient and share the memory of ``module``'s.

    Tensors that ``module`` carries with a graph behind them, such as the weight that the hook of the old weight norm
    computes anew in every pass, go along as values.
    """
    shared: dict[int, Tensor] = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in module.parameters()}
    shared |= {id(tensor): tensor.detach() for tensor in _attributes(module) if not tensor.is_leaf}
    return copy.deepcopy(module, shared).eval().to(device=device)


def _attributes(module: nn.Module) -> list[Tensor]:
    """Tensors that modules carry as plain attributes: constants, and what hooks compute from parameters."""
    return [value for part in module.modules() for value in vars(part).values() if isinstance(value, Tensor)]


class ModulePool:
    """Copies of one module, as many as run at the same time.

    The module itself never runs, so that it can be copied at any time. All copies share its tensors.

    Attributes:
        habits: what the code of the copies was seen to do.
    """

    def __init__(self, module: nn.Module) -> None:
        self.habits = Habits()
        self._module = module
        self._idle: deque[nn.Module] = deque()
        self._shared = {id(t): t for t in (*module.parameters(), *module.buffers(), *_attributes(module))}

    @contextlib.contextmanager
    def module(self) -> Iterator[nn.Module]:
        """A copy of the module that no other thread uses meanwhile."""
        try:
            chosen = self._idle.pop()
        except IndexError:
            chosen = copy.deepcopy(self._module, dict(self._shared))
        try:
            yield chosen
        finally:
            self._idle.append(chosen)
