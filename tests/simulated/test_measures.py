"""Every measure on the simulated device: the CPU's bits, and few waits for the device."""

from __future__ import annotations

from typing import Literal

import pytest
from torch import nn

import bnsharp_cli
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.registry import MEASURES
from tests.simulated.backend import NAME
from tests.simulated.device import Simulation
from tests.simulated.networks import batches, network

BESIDE_PASSES = 25
"""Waits of a measure beside those for passes, however many tensors the network has."""


def measured(
    module: nn.Module, name: str, device: str, partition: str = "paper", memory: Literal["ample", "small"] = "ample"
) -> Measurement:
    chosen = {"partition": partition, "memory": memory}
    return bnsharp_cli.measure(module, batches(), name=name, device=device, precision="float32", delta=1e-2, **chosen)


@pytest.fixture(scope="module")
def small() -> nn.Sequential:
    return network(1)


LONG = pytest.mark.slow(
    reason="many operations, each of which runs through Python",
    quick="tests/simulated/test_measures.py::test_every_measure_has_the_bits_of_the_cpu",
)
LONG_ONES = {"hessian", "pac-bayes-sigma", "noise"}


@pytest.mark.parametrize(
    ("name", "partition"),
    [
        *(pytest.param(name, "paper", marks=LONG) if name in LONG_ONES else (name, "paper") for name in MEASURES),
        ("bn", "extended"),
    ],
)
def test_every_measure_has_the_bits_of_the_cpu(
    small: nn.Sequential, simulation: Simulation, name: str, partition: str
) -> None:
    expected = measured(small, name, "cpu", partition)
    found = measured(small, name, NAME, partition)
    assert (found.value, found.status, found.cost) == (expected.value, expected.status, expected.cost)
    assert found.uncertainty == expected.uncertainty
    assert any("convolution" in operation for operation in simulation.operations)
    assert next(small.parameters()).device.type == "cpu"


@pytest.mark.parametrize("name", ["bn", pytest.param("delta-linf", marks=LONG)])
@pytest.mark.parametrize("convolutions", [1, 4])
def test_waits_follow_the_passes_and_not_the_tensors(simulation: Simulation, name: str, convolutions: int) -> None:
    waits, module = {}, network(convolutions)
    for each in ("random", name):  # what opens the network and finds its blocks, and that with the measure
        simulation.waits.clear()
        cost = measured(module, each, NAME).cost
        waits[each] = simulation.waits.total()
    assert waits[name] - waits["random"] <= cost.forward + cost.backward + BESIDE_PASSES


FOR_A_BATCH = 3
"""Waits of a measure of outputs: what the loss is, which layer predicts, and the figures."""


def test_a_measure_of_outputs_waits_a_few_times_for_a_batch(small: nn.Sequential, simulation: Simulation) -> None:
    waits, many = {}, batches(4)
    for name in ("random", "margin"):
        simulation.waits.clear()
        cost = bnsharp_cli.measure(small, many, name=name, device=NAME, precision="float32").cost
        waits[name] = simulation.waits.total()
    assert 0 < waits["margin"] - waits["random"] <= FOR_A_BATCH * cost.forward * len(many)


def test_little_memory_has_the_bits_of_the_cpu(small: nn.Sequential, simulation: Simulation) -> None:
    expected, found = (measured(small, "critical-radius", place, memory="small") for place in ("cpu", NAME))
    assert (found.value, found.uncertainty, found.cost) == (expected.value, expected.uncertainty, expected.cost)
    assert any("convolution" in operation for operation in simulation.operations)
