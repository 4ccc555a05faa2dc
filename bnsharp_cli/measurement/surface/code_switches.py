"""Switches that a network's code sets for training, and that a measurement needs otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.measurement.surface.habits import GraphNeededError, Habits

_DEVICES = ("cpu", "cuda")
_AS_THEY_ARE: dict[Any, dict[str, Any]] = {
    functional.embedding: {"sparse": False, "padding_idx": None, "scale_grad_by_freq": False},
    functional.embedding_bag: {"sparse": False, "scale_grad_by_freq": False},  # its padding_idx changes values
    torch.gather: {"sparse_grad": False},
    Tensor.gather: {"sparse_grad": False},
}
"""What makes a gradient sparse, or another one than the function's."""


def code_switches(function: Any, kwargs: dict[str, Any], habits: Habits) -> dict[str, Any]:
    """The keywords to call ``function`` with instead.

    Gradients of embeddings are dense, and those of the loss: a row of padding has one where the loss depends on it, and
    frequent rows have all of theirs. A derivative that the code takes itself has a graph, whether or not the code asks
    for one outside training: it is a function of the parameters, and so is a loss on it.

    Raises:
        GraphNeededError: the code takes a derivative in a pass without gradients.
        NotMeasurableError: it calls ``backward``, whose result has no graph.
    """
    if function in _AS_THEY_ARE:
        return {name: _AS_THEY_ARE[function].get(name, value) for name, value in kwargs.items()}
    if function is torch.autograd.grad:
        habits.differentiates = True
        if not torch.is_grad_enabled():
            raise GraphNeededError
        return {**kwargs, "create_graph": True, "retain_graph": True}
    if function is Tensor.backward:
        raise NotMeasurableError(
            "The network or its criterion calls backward, whose gradients are no function of the parameters any more.",
            "Call torch.autograd.grad(…, create_graph=True) there.",
            argument="model",
            expected="derivatives that autograd can follow",
        )
    return kwargs


def table_lookup(weight: Tensor, indices: Tensor, *_: Any, **__: Any) -> Tensor:
    """``torch.embedding`` without the row of padding and the frequencies that change its gradient."""
    return functional.embedding(indices, weight)


def autocasts() -> bool:
    """Whether the code has switched autocast on."""
    return torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")


@contextmanager
def without_autocast(habits: Habits) -> Iterator[None]:
    """Switch off the autocast that the code has switched on, for one call; ``habits`` is told of it."""
    before = [device for device in _DEVICES if torch.is_autocast_enabled(device)]
    for device in before:
        habits.narrow.add(str(torch.get_autocast_dtype(device)).removeprefix("torch."))
        torch.set_autocast_enabled(device, False)
    try:
        yield
    finally:
        for device in before:
            torch.set_autocast_enabled(device, True)


def dense(gradients: Iterable[Tensor]) -> list[Tensor]:
    """Gradients, those that torch keeps sparse as ordinary tensors."""
    return [gradient.to_dense() if gradient.layout != torch.strided else gradient for gradient in gradients]
