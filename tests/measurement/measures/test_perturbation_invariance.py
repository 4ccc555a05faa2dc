"""The numbers of noise, critical radius and σ on copies of one function: the same wherever whole blocks are scaled."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.core.rescale import random_factors
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.invariance.copies import Copier
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from tests.cases import mlp_bn
from tests.measurement.measures.test_partitions import RESCALINGS, Attention, batches, network_of

NAMES = ("noise", "critical-radius", "pac-bayes-sigma")
RELATIVE = ("filter", "layer", "element")
Data = list[tuple[Tensor, Tensor]]


def fitted(network: nn.Module, data: Data, name: str, steps: int = 60) -> Data:
    """Examples that the network has learnt for a while.

    For an accuracy that can fall the labels are what it predicted before; for a loss that rises soon they are any.
    """
    own = data
    if name == "pac-bayes-sigma":
        with torch.no_grad():
            own = [(inputs, network(inputs).argmax(1)) for inputs, _ in data]
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(steps):
        for inputs, targets in own:
            optimizer.zero_grad()
            functional.cross_entropy(network(inputs), targets).backward()
            optimizer.step()
    return own


def measured(network: nn.Module, data: Data, name: str, relative_to: str, **more: object) -> Measurement:
    settings = {"name": name, "relative_to": relative_to, "precision": "float64", "noise_draws": 3, **more}
    found = bnsharp_cli.measure(network, data, **settings)
    assert isinstance(found, Measurement)
    return found


@pytest.mark.parametrize(
    ("statistics", "relative_to"),
    [(True, "filter"), (True, "partition"), (True, "element"), (False, "partition")],
    ids=lambda one: one if isinstance(one, str) else "batch" if one else "running",
)
@pytest.mark.parametrize("name", NAMES)
def test_copies_under_t_a_have_the_same_number(name: str, statistics: bool, relative_to: str) -> None:
    torch.manual_seed(0)
    module = mlp_bn().double()
    generator = torch.Generator().manual_seed(1)
    drawn = [torch.randn(32, 4, generator=generator, dtype=torch.float64) for _ in range(2)]
    data = fitted(module, [(inputs, torch.arange(32) % 3) for inputs in drawn], name)
    surface = LossSurface.of(module, data, batch_statistics=statistics, dtype=torch.float64)
    point, options = surface.point(), MeasureOptions.from_flat(relative_to=relative_to)
    blocks = find_blocks(surface, point)
    assert blocks.invariant == 12
    found = MEASURES[name](surface, point, blocks, options)
    for seed in range(2):
        factors = random_factors(blocks.invariant, 2.0, torch.Generator().manual_seed(seed))
        other = Copier(surface, point, blocks).copy("copy", factors)
        same = MEASURES[name](other.exact, other.point, blocks, options)
        assert same.value == pytest.approx(found.value, rel=1e-9)
        assert same.details.keys() == found.details.keys()
        if name == "noise":
            for one, before in zip(same.details["by_sigma"], found.details["by_sigma"], strict=True):
                assert one["value"] == pytest.approx(before["value"], rel=1e-9)


def change(kind: str, name: str, relative_to: str) -> float:
    """By how much a number changes under a rescaling that keeps the function, relative to the smaller of the two."""
    make, rescale, _ = RESCALINGS[kind]
    network = network_of(make)
    data = fitted(network, batches(isinstance(network, Attention)), name)
    other = copy.deepcopy(network)
    with torch.no_grad():
        rescale(other)
    assert torch.allclose(other(data[0][0]), network(data[0][0]), rtol=1e-10)
    values = [measured(one, data, name, relative_to).value for one in (network, other)]
    return abs(values[0] - values[1]) / min(values)


LONG = pytest.mark.slow(
    reason="one more partition of the same rescaling",
    quick="tests/measurement/measures/test_perturbation_invariance.py::test_a_rescaling_of_whole_blocks_changes_nothing",
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("kind", "relative_to"),
    [
        *((kind, own[0]) for kind, (*_, own) in RESCALINGS.items()),
        *(pytest.param(kind, one, marks=LONG) for kind, (*_, own) in RESCALINGS.items() for one in own[1:]),
    ],
)
def test_a_rescaling_of_whole_blocks_changes_nothing(kind: str, relative_to: str, name: str) -> None:
    assert change(kind, name, relative_to) <= 1e-9


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("kind", "relative_to"),
    [
        ("neurons around a ReLU", "filter"),
        ("neurons around a ReLU", "layer"),
        ("layers around a ReLU", "partition"),
        ("a norm and the classifier", "partition"),
    ],
)
def test_a_rescaling_that_cuts_across_blocks_changes_the_number(kind: str, relative_to: str, name: str) -> None:
    assert change(kind, name, relative_to) > 0.02
