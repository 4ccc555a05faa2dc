"""Networks whose gradient is another one than the loss's, as straight-through estimators give: refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.errors import NotMeasurableError
from tests.border.networks import Net, batches, mean_loss, with_constants
from tests.border.oracle import bn_along_gradient

OPTIONS: dict[str, Any] = {"precision": "float64", "iterations": 0, "rtol": 1e-6}


def straight_through(rounded: Tensor, exact: Tensor) -> Tensor:
    return exact + (rounded - exact).detach()


class RoundedWeights(Net):
    def forward(self, x: Tensor) -> Tensor:
        weight = self.body[0].weight
        rounded = straight_through((4 * weight).round() / 4, weight)
        return self.head(self.body[1:](functional.linear(x, rounded, self.body[0].bias)))


class FakeQuantized(Net):
    def forward(self, x: Tensor) -> Tensor:
        weight = torch.fake_quantize_per_tensor_affine(self.body[0].weight.float(), 0.1, 0, -128, 127)
        return self.head(self.body[1:](functional.linear(x, weight.to(x.dtype), self.body[0].bias)))


class Signs(Net):
    """Steps without any gradient: it is zero where the loss is no constant."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.sign(self.body(x)))


class BinaryUnits(Net):
    def forward(self, x: Tensor) -> Tensor:
        hidden = self.body(x)
        return self.head(straight_through(torch.sign(hidden), hidden))


class HardChoice(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(functional.gumbel_softmax(self.body(x), hard=True))


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return -gradient


class Reversal(Net):
    """As adversarial training turns the gradient round."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(_Reversed.apply(self.body(x)))


class Doubling(Net):
    """A hook on a tensor changes its gradient."""

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.body(x)
        if hidden.requires_grad:
            hidden.register_hook(lambda gradient: 2 * gradient)
        return self.head(hidden)


FALSE = [RoundedWeights, FakeQuantized, Signs, BinaryUnits, HardChoice, Reversal, Doubling]


@pytest.mark.parametrize("network", FALSE)
def test_it_is_refused_and_the_remedy_works(network: type[Net]) -> None:
    for call in (bnsharp_cli.measure, bnsharp_cli.find_blocks, bnsharp_cli.rescale_test):
        with pytest.raises(NotMeasurableError, match="autograd does not see") as refused:
            call(network(), batches())
        assert refused.value.argument == "model"
        assert "leave out with parameters" in refused.value.remedy
    if network is HardChoice:  # it draws random numbers, which the oracle does not
        return
    measured = bnsharp_cli.measure(network(), batches(), parameters="head.*", **OPTIONS)
    own = with_constants(network(), ["head.weight", "head.bias"])
    assert measured.value == pytest.approx(bn_along_gradient(own, mean_loss()), rel=2e-4)


class MaximalNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.head = nn.Embedding(8, 5, max_norm=0.5), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.table(x)).mean(1))


def test_a_table_whose_rows_are_cut_to_a_norm_is_refused() -> None:
    texts = [(torch.arange(16).reshape(8, 2) % 8, torch.arange(8) % 4)]
    with pytest.raises(NotMeasurableError, match="autograd does not see"):
        bnsharp_cli.measure(MaximalNorm(), texts)


class WithoutNorms(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(10, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 4))
        for layer in self.layers[::2]:
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@pytest.mark.parametrize("zeros", ["inputs", "a layer", "all weights"])
def test_units_that_stand_exactly_at_their_kink_are_no_reason_to_refuse(zeros: str) -> None:
    model, data = WithoutNorms(), batches()
    if zeros == "inputs":  # black images, on which every unit without a bias stands at zero
        for x, _ in data:
            x[::3] = 0
    else:
        for layer in model.layers[:1] if zeros == "a layer" else model.layers[::2]:
            nn.init.zeros_(layer.weight)
    expected = bn_along_gradient(
        model, lambda m: torch.stack([functional.cross_entropy(m(x.double()), y) for x, y in data]).mean()
    )
    measured = bnsharp_cli.measure(model, data, **OPTIONS)
    assert measured.value == pytest.approx(expected, rel=2e-3)
