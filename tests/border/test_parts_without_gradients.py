"""Parts of a network that run without gradients: the loss changes with their weights, and a gradient says nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnsharp_cli
from bnsharp_cli.errors import NotMeasurableError
from tests.border.networks import Net, batches, mean_loss, with_constants
from tests.border.oracle import bn_along_gradient

OPTIONS: dict[str, Any] = {"precision": "float64", "iterations": 0, "rtol": 1e-6}


class WithoutGradients(Net):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            features = self.body(x)
        return self.head(features)


class Detached(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).detach())


class ByLists(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tensor(self.body(x).tolist(), dtype=x.dtype))


class OfData(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(nn.functional.linear(x, self.body[0].weight.data).tanh())


@pytest.mark.parametrize("network", [WithoutGradients, Detached, ByLists, OfData])
def test_it_is_refused_and_the_remedy_works(network: type[Net]) -> None:
    for call in (bnsharp_cli.measure, bnsharp_cli.find_blocks, bnsharp_cli.rescale_test):
        with pytest.raises(NotMeasurableError, match=r"changes with body\.0\.weight.*autograd sees nothing") as refused:
            call(network(), batches())
        assert refused.value.argument == "model"
    assert refused.value.remedy.endswith("or leave them out with parameters, for example head.weight.")
    measured = bnsharp_cli.measure(network(), batches(), parameters="head.weight", **OPTIONS)
    own = with_constants(network(), ["head.weight"])
    assert measured.value == pytest.approx(bn_along_gradient(own, mean_loss(), training=True), rel=2e-4)


def test_parameters_that_make_no_difference_are_no_reason_to_refuse() -> None:
    network = Net()
    network.unused = nn.Linear(3, 3)
    expected = bnsharp_cli.measure(Net(), batches(), **OPTIONS).value
    assert bnsharp_cli.measure(network, batches(), **OPTIONS).value == pytest.approx(expected, rel=1e-9)
