"""Embeddings with sparse gradients: the value of the same network with dense ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.errors import UsageError
from bnsharp_cli.training.entropy_sgd import EntropySgd
from bnsharp_cli.training.rules import Sgd, TrainingRule
from bnsharp_cli.training.sam import Asam, Sam
from bnsharp_cli.training.sgds import Sgds
from tests.border.oracle import bn_along_gradient, bn_limit


class Text(nn.Module):
    """Words, averaged."""

    def __init__(self, sparse: bool, bag: bool = False) -> None:
        torch.manual_seed(1)
        super().__init__()
        self.words = (nn.EmbeddingBag if bag else nn.Embedding)(50, 12, sparse=sparse)
        self.hidden = nn.Linear(12, 16)
        self.norm = nn.BatchNorm1d(16)
        self.out = nn.Linear(16, 4)

    def forward(self, words: Tensor) -> Tensor:
        found = self.words(words)
        found = found.mean(1) if found.ndim > 2 else found
        return self.out(torch.tanh(self.norm(self.hidden(found))))


class Gathering(nn.Module):
    """Sparse gradients of a gather and of a function, of kinds that torch cannot add up."""

    def __init__(self, sparse: bool = True) -> None:
        torch.manual_seed(2)
        super().__init__()
        self.sparse = sparse
        self.table = nn.Parameter(torch.randn(30, 8))
        self.out = nn.Linear(8, 4)

    def forward(self, words: Tensor) -> Tensor:
        chosen = words[:, :1].expand(-1, 8) % 30
        picked = torch.gather(self.table, 0, chosen, sparse_grad=self.sparse)
        looked_up = functional.embedding(words[:, 1] % 30, self.table, sparse=self.sparse)
        return self.out(torch.tanh(picked + looked_up))


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randint(50, (32, 7), generator=generator), torch.randint(4, (32,), generator=generator))
        for _ in range(3)
    ]


def loss(module: nn.Module) -> Tensor:
    return sum(functional.cross_entropy(module(x), y) for x, y in batches()) / 3


@pytest.mark.parametrize("bag", [False, True])
@pytest.mark.parametrize("name", ["bn", "delta-lp", "delta-linf", "keskar"])
def test_every_measure_is_that_of_dense_gradients(name: str, bag: bool) -> None:
    sparse = bnsharp_cli.measure(Text(True, bag), batches(), name=name)
    dense = bnsharp_cli.measure(Text(False, bag), batches(), name=name)
    assert sparse.value == pytest.approx(dense.value, rel=1e-12)


@pytest.mark.parametrize("points", [{}, {"restarts": 3, "precision": "float64"}])
def test_the_value_agrees_with_the_oracle(points: dict[str, object]) -> None:
    module = Gathering(sparse=False)
    found = bnsharp_cli.measure(Gathering(), batches(), **points)
    assert found.details["limit"] == pytest.approx(bn_limit(module, loss), rel=1e-4)
    assert found.value >= bn_along_gradient(module, loss) * (1 - 1e-3)


def test_the_invariance_of_sparse_embeddings() -> None:
    assert bnsharp_cli.find_blocks(Text(True), batches()).invariant == 17
    assert bnsharp_cli.rescale_test(Text(True), batches(), ball_samples=2).invariant


RULES: dict[str, Callable[[nn.Module], TrainingRule]] = {
    "sgd": lambda module: Sgd(module, lr=0.1, momentum=0.9, weight_decay=1e-3, clip_gradient=1.0),
    "sam": lambda module: Sam(module, lr=0.1, momentum=0.9),
    "asam": lambda module: Asam(module, lr=0.1),
    "sgds": lambda module: Sgds(module, bnsharp_cli.find_blocks(module, batches()), lr=0.1),
    "entropy-sgd": lambda module: EntropySgd(module, lr=0.1),
}


@pytest.mark.parametrize("name", RULES)
def test_every_training_rule_takes_the_steps_of_dense_gradients(name: str) -> None:
    trained = []
    for sparse in (True, False):
        module = Text(sparse)
        rule = RULES[name](module)
        for _ in range(3):
            torch.manual_seed(0)
            rule.step(
                *(
                    lambda x=x, y=y, module=module: functional.cross_entropy(module(x), y)
                    for x, y in (batches() * 8)[: rule.batches_per_step]
                )
            )
        trained.append(torch.cat([parameter.detach().flatten() for parameter in module.parameters()]))
    assert float((trained[0] - trained[1]).abs().max()) < 1e-6
    assert float((trained[0] - torch.cat([p.detach().flatten() for p in Text(False).parameters()])).norm()) > 1e-3


class OnAGraph(nn.Module):
    """A layer of a graph network, whose adjacency matrix is a sparse buffer or attribute."""

    def __init__(self, layout: str, buffer: bool) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(4)
        self.weight = nn.Parameter(torch.randn(10, 4, generator=generator))
        dense = (torch.rand(24, 24, generator=generator) < 0.2).float() + torch.eye(24)
        matrix = getattr(dense, layout)()
        if buffer:
            self.register_buffer("matrix", matrix)
        else:
            self.matrix = matrix

    def forward(self, x: Tensor) -> Tensor:
        return self.matrix.to(x.dtype) @ (x @ self.weight)


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("buffer", [True, False])
@pytest.mark.parametrize("layout", ["to_sparse", "to_sparse_csr"])
def test_a_sparse_matrix_that_a_network_keeps(layout: str, buffer: bool) -> None:
    generator = torch.Generator().manual_seed(5)
    x, y = torch.randn(24, 10, generator=generator), torch.randint(4, (24,), generator=generator)
    network = OnAGraph(layout, buffer)
    dense = OnAGraph("clone", True)
    expected = bn_along_gradient(dense, lambda model: functional.cross_entropy(model(x.double()), y))
    options: dict[str, Any] = {"precision": "float64", "iterations": 0, "rtol": 1e-6}
    assert bnsharp_cli.measure(network, [(x, y)], **options).value == pytest.approx(expected, rel=2e-4)
    assert bnsharp_cli.find_blocks(network, [(x, y)]).invariant == 0


def test_sparse_parameters_are_refused() -> None:
    network = nn.Module()
    network.weight = nn.Parameter(torch.eye(3).to_sparse())
    with pytest.raises(UsageError, match="weight is sparse") as refused:
        bnsharp_cli.measure(network, [(torch.ones(3, 3), torch.zeros(3))])
    assert (refused.value.argument, refused.value.remedy) == (
        "model",
        "Keep it dense: torch.nn.Parameter(weight.to_dense()).",
    )
