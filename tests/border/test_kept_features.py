"""Features that a hook or a forward keeps for the loss: they are those of the pass, wherever the code keeps them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.errors import NotMeasurableError
from tests.border.networks import ROWS, Net, batches, mean_loss
from tests.border.oracle import bn_along_gradient

OPTIONS: dict[str, Any] = {"precision": "float64", "iterations": 0, "rtol": 1e-6}

Read = Callable[[], Tensor]


class Catcher:
    features: Any = None

    def catch(self, _: nn.Module, __: Any, output: Tensor) -> None:
        self.features = output

    def __call__(self, *arguments: Any) -> None:
        self.catch(*arguments)


class WithSlots:
    __slots__ = ("features",)

    def catch(self, _: nn.Module, __: Any, output: Tensor) -> None:
        self.features = output


def _method(network: Net) -> Read:
    catcher = Catcher()
    network.body.register_forward_hook(catcher.catch)
    return lambda: catcher.features


def _object(network: Net) -> Read:
    catcher = Catcher()
    network.body.register_forward_hook(catcher)
    return lambda: catcher.features


def _slots(network: Net) -> Read:
    catcher = WithSlots()
    network.body.register_forward_hook(catcher.catch)
    return lambda: catcher.features


def _partial(network: Net) -> Read:
    kept: dict[str, Tensor] = {}
    network.body.register_forward_hook(functools.partial(_keep, kept))
    return lambda: kept["features"]


def _keep(kept: dict[str, Tensor], _: nn.Module, __: Any, output: Tensor) -> None:
    kept["features"] = output


def _variable(network: Net) -> Read:
    features: Any = None

    def catch(_: nn.Module, __: Any, output: Tensor) -> None:
        nonlocal features
        features = output

    network.body.register_forward_hook(catch)
    return lambda: features


FEATURES: Any = None


def catch_in_the_module(_: nn.Module, __: Any, output: Tensor) -> None:
    global FEATURES
    FEATURES = output


def _global(network: Net) -> Read:
    network.body.register_forward_hook(catch_in_the_module)
    return lambda: FEATURES


class KeepsInARecord(Net):
    def __init__(self) -> None:
        super().__init__()
        self.record = Catcher()

    def forward(self, x: Tensor) -> Tensor:
        self.record.features = self.body(x)
        return self.head(self.record.features)


def _record(network: Net) -> Read:
    assert isinstance(network, KeepsInARecord)
    record = network.record
    return lambda: record.features


WAYS: dict[str, tuple[Callable[[Net], Read], type[Net]]] = {
    "a method": (_method, Net),
    "an object that can be called": (_object, Net),
    "an object with slots": (_slots, Net),
    "a partial": (_partial, Net),
    "a variable of a function": (_variable, Net),
    "a variable of a module": (_global, Net),
    "a record of the network": (_record, KeepsInARecord),
}


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_the_loss_sees_the_features_of_the_pass_and_the_users_own_stay(way: str, used: bool) -> None:
    keep, kind = WAYS[way]
    network = kind().eval()
    read = keep(network)
    if used:
        with torch.no_grad():
            network(batches()[0][0])
    before = read() if used else None

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, targets) + 0.5 * read().square().mean()

    expected = bn_along_gradient(
        Net(),
        mean_loss(lambda model, x, y: functional.cross_entropy(model(x), y) + 0.5 * model.body(x).square().mean()),
        ROWS,
        training=True,
    )
    assert bnsharp_cli.measure(network, batches(), loss, **OPTIONS).value == pytest.approx(expected, rel=2e-4)
    if used:
        assert read() is before


class KeepsAMatrix(Net):
    matrix: Any = None

    def forward(self, x: Tensor) -> Tensor:
        if self.matrix is None:
            self.matrix = 2 * self.head.weight
        return functional.linear(self.body(x), self.matrix, self.head.bias)


@pytest.mark.parametrize("options", [{}, {"parameters": "head.*"}, {"precision": "float64"}])
def test_what_is_computed_of_the_first_weights_alone_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(NotMeasurableError, match="answers differently the second time") as refused:
        bnsharp_cli.measure(KeepsAMatrix(), batches(), **options)
    assert refused.value.argument == "model"
