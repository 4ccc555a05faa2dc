"""Which rescalings leave which measure as it is: every claim of the list is held against what is measured."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.measurement.blocks.blocks import PARTITIONS
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.measures.survival import SURVIVES, Rescaling

DELTAS = (1e-3, 0.1)
SAME, OTHER = 1e-7, 1e-3
"""How far apart values are of what a rescaling leaves as it is, and of what it changes; nothing lies between them."""

_TINY = 1e-24
"""The ε of norms: as it is usually, it breaks the invariance itself."""

_HIDDEN = 6


def normed() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(5, _HIDDEN),
        nn.BatchNorm1d(_HIDDEN, eps=_TINY),
        nn.ReLU(),
        nn.Linear(_HIDDEN, _HIDDEN, bias=False),
        nn.BatchNorm1d(_HIDDEN, eps=_TINY),
        nn.ReLU(),
        nn.Linear(_HIDDEN, 3),
    )


def plain() -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, 3))


class Attending(nn.Module):
    """Inputs as words of one number each, attention of one head without a rotation, and a classifier of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Linear(1, _HIDDEN)
        self.queries, self.keys, self.values = (nn.Linear(_HIDDEN, _HIDDEN) for _ in range(3))
        self.projection, self.classifier = nn.Linear(_HIDDEN, _HIDDEN), nn.Linear(5 * _HIDDEN, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        words = torch.tanh(self.words(inputs[..., None]))
        shares = (self.queries(words) @ self.keys(words).mT).softmax(-1)
        return self.classifier(torch.tanh(self.projection(shares @ self.values(words))).flatten(1))


def by_row(network: nn.Module) -> None:
    network.get_parameter("3.weight").mul_(torch.logspace(-1, 1, _HIDDEN, dtype=torch.float64)[:, None])


def scaled(*factors: tuple[str, float]) -> Callable[[nn.Module], None]:
    def rescale(network: nn.Module) -> None:
        for name, factor in factors:
            network.get_parameter(name).mul_(factor)

    return rescale


def by_neuron(network: nn.Module) -> None:
    factors = torch.logspace(-1, 1, _HIDDEN, dtype=torch.float64)
    network.get_parameter("0.weight").mul_(factors[:, None])
    network.get_parameter("0.bias").mul_(factors)
    network.get_parameter("2.weight").div_(factors)


def by_dimension(network: nn.Module) -> None:
    factors = torch.logspace(-1, 1, _HIDDEN, dtype=torch.float64)
    for grown, shrunk in (("queries", "keys"), ("values", "projection")):
        network.get_parameter(f"{grown}.weight").mul_(factors[:, None])
        network.get_parameter(f"{grown}.bias").mul_(factors)
        network.get_parameter(f"{shrunk}.weight").div_(factors if shrunk == "projection" else factors[:, None])
    network.get_parameter("keys.bias").div_(factors)


RESCALED: dict[Rescaling, tuple[Callable[[], nn.Module], Callable[[nn.Module], None]]] = {
    Rescaling.T_A: (normed, by_row),
    Rescaling.NORM: (normed, scaled(("1.weight", 0.1), ("1.bias", 0.1))),
    Rescaling.CLASSIFIER: (normed, scaled(("4.weight", 0.1), ("4.bias", 0.1), ("6.weight", 10))),
    Rescaling.LAYER: (plain, scaled(("0.weight", 0.1), ("0.bias", 0.1), ("2.weight", 10))),
    Rescaling.NEURON: (plain, by_neuron),
    Rescaling.ATTENTION: (Attending, by_dimension),
}


@cache
def pair(rescaling: Rescaling) -> tuple[nn.Module, nn.Module]:
    """A network, and the same function in other weights."""
    make, rescale = RESCALED[rescaling]
    network = trained(make)
    other = copy.deepcopy(network)
    with torch.no_grad():
        rescale(other)
        assert torch.allclose(network(batches()[0][0]), other(batches()[0][0]), rtol=1e-12)
    return network, other


@cache
def trained(make: Callable[[], nn.Module]) -> nn.Module:
    """A network with an accuracy to lose, and a gradient that is not zero."""
    torch.manual_seed(0)
    network = make().double()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.3)
    for _ in range(40):
        for inputs, labels in batches():
            optimizer.zero_grad()
            functional.cross_entropy(network(inputs), labels).backward()
            optimizer.step()
    optimizer.zero_grad()
    return network


@cache
def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randn(3, 24, 5, generator=generator, dtype=torch.float64)
    return [(inputs, inputs[:, :3].add(torch.randn(24, 3, generator=generator)).argmax(1)) for inputs in drawn]


@cache
def values(rescaling: Rescaling, name: str, partition: str, delta: float) -> tuple[Measurement, Measurement]:
    of = (
        bnsharp_cli.measure(one, batches(), name=name, partition=partition, delta=delta, precision="float64")
        for one in pair(rescaling)
    )
    return next(of), next(of)


def cases() -> list[tuple[str, str]]:
    """Every measure, and BN-Sharpness in every partition."""
    return [("bn", partition) for partition in PARTITIONS] + [(name, "paper") for name in MEASURES if name != "bn"]


def test_every_measure_has_a_claim_and_no_claim_is_of_none() -> None:
    named = {values(Rescaling.T_A, name, partition, DELTAS[0])[0].name for name, partition in cases()}
    assert named == {*SURVIVES}


@pytest.mark.parametrize("rescaling", Rescaling)
@pytest.mark.parametrize(("name", "partition"), cases())
def test_what_is_claimed_is_what_is_measured(name: str, partition: str, rescaling: Rescaling) -> None:
    changes = []
    for delta in DELTAS if MEASURES[name].has_radius else DELTAS[:1]:
        before, after = values(rescaling, name, partition, delta)
        changes.append(abs(before.value - after.value) / max(abs(before.value), abs(after.value)))
    assert not SAME < max(changes) < OTHER
    assert (max(changes) <= SAME) is (rescaling in SURVIVES[before.name])
