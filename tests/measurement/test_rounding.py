"""The size of rounding errors in a loss, where it can be told beforehand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from bnsharp_cli.measurement.rounding import loss_rounding, passes_for_rounding
from bnsharp_cli.measurement.surface import LossSurface


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_is_what_the_last_bits_of_the_parameters_change(
    dtype: torch.dtype, generator: torch.Generator
) -> None:
    """The mean of w · 1 over 400 weights whose sum is zero moves by ε √Σw² when each moves by ε of itself."""
    half = 1000 * torch.randn(200, generator=generator)
    network = nn.Linear(400, 1, bias=False)
    with torch.no_grad():
        network.weight.copy_(torch.cat([half, -half]))
    batches = [(torch.ones(3, 400), torch.zeros(3))] * 50
    surface = LossSurface.of(network, batches, lambda outputs, _: outputs.mean(), dtype=dtype)
    point = surface.point()
    (losses,) = surface.batch_losses([point])
    expected = torch.finfo(dtype).eps * math.sqrt(2) * float(half.norm())
    sizes = [loss_rounding(surface, point, losses, seed) for seed in range(20)]
    assert expected / 2 <= math.sqrt(math.fsum(size * size for size in sizes) / 20) <= 3 * expected


@pytest.mark.parametrize(("batches", "passes"), [(1, 4), (2, 2), (3, 2), (4, 1), (9, 1)])
def test_it_takes_as_many_passes_as_it_says(batches: int, passes: int) -> None:
    surface = LossSurface.of(nn.Linear(4, 2), [(torch.ones(3, 4), torch.zeros(3, dtype=torch.int64))] * batches)
    point = surface.point()
    (losses,) = surface.batch_losses([point])
    before = surface.counter.cost
    loss_rounding(surface, point, losses)
    assert (surface.counter.cost - before).forward == passes_for_rounding(batches) == passes
