"""Inputs whose first dimension does not count examples, each with the same loss in plain float64 code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._pytree import tree_map

from tests.border.oracle import Block

CLASSES = 3


@dataclass(frozen=True)
class Case:
    """What is handed in.

    Attributes:
        model: a network.
        batches: its batches.
        blocks: the rows that are scale-invariant together.
        counted: whether the first dimension of the inputs has another length than the targets.
    """

    model: nn.Module
    batches: list[tuple[Any, Tensor]]
    blocks: list[Block]
    counted: bool = True

    def loss(self, model: nn.Module) -> Tensor:
        """L in float64."""
        return torch.stack([self._of_batch(model, *batch) for batch in self.batches]).mean()

    def _of_batch(self, model: nn.Module, inputs: Any, targets: Tensor) -> Tensor:
        precise = tree_map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor, inputs)
        if isinstance(precise, dict):
            return functional.cross_entropy(model(**precise), targets)
        return functional.cross_entropy(model(*precise) if isinstance(precise, tuple) else model(precise), targets)


class Graphs(nn.Module):
    """Adds up neighbours, then the nodes of each graph."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.norm, self.head = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
        near = x + torch.zeros_like(x).index_add_(0, edge_index[1], x[edge_index[0]])
        hidden = torch.tanh(self.norm(self.body(near)))
        graphs = int(batch.max()) + 1
        return self.head(torch.zeros(graphs, 8, dtype=hidden.dtype).index_add_(0, batch, hidden) / 5)


class Bags(nn.Module):
    """Means of word vectors; texts in one row, with the place where each begins."""

    def __init__(self, sparse: bool = False) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(30, 6, sparse=sparse)
        self.body, self.norm, self.head = nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8), nn.Linear(8, CLASSES)

    def forward(self, text: Tensor, offsets: Tensor) -> Tensor:
        return self.head(torch.tanh(self.norm(self.body(self.words(text, offsets)))))


class Adjacency(nn.Module):
    """One graph, whose nodes are the samples."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.norm, self.head = nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor, near: Tensor) -> Tensor:
        return self.head(near @ torch.tanh(self.norm(near @ self.body(x))))


class TimeFirst(nn.Module):
    """A recurrent network on (time, samples, features)."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.norm, self.head = nn.GRU(5, 8), nn.BatchNorm1d(8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.recurrent(x)[0][-1]))


def _rows(name: str, count: int = 8) -> list[Block]:
    return [{name: slice(row, row + 1)} for row in range(count)]


def graphs(as_mapping: bool = False) -> Case:
    """Batches of 12 graphs of 4 to 7 nodes."""
    torch.manual_seed(0)
    model, generator = Graphs(), torch.Generator().manual_seed(1)
    return Case(model, [_graphs(generator, as_mapping) for _ in range(2)], _rows("body.weight"))


def _graphs(generator: torch.Generator, as_mapping: bool) -> tuple[Any, Tensor]:
    sizes = torch.randint(4, 8, (12,), generator=generator)
    owner = torch.repeat_interleave(torch.arange(12), sizes)
    starts = sizes.cumsum(0) - sizes
    edges = [torch.randint(int(size), (2, 9), generator=generator) + at for size, at in zip(sizes, starts, strict=True)]
    named = {
        "x": torch.randn(len(owner), 6, generator=generator),
        "edge_index": torch.cat(edges, 1),
        "batch": owner,
    }
    return named if as_mapping else tuple(named.values()), torch.randint(CLASSES, (12,), generator=generator)


def bags(sparse: bool = False) -> Case:
    """Batches of 16 texts of 3 to 8 words."""
    torch.manual_seed(0)
    model, generator, batches = Bags(sparse), torch.Generator().manual_seed(1), []
    for _ in range(2):
        sizes = torch.randint(3, 9, (16,), generator=generator)
        text = torch.randint(30, (int(sizes.sum()),), generator=generator)
        labels = torch.randint(CLASSES, (16,), generator=generator)
        batches.append(((text, sizes.cumsum(0) - sizes), labels))
    return Case(model, batches, [{"words.weight": slice(None)}, *_rows("body.weight")])


def silent_bags() -> Case:
    """As many words as texts, so that a slice of both runs: some texts are empty, others long."""
    torch.manual_seed(0)
    model, generator, batches = Bags(), torch.Generator().manual_seed(1), []
    for _ in range(2):
        text = torch.randint(30, (24,), generator=generator)
        offsets = torch.cat([torch.zeros(12, dtype=torch.long), torch.arange(12)])
        batches.append(((text, offsets), torch.randint(CLASSES, (24,), generator=generator)))
    return Case(model, batches, [{"words.weight": slice(None)}, *_rows("body.weight")], counted=False)


def adjacency() -> Case:
    """One graph of 20 nodes, as a matrix."""
    torch.manual_seed(0)
    model, generator = Adjacency(), torch.Generator().manual_seed(1)
    near = (torch.rand(20, 20, generator=generator) < 0.2).float() + torch.eye(20)
    inputs = (torch.randn(20, 6, generator=generator), near / near.sum(1, keepdim=True))
    labels = torch.randint(CLASSES, (20,), generator=generator)
    return Case(model, [(inputs, labels)], _rows("body.weight"), counted=False)


def time_first() -> Case:
    """Sequences of 11 steps, 16 of them in a batch: eight steps of each run too."""
    torch.manual_seed(0)
    model, generator = TimeFirst(), torch.Generator().manual_seed(1)
    batches = [
        (torch.randn(11, 16, 5, generator=generator), torch.randint(CLASSES, (16,), generator=generator))
        for _ in range(2)
    ]
    return Case(model, batches, [])


CASES: dict[str, Callable[[], Case]] = {
    "graphs": graphs,
    "graphs in a mapping": lambda: graphs(as_mapping=True),
    "bags of words": bags,
    "bags of words, sparse gradients": lambda: bags(sparse=True),
    "bags of which a slice runs": silent_bags,
    "one graph": adjacency,
    "time first": time_first,
}
