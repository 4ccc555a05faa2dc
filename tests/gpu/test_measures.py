"""Measures on a GPU against the same measures in float64 on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

import bnsharp_cli
from bnsharp_cli.io.data.batches import DrawnBatches
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.surface.data_stream import Stream
from tests.gpu.device import CPU, DEVICE, ON_A_GPU

pytestmark = ON_A_GPU

SEARCHED = 1e-7
"""Relative: rounding moves where a search ends, and the value is flat there."""


@pytest.fixture
def tf32() -> Iterator[None]:
    """What a program allows that asks for speed."""
    switches = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)
    before = [switch.fp32_precision for switch in switches]
    for switch in switches:
        switch.fp32_precision = "tf32"
    yield
    for switch, precision in zip(switches, before, strict=True):
        switch.fp32_precision = precision


def stated(*measurements: Measurement) -> float:
    """What rounding may do to them, as they say themselves."""
    return sum(measured.uncertainty.rounding for measured in measurements)


@pytest.mark.parametrize("partition", ["paper", "extended"])
@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_is_that_of_the_cpu(
    sample_network: nn.Module, digit_batches: DrawnBatches, name: str, partition: str
) -> None:
    options: dict[str, Any] = {"name": name, "precision": "float64", "partition": partition, "delta": 1e-2}
    expected = bnsharp_cli.measure(sample_network, digit_batches.batches, device=CPU, **options)
    found = bnsharp_cli.measure(sample_network, digit_batches.batches, device=DEVICE, **options)
    assert found.value == pytest.approx(expected.value, rel=SEARCHED)
    assert found.status == expected.status
    assert next(sample_network.parameters()).device == CPU


@pytest.mark.parametrize("name", ["bn", "delta-lp", "delta-linf"])  # keskar's search is cut off after ten iterations
@pytest.mark.parametrize("delta", [1e-3, 0.1])
def test_float32_is_float64_within_what_it_states(
    sample_network: nn.Module, digit_batches: DrawnBatches, name: str, delta: float
) -> None:
    exact = bnsharp_cli.measure(
        sample_network, digit_batches.batches, name=name, precision="float64", delta=delta, device=CPU
    )
    found = bnsharp_cli.measure(sample_network, digit_batches.batches, name=name, delta=delta, device=DEVICE)
    assert abs(found.value - exact.value) <= stated(found, exact) + SEARCHED * exact.value


def test_the_norms_running_statistics_are_those_of_the_cpu(
    sample_network: nn.Module, digit_batches: DrawnBatches
) -> None:
    expected, found = (
        bnsharp_cli.measure(sample_network, digit_batches.batches, bn="running", precision="float64", device=device)
        for device in (CPU, DEVICE)
    )
    assert found.value == pytest.approx(expected.value, rel=SEARCHED)


def test_restarts_find_what_they_find_on_the_cpu(sample_network: nn.Module, digit_batches: DrawnBatches) -> None:
    expected, found = (
        bnsharp_cli.measure(
            sample_network, digit_batches.batches, precision="float64", restarts=3, delta=1e-2, device=device
        )
        for device in (CPU, DEVICE)
    )
    assert found.search.values == pytest.approx(expected.search.values, rel=SEARCHED)
    assert found.value == pytest.approx(expected.value, rel=SEARCHED)


def test_a_stream_from_the_cpu_gives_the_number_of_resident_batches(
    sample_network: nn.Module, digit_batches: DrawnBatches
) -> None:
    stream = Stream(lambda index: digit_batches.batches[index], len(digit_batches.batches))
    expected = bnsharp_cli.measure(sample_network, digit_batches.batches, precision="float64", device=CPU)
    found = bnsharp_cli.measure(sample_network, stream, precision="float64", device=DEVICE)
    assert found.value == pytest.approx(expected.value, rel=SEARCHED)


def test_the_rescale_test_passes_and_finds_the_values_of_the_cpu(
    sample_network: nn.Module, digit_batches: DrawnBatches
) -> None:
    expected, found = (
        bnsharp_cli.rescale_test(sample_network, digit_batches.batches[:1], ball_samples=2, device=device)
        for device in (CPU, DEVICE)
    )
    assert found.invariant
    assert len(found.copies) == len(expected.copies)
    values = [[copy.measures["bn"].value for copy in report.copies] for report in (expected, found)]
    assert values[1] == pytest.approx(values[0], rel=1e-6)


def test_tf32_around_the_call_does_not_reach_inside(
    sample_network: nn.Module, digit_batches: DrawnBatches, tf32: None
) -> None:
    exact = bnsharp_cli.measure(sample_network, digit_batches.batches, precision="float64", device=CPU)
    found = bnsharp_cli.measure(sample_network, digit_batches.batches, device=DEVICE)
    assert abs(found.value - exact.value) <= stated(found, exact) + SEARCHED * exact.value
    assert torch.backends.cuda.matmul.fp32_precision == "tf32"


def test_a_network_on_the_device_is_measured_there_and_left_as_it_is(
    sample_network: nn.Module, digit_batches: DrawnBatches
) -> None:
    expected = bnsharp_cli.measure(sample_network, digit_batches.batches, precision="float64")
    module = sample_network.to(DEVICE)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    found = bnsharp_cli.measure(module, digit_batches.batches, precision="float64")
    assert found.value == pytest.approx(expected.value, rel=SEARCHED)
    for name, tensor in module.state_dict().items():
        assert tensor.device.type == DEVICE.type
        assert torch.equal(tensor, before[name])
