"""Arrays that share the memory of the user's weights: refused where the loss reads them, and else no matter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.errors import NotMeasurableError
from tests.border.networks import ROWS, Net, batches, mean_loss, penalty
from tests.border.oracle import bn_along_gradient

OPTIONS: dict[str, Any] = {"precision": "float64", "iterations": 0, "rtol": 1e-6}

Loss = Callable[[Tensor, Tensor], Tensor]


def squares(kept: list[Any]) -> Loss:
    return lambda o, t: functional.cross_entropy(o, t) + 0.1 * float(sum((np.asarray(k) ** 2).sum() for k in kept))


class Keeping(nn.Module):
    def __init__(self, network: Net) -> None:
        super().__init__()
        self.kept = {"deep": [network.head.weight.detach().numpy()]}

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return squares(self.kept["deep"])(outputs, targets)


def in_the_forward(network: Net) -> Loss:
    kept, old = network.head.weight.detach().numpy(), network.head.forward
    network.head.forward = lambda x: old(x) + float((kept**2).sum()) * x[:, :4]
    return functional.cross_entropy


def arrays(network: Net) -> list[Any]:
    return [weight.detach().numpy() for weight in network.parameters()]


READ: dict[str, Callable[[Net], Loss]] = {
    "arrays": lambda network: squares(arrays(network)),
    "parts": lambda network: squares([array[1:] for array in arrays(network)]),
    "other numbers": lambda network: squares([array.view(np.int32) for array in arrays(network)]),
    "memoryviews": lambda network: squares([memoryview(array) for array in arrays(network)]),
    "module": Keeping,
    "forward": in_the_forward,
}


@pytest.mark.parametrize("kind", READ)
def test_a_loss_that_reads_the_users_memory_is_refused(kind: str) -> None:
    network = Net()
    criterion = READ[kind](network)
    for call in (bnsharp_cli.measure, bnsharp_cli.find_blocks, bnsharp_cli.rescale_test):
        with pytest.raises(NotMeasurableError, match="numpy array that shares the memory") as refused:
            call(network, batches(), criterion)
        assert refused.value.argument == "criterion"


def test_a_tensor_of_a_part_of_an_array_is_seen() -> None:
    network = Net()
    kept = [torch.from_numpy(array[1:]) for array in arrays(network)]
    with pytest.raises(NotMeasurableError, match=r"The criterion uses body\.0\.weight and 5 more"):
        bnsharp_cli.measure(
            network, batches(), lambda o, t: functional.cross_entropy(o, t) + 0.1 * sum((k**2).sum() for k in kept)
        )


def test_the_remedies_work() -> None:
    network = Net()
    followed = bnsharp_cli.measure(
        network, batches(), lambda o, t: functional.cross_entropy(o, t) + 0.1 * penalty(network), **OPTIONS
    )
    expected = bn_along_gradient(Net(), mean_loss(lambda m, x, y: functional.cross_entropy(m(x), y) + 0.1 * penalty(m)))
    assert followed.value == pytest.approx(expected, rel=2e-4)
    constant = bnsharp_cli.measure(network, batches(), squares([a.copy() for a in arrays(network)]), **OPTIONS)
    assert constant.value == pytest.approx(bn_along_gradient(Net(), mean_loss(), ROWS), rel=2e-4)


def test_an_array_that_nothing_reads_is_no_matter() -> None:
    network = Net()
    network.initial = network.head.weight.detach().numpy()
    expected = bn_along_gradient(Net(), mean_loss(), ROWS)
    assert bnsharp_cli.measure(network, batches(), **OPTIONS).value == pytest.approx(expected, rel=2e-4)


def test_what_only_foreign_code_can_reach_is_the_limit_that_the_documentation_states() -> None:
    """A generator holds the array, where nothing outside it can see that: the penalty counts as a constant."""
    network = Net()

    def penalties(array: Any) -> Iterator[float]:
        while True:
            yield float((array**2).sum())

    numbers = penalties(network.head.weight.detach().numpy())
    constant = bnsharp_cli.measure(
        network, batches(), lambda o, t: functional.cross_entropy(o, t) + 0.1 * next(numbers), **OPTIONS
    )
    assert constant.value == pytest.approx(bn_along_gradient(Net(), mean_loss(), ROWS), rel=2e-4)
