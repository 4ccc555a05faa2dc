"""Inputs that are no images: sound, volumes, tables, graphs of which a batch is one object. docs/inputs.md has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.border import whole_batches
from tests.border.oracle import Block
from tests.border.row import WHOLE_BATCHES, Row


class Sound(nn.Sequential):
    """A wave of one channel, (N, 1, T)."""

    def __init__(self) -> None:
        first = (nn.Conv1d(1, 6, 5, stride=2, bias=False), nn.BatchNorm1d(6), nn.Tanh())
        super().__init__(*first, nn.AdaptiveAvgPool1d(3), nn.Flatten(), nn.Linear(18, 3))


class Volume(nn.Sequential):
    """Grey volumes, (N, 1, D, H, W)."""

    def __init__(self) -> None:
        first = (nn.Conv3d(1, 4, 3, bias=False), nn.BatchNorm3d(4), nn.Tanh())
        super().__init__(*first, nn.AdaptiveAvgPool3d(2), nn.Flatten(), nn.Linear(32, 3))


class Table(nn.Module):
    """Rows of numbers, (N, columns), and one number to predict."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(7, 9), nn.Tanh(), nn.Linear(9, 1))

    def forward(self, rows: Tensor) -> Tensor:
        return self.layers(rows).squeeze(1)


@dataclass
class Graph:
    """Some graphs as one object, as torch_geometric's ``Batch`` is."""

    x: Tensor
    edge_index: Tensor
    batch: Tensor


class OfGraph(whole_batches.Graphs):
    """Message passing on such an object."""

    def forward(self, graph: Graph) -> Tensor:  # type: ignore[override]  # one argument in place of three
        return super().forward(graph.x, graph.edge_index, graph.batch)


def _rows(name: str, count: int) -> tuple[Block, ...]:
    return tuple({name: slice(row, row + 1)} for row in range(count))


def _classified(make: Callable[[], nn.Module], shape: tuple[int, ...], blocks: tuple[Block, ...]) -> Row:
    torch.manual_seed(0)
    model, generator = make(), torch.Generator().manual_seed(4)
    data = [
        (torch.randn(24, *shape, generator=generator), torch.randint(3, (24,), generator=generator)) for _ in range(2)
    ]
    return Row(model, data, blocks=blocks)


def _table() -> Row:
    torch.manual_seed(0)
    model, generator = Table(), torch.Generator().manual_seed(4)
    data = [(torch.randn(24, 7, generator=generator), torch.randn(24, generator=generator)) for _ in range(2)]
    loss = functional.mse_loss
    return Row(model, data, loss, lambda network, x, y: loss(network(x), y), blocks=())


def _graph() -> Row:
    case = whole_batches.graphs()
    model = OfGraph()
    model.load_state_dict(case.model.state_dict())

    def plain(network: nn.Module, graph: Any, y: Tensor) -> Tensor:
        return functional.cross_entropy(network(Graph(graph.x.double(), graph.edge_index, graph.batch)), y)

    data = [(Graph(*parts), y) for parts, y in case.batches]
    return Row(model, data, plain=plain, blocks=tuple(case.blocks), command=WHOLE_BATCHES)


ROWS_OF_INPUTS: dict[str, Callable[[], Row]] = {
    "sound": lambda: _classified(Sound, (1, 40), _rows("0.weight", 6)),
    "volumes": lambda: _classified(Volume, (1, 6, 6, 6), _rows("0.weight", 4)),
    "rows of a table": _table,
    "graphs as one object": _graph,
}
