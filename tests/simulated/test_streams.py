"""Batches that are read anew in every pass, on the simulated device: the bits of resident ones, and no more waits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from bnsharp_cli.io.data.batches import draw_batches
from bnsharp_cli.measurement.surface.batch_sizes import BatchSizes
from bnsharp_cli.measurement.surface.data_stream import Batch, Stream
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.stacking import PointsAtOnce
from tests.cli.helpers import bnsharp
from tests.simulated.backend import NAME
from tests.simulated.device import Simulation, ending_midway, simulated
from tests.simulated.networks import batches, network
from tests.simulated.test_commands import FEW, SAMPLE, plain
from tests.simulated.test_surface import EVALUATIONS, points

COUNT = 6
BYTES_OF_A_BATCH = sum(part.nbytes for part in batches(1)[0])


@pytest.fixture(scope="module")
def small() -> nn.Sequential:
    return network(1)


def streamed(module: nn.Module, together: int = 1) -> LossSurface:
    """The surface on the device of batches that are read from memory of the CPU, one after the other."""
    made = batches(COUNT)
    sizes = BatchSizes(tuple(len(targets) for _, targets in made))
    stream = Stream(made.__getitem__, COUNT)
    return LossSurface.of(module, stream, device=NAME, points_at_once=PointsAtOnce(together), sizes=sizes)


def test_a_batch_goes_to_the_device_whenever_it_is_asked_for(simulation: Simulation) -> None:
    made = batches(COUNT)
    asked: list[int] = []

    def read(number: int) -> Batch:
        asked.append(number)
        return made[number]

    stream = Stream(read, COUNT, NAME)
    before, most = simulation.live, 0
    for inputs, targets in stream:
        assert {inputs.device.type, targets.device.type} == {NAME}
        most = max(most, simulation.live - before)
        del inputs, targets
    assert asked == [*range(COUNT)]
    assert most <= 3 * BYTES_OF_A_BATCH  # that in use, that which is read meanwhile, and the one in between
    assert simulation.live == before
    assert simulation.waits.total() == 0


@pytest.mark.parametrize("name", EVALUATIONS)
def test_an_evaluation_of_a_stream_waits_once_and_has_the_bits_of_resident_batches(
    small: nn.Sequential, simulation: Simulation, name: str
) -> None:
    resident, surface = LossSurface.of(small, batches(COUNT)), streamed(small)
    point = surface.point()
    surface.value(point)  # chooses how batches are computed
    simulation.waits.clear()
    found = EVALUATIONS[name](surface, point)
    assert simulation.waits.total() == 1, dict(simulation.waits)
    expected = EVALUATIONS[name](resident, resident.point())
    assert on_cpu(found) == on_cpu(expected)


def on_cpu(found: object) -> object:
    """Tensors as lists, so that answers of two devices can be compared."""
    if hasattr(found, "tolist"):
        return found.tolist()
    if isinstance(found, dict):
        return {name: on_cpu(one) for name, one in found.items()}
    if isinstance(found, list | tuple):
        return [on_cpu(one) for one in found]
    return {name: on_cpu(one) for name, one in vars(found).items()} if hasattr(found, "__dict__") else found


def test_memory_that_ends_is_met_once_on_a_stream(small: nn.Sequential) -> None:
    with simulated() as simulation:
        surface = streamed(small, 32)
        expected = [surface.value(point) for point in points(surface, 32)]
        together = points(surface, 32)
        surface.plan()
        with ending_midway(simulation):
            surface.values(together)
        surface.pool.fitting.sizes.clear()
        assert surface.values(together) == pytest.approx(expected, rel=1e-6)
        (fitting,) = surface.pool.fitting.sizes.values()
        assert fitting < 32
        assert surface.values(together) == pytest.approx(expected, rel=1e-6)
        assert [*surface.pool.fitting.sizes.values()] == [fitting]


def test_a_command_that_streams_writes_the_document_of_one_that_keeps_its_batches(
    tmp_path: Path, simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("measure", SAMPLE, "--measure", "gradient-norm", "--precision", "float32", *FEW, "--json")
    kept = json.loads(bnsharp(*arguments, "--device", "cpu", folder=tmp_path).stdout)
    streams: list[str] = []

    def on(stream: Stream, device: torch.device | str) -> Stream:
        streams.append(torch.device(device).type)
        return replace(stream, device=device)

    monkeypatch.setattr(Stream, "on", on)
    monkeypatch.setitem(draw_batches.__kwdefaults__, "resident", 0)
    found = json.loads(bnsharp(*arguments, "--device", NAME, folder=tmp_path).stdout)
    assert {*streams} == {NAME}
    assert plain(found) == plain(kept)
