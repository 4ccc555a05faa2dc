"""Weights that act only on samples beyond the first few: their blocks are found all the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from tests.border.oracle import Block, bn_of_blocks

EXPERTS, WIDTH = 12, 5  # more experts than a probe has samples


class Experts(nn.Module):
    """Each sample goes to one expert, which a feature of the sample or a learnt gate chooses; each has a layer norm."""

    def __init__(self, gated: bool = False, transposed: bool = False) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.gate = nn.Linear(EXPERTS, EXPERTS) if gated else None
        self.experts = nn.ModuleList(_expert(transposed) for _ in range(EXPERTS))
        self.head = nn.Linear(WIDTH, 3)
        if self.gate is not None:  # at the network's own weights the gate is the identity
            nn.init.eye_(self.gate.weight)
            nn.init.zeros_(self.gate.bias)

    def forward(self, x: Tensor) -> Tensor:
        scores = x[:, :EXPERTS]
        chosen = (scores if self.gate is None else self.gate(scores)).argmax(1)
        hidden = torch.stack([expert(x) for expert in self.experts])[chosen, torch.arange(len(x))]
        return self.head(torch.tanh(functional.layer_norm(hidden, (WIDTH,), eps=0.0)))


class _Transposed(nn.Module):
    """A transposed convolution before a norm of each output: its blocks lie along the second dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, WIDTH, 3))

    def forward(self, x: Tensor) -> Tensor:
        found = functional.conv_transpose1d(x.reshape(len(x), 2, -1), self.weight)
        return torch.tanh(functional.instance_norm(found, eps=1e-20))[:, :, 3]


def _expert(transposed: bool) -> nn.Module:
    return _Transposed() if transposed else nn.Linear(EXPERTS + 4, WIDTH, bias=False)


def samples() -> list[tuple[Tensor, Tensor]]:
    """Two batches; the first samples go to expert 0, and only the last ones to the others."""
    generator = torch.Generator().manual_seed(0)
    batches = []
    for _ in range(2):
        x = torch.randn(24, EXPERTS + 4, generator=generator)
        x[:, 0] = 30.0
        for expert in range(1, EXPERTS):
            x[-expert, expert] = 60.0
        batches.append((x, torch.randint(3, (24,), generator=generator)))
    return batches


def loss_of(data: Any) -> Any:
    return lambda model: torch.stack([functional.cross_entropy(model(x.double()), y) for x, y in data]).mean()


@pytest.mark.parametrize("gated", [False, True])
def test_experts_that_only_later_samples_reach(gated: bool) -> None:
    model, data = Experts(gated), samples()
    blocks: list[Block] = [{f"experts.{k}.weight": slice(None)} for k in range(EXPERTS)]
    assert bnsharp_cli.find_blocks(model, data).invariant == EXPERTS
    measured = bnsharp_cli.measure(model, data, precision="float64")
    assert measured.value == pytest.approx(bn_of_blocks(model, loss_of(data), blocks), rel=2e-3)
    assert bnsharp_cli.rescale_test(model, data, ball_samples=2).invariant


def test_columns_that_only_later_samples_reach() -> None:
    assert bnsharp_cli.find_blocks(Experts(transposed=True), samples()).invariant == EXPERTS * WIDTH


class Table(nn.Module):
    """Each sample takes a row of a table, which a feature of it chooses; each row is normalised by itself."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.table = nn.Parameter(torch.randn(EXPERTS, WIDTH))
        self.body, self.head = nn.Linear(EXPERTS + 4, WIDTH), nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        gains = functional.layer_norm(self.table[x[:, :EXPERTS].argmax(1)], (WIDTH,), eps=0.0)
        return self.head(torch.tanh(self.body(x / 30) * gains))


class UnitRows(nn.Module):
    """Rows of unit length before a ReLU, wide enough that some are dead on any few samples."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.weight = nn.Parameter(torch.randn(1500, EXPERTS + 4))
        self.head = nn.Linear(1500, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(x @ functional.normalize(self.weight, dim=1, eps=0.0).T) / 30)


@pytest.mark.parametrize(("kind", "weight"), [(Table, "table"), (UnitRows, "weight")])
def test_rows_that_only_later_samples_reach(kind: type[nn.Module], weight: str) -> None:
    model, data = kind(), samples()
    rows = len(model.get_parameter(weight))
    blocks: list[Block] = [{weight: slice(row, row + 1)} for row in range(rows)]
    assert bnsharp_cli.find_blocks(model, data).invariant == rows
    measured = bnsharp_cli.measure(model, data, precision="float64")
    assert measured.value == pytest.approx(bn_of_blocks(model, loss_of(data), blocks), rel=2e-3)


class Limit(nn.Module):
    """Samples beyond a limit take another way; at a probe's own weights the limit lies beyond all samples."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.limit = nn.Parameter(torch.tensor([0.2]))
        self.usual, self.other = (nn.Linear(EXPERTS + 4, WIDTH, bias=False) for _ in range(2))
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.where(x[:, :1] > 50 * self.limit, self.other(x), self.usual(x))
        return self.head(torch.tanh(functional.layer_norm(hidden, (WIDTH,), eps=0.0))) + self.limit * x[:, 1:4]


def test_the_weights_decide_which_samples_reach_a_row() -> None:
    model, data = Limit(), samples()
    for x, _ in data:
        x[:-3, 0], x[-3:, 0] = 0.0, 15.0
    blocks: list[Block] = [{f"{name}.weight": slice(None)} for name in ("usual", "other")]
    assert bnsharp_cli.find_blocks(model, data).invariant == 2
    measured = bnsharp_cli.measure(model, data, precision="float64")
    assert measured.value == pytest.approx(bn_of_blocks(model, loss_of(data), blocks), rel=2e-3)
