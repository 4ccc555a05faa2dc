"""Tables of embeddings: their gradient is that of the loss, whatever a network asks for in training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from tests.border.oracle import Block, bn_of_blocks

OPTIONS: dict[str, Any] = {"precision": "float64", "iterations": 0, "rtol": 1e-6}
WORDS, WIDTH, LENGTH = 12, 6, 5

Lookup = Callable[[Tensor, Tensor], Tensor]


class Mixing(nn.Module):
    """Mixes the words of a text and normalises: the whole table scales, the row of padding with it."""

    def __init__(self, lookup: Lookup, normalised: bool = True) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.lookup, self.normalised = lookup, normalised
        self.table, self.mix, self.head = (
            nn.Parameter(torch.randn(shape, generator=generator) * 0.5)
            for shape in ((WORDS, WIDTH), (3, LENGTH), (WIDTH, 3))
        )

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.mix @ self.lookup(x, self.table)
        return (
            torch.tanh(functional.layer_norm(mixed, (WIDTH,), eps=1e-20) if self.normalised else mixed).mean(1)
            @ self.head
        )


def indexed(x: Tensor, table: Tensor) -> Tensor:
    return table[x]


LOOKUPS: dict[str, Lookup] = {
    "padding": lambda x, table: functional.embedding(x, table, padding_idx=0),
    "the last row": lambda x, table: functional.embedding(x, table, -WORDS),
    "frequencies": lambda x, table: functional.embedding(x, table, scale_grad_by_freq=True),
    "both by the operator": lambda x, table: torch.embedding(table, x, 0, True, False),
    "by keywords": lambda x, table: torch.embedding(weight=table, indices=x, padding_idx=0),
    "bags": lambda x, table: functional.embedding_bag(
        x.reshape(-1, 1), table, scale_grad_by_freq=True, mode="sum"
    ).reshape(*x.shape, WIDTH),
}


def texts() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    batches = []
    for _ in range(2):
        words = torch.randint(1, WORDS, (16, LENGTH), generator=generator)
        words[:, -1] = 0  # padding, which the mixture does not leave out
        batches.append((words, torch.randint(3, (16,), generator=generator)))
    return batches


def loss(model: nn.Module) -> Tensor:
    return torch.stack([functional.cross_entropy(model(x), y) for x, y in texts()]).mean()


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("kind", LOOKUPS)
def test_the_whole_table_is_a_block_and_the_value_that_of_the_loss(kind: str, zero: bool) -> None:
    model, plain = Mixing(LOOKUPS[kind]), Mixing(indexed)
    if zero:  # as torch makes a table with padding
        for each in (model, plain):
            each.table.data[0] = 0
    blocks: list[Block] = [{"table": slice(None)}, *({"mix": slice(row, row + 1)} for row in range(3))]
    found = bnsharp_cli.find_blocks(model, texts())
    assert {tensor.name: tensor.invariant for tensor in found.tensors} == {"table": WORDS, "mix": 3, "head": 0}
    assert found.invariant == 4
    measured = bnsharp_cli.measure(model, texts(), **OPTIONS)
    assert measured.value == pytest.approx(bn_of_blocks(plain, loss, blocks), rel=1e-5)
    if zero:
        assert bnsharp_cli.rescale_test(model, texts(), ball_samples=2).invariant


@pytest.mark.parametrize("kind", LOOKUPS)
def test_without_a_norm_too(kind: str) -> None:
    measured = bnsharp_cli.measure(Mixing(LOOKUPS[kind], False), texts(), **OPTIONS)
    assert measured.value == pytest.approx(bn_of_blocks(Mixing(indexed, False), loss), rel=1e-5)
