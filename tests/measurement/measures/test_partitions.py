"""Partitions by shape: the limit, all signs of a small network, and every rescaling that each of them follows."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.measurement.measures.measurement import Measurement

RELATIVE = ("filter", "layer", "element")
DELTAS = (1e-3, 0.1)
_TINY = 1e-24
"""The ε of norms: as it is usually, it breaks the invariance itself."""


class Attention(nn.Module):
    """One head, without norms."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(6, 5), nn.Linear(6, 5), nn.Linear(6, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        scores = self.query(tokens) @ self.key(tokens).transpose(1, 2) / math.sqrt(5)
        return self.head((scores.softmax(2) @ self.value(tokens)).mean(1))


def relu_network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 3))


def normed_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(6, 8),
        nn.BatchNorm1d(8, eps=_TINY),
        nn.ReLU(),
        nn.Linear(8, 7, bias=False),
        nn.BatchNorm1d(7, eps=_TINY),
        nn.ReLU(),
        nn.Linear(7, 3),
    )


def transposed_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Unflatten(1, (6, 1, 1)),
        nn.ConvTranspose2d(6, 5, 2, bias=False),
        nn.BatchNorm2d(5, eps=_TINY),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(20, 3),
    )


def _scale(*factors: tuple[str, float]) -> Callable[[nn.Module], None]:
    def rescale(network: nn.Module) -> None:
        for name, factor in factors:
            network.get_parameter(name).mul_(factor)

    return rescale


def by_row(name: str, axis: int = 0) -> Callable[[nn.Module], None]:
    def rescale(network: nn.Module) -> None:
        weight = network.get_parameter(name)
        shape = [-1 if dimension == axis else 1 for dimension in range(weight.ndim)]
        weight.mul_(torch.logspace(-1, 1, weight.shape[axis], dtype=weight.dtype).reshape(shape))

    return rescale


def by_neuron(network: nn.Module) -> None:
    factors = torch.logspace(-1, 1, 8, dtype=torch.float64)
    network.get_parameter("0.weight").mul_(factors[:, None])
    network.get_parameter("0.bias").mul_(factors)
    network.get_parameter("2.weight").div_(factors)


RESCALINGS: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module], None], tuple[str, ...]]] = {
    "rows before a norm": (normed_network, by_row("3.weight"), ("filter", "element")),
    "filters of a transposed convolution": (transposed_network, by_row("1.weight", 1), ("filter", "element")),
    "a layer before a norm": (normed_network, _scale(("3.weight", 0.01)), RELATIVE),
    "a norm and the next norm": (normed_network, _scale(("1.weight", 0.01), ("1.bias", 0.01)), RELATIVE),
    "a norm and the classifier": (
        normed_network,
        _scale(("4.weight", 0.01), ("4.bias", 0.01), ("6.weight", 100)),
        RELATIVE,
    ),
    "layers around a ReLU": (
        relu_network,
        _scale(("0.weight", 0.01), ("0.bias", 0.01), ("2.weight", 100)),
        RELATIVE,
    ),
    "queries and keys": (
        Attention,
        _scale(("query.weight", 0.01), ("query.bias", 0.01), ("key.weight", 100), ("key.bias", 100)),
        RELATIVE,
    ),
    "neurons around a ReLU": (relu_network, by_neuron, ("element",)),
}


def batches(tokens: bool) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    shape = (16, 4, 6) if tokens else (16, 6)
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2)]
    return [(inputs, torch.randint(3, (16,), generator=generator)) for inputs in drawn]


