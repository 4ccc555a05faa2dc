"""Networks and losses that reach for the network from outside: each follows the copy, or is refused in one line."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.errors import NotMeasurableError
from tests.border.networks import ROWS, Net, batches, mean_loss, penalty
from tests.border.oracle import bn_along_gradient

CLOSE = 2e-4
OPTIONS: dict[str, Any] = {"precision": "float64", "iterations": 0, "rtol": 1e-6}

Loss = Callable[[Tensor, Tensor], Tensor]


def with_penalty(outputs: Tensor, targets: Tensor, network: nn.Module) -> Tensor:
    return functional.cross_entropy(outputs, targets) + 0.1 * penalty(network)


class HoldingModule(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return with_penalty(outputs, targets, self.network)


class Holding:
    def __init__(self, network: nn.Module) -> None:
        self.network = {"deep": [network]}

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return with_penalty(outputs, targets, self.network["deep"][0])


KNOWN: dict[str, nn.Module] = {}


def by_a_name_of_the_module(outputs: Tensor, targets: Tensor) -> Tensor:
    return with_penalty(outputs, targets, named_network())


def named_network() -> nn.Module:
    return KNOWN["network"]


def registered(network: nn.Module) -> Loss:
    KNOWN["network"] = network
    return by_a_name_of_the_module


class ByAName:
    def __init__(self, network: nn.Module) -> None:
        KNOWN["network"] = network

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return with_penalty(outputs, targets, KNOWN["network"])


PENALTIES: dict[str, Callable[[nn.Module], Loss]] = {
    "closure": lambda network: lambda o, t: with_penalty(o, t, network),
    "default": lambda network: lambda o, t, n=network: with_penalty(o, t, n),
    "partial": lambda network: functools.partial(with_penalty, network=network),
    "module": HoldingModule,
    "object": Holding,
    "method": lambda network: Holding(network).__call__,
    "function of a function": lambda network: (lambda inner: lambda o, t: inner(o, t))(HoldingModule(network)),
    "name of a module": registered,
    "name of a module in a method": ByAName,
}


@pytest.mark.parametrize("kind", PENALTIES)
def test_a_penalty_on_the_weights_is_that_of_the_copy(kind: str) -> None:
    network = Net()
    before = [weight.detach().clone() for weight in network.parameters()]
    criterion = PENALTIES[kind](network)
    expected = bn_along_gradient(
        network,
        mean_loss(lambda m, x, y: functional.cross_entropy(m(x), y) + 0.1 * penalty(m)),
    )
    measured = bnsharp_cli.measure(network, batches(), criterion, **OPTIONS)
    assert measured.value == pytest.approx(expected, rel=CLOSE)
    assert bnsharp_cli.find_blocks(network, batches(), criterion).invariant == 0
    assert all(map(torch.equal, network.parameters(), before))
    assert all(weight.grad is None for weight in network.parameters())
    with pytest.raises(NotMeasurableError, match="no scale-invariant weights"):
        bnsharp_cli.rescale_test(network, batches(), criterion)


DETACHED: dict[str, Callable[[nn.Module], Any]] = {
    "detach": lambda network: sum(weight.detach().square().sum() for weight in network.parameters()),
    "data": lambda network: sum(weight.data.square().sum() for weight in network.parameters()),
    "numpy": lambda network: float(sum((weight.detach().numpy() ** 2).sum() for weight in network.parameters())),
    "state_dict": lambda network: network.state_dict()["head.weight"].square().sum(),
}


@pytest.mark.parametrize("kind", DETACHED)
def test_weights_that_are_read_without_a_gradient_are_refused(kind: str) -> None:
    network = Net()
    with pytest.raises(NotMeasurableError, match="autograd does not see") as refused:
        bnsharp_cli.measure(
            network, batches(), lambda o, t: functional.cross_entropy(o, t) + 0.1 * DETACHED[kind](network)
        )
    assert refused.value.argument == "criterion"


@pytest.mark.parametrize("read", [lambda w: w.square().sum(), lambda w: w.detach().square().sum()])
def test_weights_that_a_loss_kept_beforehand_are_refused(read: Callable[[Tensor], Tensor]) -> None:
    network = Net()
    kept = list(network.parameters())
    with pytest.raises(NotMeasurableError, match=r"The criterion uses body\.0\.weight and 5 more") as refused:
        bnsharp_cli.measure(
            network, batches(), lambda o, t: functional.cross_entropy(o, t) + sum(read(weight) for weight in kept)
        )
    assert "beforehand" in refused.value.remedy


def test_an_auxiliary_loss_on_the_network_counts() -> None:
    class Auxiliary(Net):
        auxiliary: Tensor | None = None

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.body(x)
            self.auxiliary = hidden.square().mean() + self.head.weight.square().sum()
            return self.head(hidden)

    network = Auxiliary()
    expected = bn_along_gradient(
        network,
        mean_loss(lambda m, x, y: functional.cross_entropy(m(x), y) + 0.1 * m.auxiliary),
        ROWS,
    )
    measured = bnsharp_cli.measure(
        network,
        batches(),
        lambda o, t: functional.cross_entropy(o, t) + 0.1 * network.auxiliary,
        **OPTIONS,
    )
    assert measured.value == pytest.approx(expected, rel=CLOSE)
    assert network.auxiliary is None


@pytest.mark.parametrize("threads", [1, 2])
def test_features_that_a_hook_caught_count_and_the_users_own_stay(threads: int) -> None:
    network, features, seen = Net(), {}, []
    network.body.register_forward_hook(lambda _, __, output: features.__setitem__("hidden", output))
    network.head.register_forward_hook(lambda _, __, output: seen.append(output))
    expected = bn_along_gradient(
        Net(),
        mean_loss(lambda m, x, y: functional.cross_entropy(m(x), y) + 0.1 * (m.body(x).abs() ** 1.5).mean()),
        ROWS,
    )
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        measured = bnsharp_cli.measure(
            network,
            batches(),
            lambda o, t: functional.cross_entropy(o, t) + 0.1 * (features["hidden"].abs() ** 1.5).mean(),
            **OPTIONS,
        )
    finally:
        torch.set_num_threads(before)
    assert measured.value == pytest.approx(expected, rel=CLOSE)
    assert not features
    assert not seen


def replaced_by_a_closure(network: Net) -> None:
    old = network.forward
    network.forward = lambda x: old(x)


def replaced_by_a_partial(network: Net) -> None:
    network.forward = functools.partial(Net.forward, network)


def replaced_by_a_method(network: Net) -> None:
    network.forward = types.MethodType(Net.forward, network)


def part_replaced_by_a_decorator(network: Net) -> None:
    old = network.body.forward
    network.body.forward = functools.wraps(old)(lambda x: old(x))


def decorated_by_a_library(network: Net) -> None:
    network.forward = torch.autocast("cpu", torch.bfloat16, enabled=False)(network.forward)


def compiled(network: Net) -> None:
    network.forward = torch.compile(network.forward, backend="eager")


def kept_function(network: Net) -> None:
    network.body.run = lambda x: network.body[1](network.body[0](x)).tanh()
    network.forward = lambda x: network.head(network.body.run(x))


PATCHES = [
    replaced_by_a_closure,
    replaced_by_a_partial,
    replaced_by_a_method,
    part_replaced_by_a_decorator,
    decorated_by_a_library,
    compiled,
    kept_function,
]


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.__name__)
def test_a_forward_that_was_replaced_runs_on_the_copy(patch: Callable[[Net], None]) -> None:
    expected = bn_along_gradient(Net(), mean_loss(), ROWS)
    network = Net()
    patch(network)
    assert bnsharp_cli.measure(network, batches(), **OPTIONS).value == pytest.approx(expected, rel=CLOSE)
    assert bnsharp_cli.find_blocks(network, batches()).invariant == 16
    assert not network.body[1].running_mean.any()


CAUGHT: list[Tensor] = []


class Recording(Net):
    def forward(self, x: Tensor) -> Tensor:
        CAUGHT.append(self.body(x))
        return self.head(CAUGHT[-1])


def test_a_forward_that_fills_a_list_of_its_module_fills_another() -> None:
    expected = bn_along_gradient(Net(), mean_loss(), ROWS)
    assert bnsharp_cli.measure(Recording(), batches(), **OPTIONS).value == pytest.approx(expected, rel=CLOSE)
    assert not CAUGHT


def test_a_graph_that_the_users_network_kept_is_refused() -> None:
    network = Net()
    kept = {"auxiliary": network(batches()[0][0]).square().mean()}
    with pytest.raises(NotMeasurableError, match="The criterion uses"):
        bnsharp_cli.measure(
            network, batches(), lambda o, t: functional.cross_entropy(o, t) + 0.1 * kept["auxiliary"].double()
        )


def test_a_forward_that_kept_weights_is_refused() -> None:
    network = Net()
    weight = network.head.weight
    network.head.forward = lambda x: x @ weight.T
    with pytest.raises(NotMeasurableError, match=r"The network's forward uses head\.weight") as refused:
        bnsharp_cli.measure(network, batches())
    assert refused.value.argument == "model"


def test_a_hook_that_changes_the_output_counts_and_one_that_changes_gradients_does_not() -> None:
    network = Net()
    network.head.register_forward_hook(lambda _, __, output: 2 * output)
    network.head.register_full_backward_hook(lambda _, into, __: tuple(3 * g if g is not None else g for g in into))
    expected = bn_along_gradient(Net(), mean_loss(lambda m, x, y: functional.cross_entropy(2 * m(x), y)), ROWS)
    assert bnsharp_cli.measure(network, batches(), **OPTIONS).value == pytest.approx(expected, rel=CLOSE)
    assert len(network.head._backward_hooks) == len(network.head._forward_hooks) == 1


def test_what_else_needs_a_gradient_is_held_fixed_and_named() -> None:
    scale = nn.Parameter(torch.tensor(2.0))
    measured = bnsharp_cli.measure(Net(), batches(), lambda o, t: scale * functional.cross_entropy(o, t), **OPTIONS)
    expected = 2 * bn_along_gradient(Net(), mean_loss(), ROWS)
    assert measured.value == pytest.approx(expected, rel=CLOSE)
    assert "held fixed" in measured.notes[0]
    assert measured.to_dict()["notes"] == [*measured.notes]
    assert "held fixed" in repr(measured)
    assert scale.grad is None
