"""torch.nn.utils.weight_norm, whose hook leaves the weight on the module, against its parametrised successor."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.stacking import PointsAtOnce
from tests.cases import vectors


def network(old: bool) -> nn.Sequential:
    norm = nn.utils.weight_norm if old else nn.utils.parametrizations.weight_norm
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.Sequential(norm(nn.Linear(4, 6)), nn.BatchNorm1d(6), nn.ReLU(), norm(nn.Linear(6, 3)))


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
@pytest.mark.parametrize("points_at_once", ["loop", 4])
def test_a_weight_that_a_hook_computes_is_computed_anew_in_every_pass(points_at_once: str | int) -> None:
    surface, reference = (
        LossSurface.of(network(old), vectors(), dtype=torch.float64, points_at_once=PointsAtOnce(points_at_once))
        for old in (True, False)
    )
    point, same = surface.point(), reference.point()
    assert surface.values([point] * 3) == pytest.approx(reference.values([same] * 3), rel=1e-14)
    with surface.pool.copy(), surface.pool.copy():
        _, gradient = surface.value_and_gradient(point)  # on a copy made after the passes above
    _, expected = reference.value_and_gradient(same)
    torch.testing.assert_close(gradient["0.weight_v"], expected["0.parametrizations.weight.original1"])
    assert find_blocks(surface, point).invariant == find_blocks(reference, same).invariant == 15


def test_the_users_module_keeps_its_weight() -> None:
    module = network(old=True)
    weight = module[0].weight
    LossSurface.of(module, vectors()).value(LossSurface.of(module, vectors()).point())
    assert module[0].weight is weight
