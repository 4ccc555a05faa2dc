"""Channels that hardly vary beside their bias: their rounding belongs to the floor, and is no failed invariance."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import bnsharp_cli
from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.invariance.self_test import self_test
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.loss_surface import LossSurface


def network(row: float, seed: int = 3, bias: bool = True, channels: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    module = nn.Sequential(
        nn.Linear(10, 16, bias=bias), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)
    )
    with torch.no_grad():
        module[0].weight[3 : 3 + channels] *= row
    return module


def convolutional(row: float, norm: nn.Module) -> nn.Module:
    torch.manual_seed(5)
    module = nn.Sequential(nn.Conv2d(1, 8, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(128, 4))
    with torch.no_grad():
        module[0].weight[2] *= row
    return module


def batches(*shape: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(32, *(shape or (10,)), generator=generator), torch.randint(4, (32,), generator=generator))
        for _ in range(3)
    ]


@pytest.mark.parametrize("row", [0.0, 1e-14, 1e-12, 1e-9, 1e-6])
@pytest.mark.parametrize("seed", range(3))
def test_a_pruned_row_with_a_bias_is_no_failed_invariance(row: float, seed: int) -> None:
    module, data = network(row, seed, channels=2), batches()
    report = bnsharp_cli.rescale_test(module, data, ball_samples=2)
    assert report.invariant, report.verdict
    assert max(copy.tolerance for copy in report.copies) < 1e-2
    surface = LossSurface.of(module, data)
    point = surface.point()
    assert self_test(surface, point, find_blocks(surface, point), MeasureOptions()).invariant


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(8), nn.InstanceNorm2d(8, affine=True)], ids=["batch", "instance"])
@pytest.mark.parametrize("row", [0.0, 1e-12])
def test_a_pruned_filter_with_a_bias(row: float, norm: nn.Module) -> None:
    report = bnsharp_cli.rescale_test(convolutional(row, norm), batches(1, 6, 6), ball_samples=2)
    assert report.invariant, report.verdict


def test_the_floor_covers_the_distance_to_another_rounding() -> None:
    """The same function with its bias moved, which batch statistics take out, rounds otherwise."""
    covered = 0
    for seed in range(10):
        values, floors = [], []
        for shift in (0.0, 0.37):
            module = network(1e-7, seed)
            with torch.no_grad():
                module[0].bias += shift
            found = bnsharp_cli.measure(module, batches(), precision="float32")
            values.append(found.value)
            floors.append(found.uncertainty.rounding)
        covered += abs(values[0] - values[1]) <= sum(floors)
    assert covered == 10


def test_nothing_is_added_where_every_channel_varies() -> None:
    ordinary = bnsharp_cli.measure(network(1.0), batches(), precision="float64")
    assert ordinary.uncertainty.rounding < 1e-11
    silent = bnsharp_cli.measure(network(0.0, bias=False), batches(), precision="float64")
    assert silent.uncertainty.rounding < 1e-11


def test_a_network_that_is_not_invariant_is_still_called_so() -> None:
    """With running statistics the bias before the norm acts, and the verdict stays what it was."""
    report = bnsharp_cli.rescale_test(network(0.0), batches(), bn="running", ball_samples=2)
    assert not report.invariant


def test_a_layer_of_zeros_is_not_the_one_that_is_flattened() -> None:
    torch.manual_seed(1)
    module = nn.Sequential(
        nn.Linear(10, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 4)
    )
    for zeros in (0, 3):
        dead = copy.deepcopy(module)
        with torch.no_grad():
            dead[zeros].weight.zero_()
        assert bnsharp_cli.rescale_test(dead, batches(), ball_samples=2).invariant
    with torch.no_grad():
        module[0].weight.zero_()
        module[3].weight.zero_()
    with pytest.raises(NotMeasurableError, match="weight of the network is zero") as refused:
        bnsharp_cli.rescale_test(module, batches(), ball_samples=2)
    assert refused.value.argument == "model"
    assert bnsharp_cli.measure(module, batches()).value > 0
