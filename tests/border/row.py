"""One thing that people hand in, with the same loss in plain float64 code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._pytree import tree_map

from bnsharp_cli.measurement.surface.random_numbers import common_random_numbers
from tests.border.networks import ROWS
from tests.border.oracle import Block

BODY: list[Block] = [{name: slice(row, row + 1)} for name in ROWS for row in range(16)]

SEVERAL_INPUTS = "an example of the command's data has one input, which is a tensor or an image"
WHOLE_BATCHES = "the command's data are examples, of which it makes batches itself"


@dataclass(frozen=True)
class Row:
    """One thing that is handed in.

    Attributes:
        model: a network.
        batches: what people call batches.
        criterion: their loss.
        plain: the same of a network, inputs and targets in float64, written independently.
        blocks: the rows that are scale-invariant together.
        options: further arguments of every entry point.
        averages: whether the loss averages over examples, so that batches count by their sizes.
        reference: the network in plain code, where it is another.
        pairs: the batches as inputs and targets, where they are handed in otherwise.
        flat: whether the loss is zero everywhere, so that no verdict on invariance is possible.
        command: why the command cannot take it; empty where it can.
    """

    model: nn.Module
    batches: Any
    criterion: Callable[[Any, Any], Any] = functional.cross_entropy
    plain: Callable[[nn.Module, Any, Any], Tensor] | None = None
    blocks: tuple[Block, ...] = tuple(BODY)
    options: tuple[tuple[str, Any], ...] = ()
    averages: bool = True
    reference: nn.Module | None = None
    pairs: list[Any] | None = None
    flat: bool = False
    command: str = ""

    @property
    def known(self) -> nn.Module:
        """The network of plain code."""
        return self.reference or self.model

    def loss(self, model: nn.Module) -> Tensor:
        """L in float64; every batch has random numbers of its own, the same in each pass."""
        plain = self.plain or (lambda network, x, y: functional.cross_entropy(network(x), y))
        data = self.pairs or self.batches
        sizes = [len(targets) if self.averages else 1 for _, targets in data]
        losses = []
        for number, batch in enumerate(data):
            with common_random_numbers(number):
                losses.append(plain(model, *map(_precise, batch)))
        return torch.stack([size * loss for size, loss in zip(sizes, losses, strict=True)]).sum() / sum(sizes)


def _precise(tree: Any) -> Any:
    """The tensors in float64; an object that holds tensors is for the plain loss of its row."""
    return tree_map(
        lambda leaf: leaf.double().clone() if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf, tree
    )
