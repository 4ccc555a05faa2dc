"""The size of rounding errors in a loss, where it can be told beforehand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from bnsharp_cli.core.quadrature import SegmentMean
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.measures.bn_sharpness import bn_sharpness
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.rounding import direction_rounding, loss_rounding, passes_for_rounding
from bnsharp_cli.measurement.surface.loss_surface import LossSurface


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


def deep() -> nn.Sequential:
    """Sixteen layers of 96 units with random weights, whose kinks lie close."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs in (32, *[96] * 15):
        layers += [nn.Linear(inputs, 96, bias=False), nn.BatchNorm1d(96), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(96, 10))


def test_where_kinks_lie_close_the_rounding_of_the_direction_is_no_longer_a_matter_of_last_bits() -> None:
    """float32 against float64: a hundred units in the last place are not enough."""
    network, below, by_last_bits = deep(), 0, 0
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        batch = (torch.randn(128, 32, generator=generator), torch.randint(10, (128,), generator=generator))
        surface = LossSurface.of(network, [batch])
        point = surface.point()
        blocks = find_blocks(surface, point)
        single, double = (
            bn_sharpness(each, point, blocks, MeasureOptions(delta=2e-3, precision=precision))
            for each, precision in ((surface, "float32"), (surface.in_precision(torch.float64), "float64"))
        )
        error = abs(single.value - double.value)
        below += error <= (single.uncertainty.rounding or 0.0)
        by_last_bits += error <= 100 * torch.finfo(torch.float32).eps * double.value
    assert below >= 11 > by_last_bits


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kinks_count_where_rounding_reaches_them_and_the_search_has_not_converged(dtype: torch.dtype) -> None:
    """A hundred thousand decisions: some of them within 1e-7 of their kinks, none within 1e-16."""
    surface = LossSurface.of(deep(), [(torch.zeros(64, 32), torch.zeros(64, dtype=torch.int64))], dtype=dtype)
    epsilon = torch.finfo(dtype).eps
    kinked, smooth = (SegmentMean(1.0, error, ()) for error in (0.1, 1e-4))
    options = MeasureOptions(delta=1e-2)
    assert direction_rounding(kinked, 0.0, surface, options) == 0
    assert 0 < direction_rounding(smooth, 0.1, surface, options) < 100 * epsilon
    assert (direction_rounding(kinked, 0.1, surface, options) > 1e3 * epsilon) is (dtype == torch.float32)