def network_of(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    network = make().double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def measured(network: nn.Module, partition: str, delta: float = 1e-3, **options: object) -> Measurement:
    data = batches(isinstance(network, Attention))
    found = bnsharp_cli.measure(network, data, partition=partition, delta=delta, precision="float64", **options)
    assert isinstance(found, Measurement)
    return found


def change(name: str, partition: str, delta: float) -> float:
    """By how much the value changes under a rescaling, relative to the smaller of the two."""
    make, rescale, _ = RESCALINGS[name]
    network = network_of(make)
    other = copy.deepcopy(network)
    with torch.no_grad():
        rescale(other)
    inputs, _ = batches(isinstance(network, Attention))[0]
    assert torch.allclose(other(inputs), network(inputs), rtol=1e-10)
    values = [measured(one, partition, delta).value for one in (network, other)]
    return abs(values[0] - values[1]) / min(values)


@pytest.mark.parametrize("delta", DELTAS)
@pytest.mark.parametrize(
    ("name", "partition"), [(name, partition) for name, (*_, own) in RESCALINGS.items() for partition in own]
)
def test_a_partition_follows_every_rescaling_of_its_blocks(name: str, partition: str, delta: float) -> None:
    assert change(name, partition, delta) <= 1e-9


@pytest.mark.parametrize("delta", DELTAS)
@pytest.mark.parametrize(
    ("name", "partition"),
    [
        *(
            (name, partition)
            for name, (*_, own) in RESCALINGS.items()
            for partition in RELATIVE
            if partition not in own
        ),
        ("layers around a ReLU", "paper"),
        ("a norm and the classifier", "paper"),
        ("a norm and the classifier", "extended"),
        ("queries and keys", "paper"),
    ],
)
def test_a_rescaling_that_cuts_across_blocks_changes_the_value(name: str, partition: str, delta: float) -> None:
    assert change(name, partition, delta) > 0.1


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("partition", RELATIVE)
def test_the_limit_is_the_gradient_scaled_by_block(partition: str, power: float) -> None:
    network = network_of(normed_network)
    loss = sum(functional.cross_entropy(network(inputs), targets) for inputs, targets in batches(False)) / 2
    expected = 0.0
    for parameter, gradient in zip(
        network.parameters(), torch.autograd.grad(loss, [*network.parameters()]), strict=True
    ):
        theta = parameter.detach()
        if partition == "element":
            expected += float((theta * gradient).abs().sum())
        elif partition == "filter" and theta.ndim > 1:
            expected += sum(float(w.norm() * g.norm()) for w, g in zip(theta, gradient, strict=True))
        else:
            expected += float(theta.norm() * gradient.norm())
    factor = 1.0 if math.isinf(power) else (2 / (power + 1)) ** (1 / power)
    found = measured(network, partition, 1e-5, power=power)
    assert found.details["limit"] == pytest.approx(factor * expected, rel=1e-12)
    assert found.value == pytest.approx(factor * expected, rel=1e-3)


@pytest.mark.parametrize(("delta", "power"), [(1e-3, 2.0), (0.3, 2.0), (0.9, 1.0)])
def test_numbers_as_blocks_reach_the_best_of_all_signs(delta: float, power: float) -> None:
    """With ten numbers every direction v = ±θ can be tried: 512 of them, since −v is as good as v."""
    network = network_of(lambda: nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2, bias=False)))
    generator = torch.Generator().manual_seed(1)
    inputs, targets = torch.randn(12, 2, generator=generator).double(), torch.randint(2, (12,), generator=generator)
    theta = nn.utils.parameters_to_vector(network.parameters()).detach()
    nodes, weights = map(torch.from_numpy, np.polynomial.legendre.leggauss(40))

    def losses(vectors: Tensor) -> Tensor:
        """Those of several networks, (K,), of parameters (K, 10)."""
        first, bias, last = vectors.split((4, 2, 4), dim=1)
        hidden = torch.tanh(torch.einsum("kij,nj->kni", first.reshape(-1, 2, 2), inputs) + bias[:, None])
        logs = torch.einsum("kij,knj->kni", last.reshape(-1, 2, 2), hidden).log_softmax(2)
        return -logs[:, range(len(targets)), targets].mean(1)

    here = losses(theta[None])
    assert float(here) == pytest.approx(functional.cross_entropy(network(inputs), targets).item(), rel=1e-12)

    def mean(signs: tuple[int, ...]) -> float:
        direction = theta * torch.tensor((1, *signs), dtype=torch.float64)
        changes = (losses(theta + delta * nodes[:, None] * direction) - here).abs() / delta
        return float((weights * changes**power).sum()) ** (1 / power)

    best = max(map(mean, itertools.product((1, -1), repeat=len(theta) - 1)))
    settings = {"partition": "element", "delta": delta, "power": power, "restarts": 20}
    found = bnsharp_cli.measure(network, [(inputs, targets)], **settings)
    assert isinstance(found, Measurement)
    assert found.value == pytest.approx(best, rel=1e-3)


@pytest.mark.parametrize(("partition", "zero", "count"), [("filter", 2, 13), ("layer", 1, 4), ("element", 3 + 8, 83)])
def test_blocks_of_zeros_stay_fixed_and_are_reported(partition: str, zero: int, count: int) -> None:
    network = network_of(lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)))
    with torch.no_grad():
        network.get_parameter("2.bias").zero_()
        network.get_parameter("2.weight")[1] = 0
    found = measured(network, partition)
    assert f"{zero} of {count} blocks are zero: their radius is 0, and they stay fixed" in found.notes
    assert found.direction is not None
    assert not found.direction["2.bias"].any()
    assert bool(found.direction["2.weight"][1].any()) is (partition == "layer")
    assert found.direction["0.weight"].any()


@pytest.mark.parametrize("make", [relu_network, Attention])
def test_where_nothing_is_invariant_the_result_says_what_it_is(make: Callable[[], nn.Module]) -> None:
    (note,) = measured(network_of(make), "paper").notes
    assert "none of the measured weights is scale-invariant" in note
    assert "plain gradient norm" in note
    assert "partition filter" in note
    assert measured(network_of(make), "filter").notes == ()


def test_a_radius_of_one_reaches_zero_and_is_refused() -> None:
    with pytest.raises(bnsharp_cli.UsageError, match="less than 1 where radii are relative to weights"):
        measured(network_of(relu_network), "filter", 1.0)


def test_every_partition_holds_every_number_once() -> None:
    network = network_of(normed_network)
    for partition in RELATIVE:
        blocks = bnsharp_cli.find_blocks(network, batches(False), partition=partition)
        point = dict(network.named_parameters())
        spheres = blocks.spheres({name: tensor.detach() for name, tensor in point.items()})
        ones = {name: torch.ones_like(tensor) for name, tensor in point.items()}
        sizes = spheres.inner(ones, ones)
        assert float(sizes.sum()) == sum(tensor.numel() for tensor in point.values())
        assert float(sizes[blocks.relative]) == 0
        assert blocks.invariant == blocks.free_parameters(point) == 0
