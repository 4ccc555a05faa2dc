"""Several points at once on a device whose memory ends: fewer are tried, and the values are those of a loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from bnsharp_cli.measurement.surface.arithmetic import undisturbed
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.stacking import PointsAtOnce
from bnsharp_cli.models import lenet_bn
from tests.gpu.device import DEVICE, ON_A_GPU

pytestmark = ON_A_GPU

GIB = 2**30
POINTS = 32


@contextmanager
def a_gibibyte_left() -> Iterator[None]:
    """Let the process take only so much more than it has."""
    if DEVICE.type != "cuda":
        yield
        return
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(DEVICE).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(DEVICE) + GIB) / total, DEVICE.index or 0)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, DEVICE.index or 0)
        torch.cuda.empty_cache()


def test_memory_that_ends_gives_smaller_stacks_and_the_same_values(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def watched(function, chunk_size: int):
        def run(stacked: dict[str, Tensor]) -> Tensor:
            sizes.append(chunk_size)
            if DEVICE.type != "cuda" and chunk_size > 8:
                raise torch.OutOfMemoryError("The memory of this device is only pretended to end.")
            return torch.func.vmap(function, chunk_size=chunk_size)(stacked)

        return run

    monkeypatch.setattr("bnsharp_cli.measurement.surface.passes.vmap", watched)
    torch.manual_seed(0)
    samples = 4096 if DEVICE.type == "cuda" else 8
    batch = (torch.randn(samples, 3, 32, 32), torch.randint(10, (samples,)))
    surface = LossSurface.of(lenet_bn(), [batch], device=DEVICE, points_at_once=PointsAtOnce(POINTS))
    point = surface.point()
    points = [{name: tensor * (1 + 1e-3 * i) for name, tensor in point.items()} for i in range(POINTS)]
    with undisturbed(DEVICE):
        expected = [surface.value(point) for point in points]
        with a_gibibyte_left():
            found = surface.values(points)
    assert found == pytest.approx(expected, rel=2e-6)
    assert sizes[0] == POINTS
    assert sizes[-1] < POINTS
