"""Where the search starts, and which random numbers that takes."""

from __future__ import annotations

import pytest
import torch

from bnsharp_cli.core.spheres import Spheres
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.measures.objective import SegmentObjective, objective_at
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.supremum import starts
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from tests.cases import mlp_bn, vectors


@pytest.fixture
def objective() -> SegmentObjective:
    surface = LossSurface.of(mlp_bn(), vectors(), dtype=torch.float64)
    point = surface.point()
    return objective_at(surface, point, find_blocks(surface, point), MeasureOptions())


@pytest.mark.parametrize(("restarts", "draws"), [(0, 0), (2, 3)])
def test_directions_are_drawn_for_restarts_alone_where_every_block_has_a_gradient(
    objective: SegmentObjective, monkeypatch: pytest.MonkeyPatch, restarts: int, draws: int
) -> None:
    drawn, draw = [], Spheres.random
    monkeypatch.setattr(Spheres, "random", lambda *args: drawn.append(draw(*args)) or drawn[-1])
    first, *others = starts(objective, MeasureOptions(restarts=restarts, seed=5))
    assert len(drawn) == draws
    assert others == drawn[1:]
    expected = objective.spheres.normalise(objective.spheres.to_coordinates_gradient(objective.gradient))
    assert all(torch.equal(first[name], expected[name]) for name in expected)


def test_the_same_starts_follow_where_a_block_has_no_gradient(objective: SegmentObjective) -> None:
    options = MeasureOptions(restarts=2, seed=5)
    first, *others = starts(objective, options)
    objective.gradient["0.weight"][0] = 0
    silent, *same = starts(objective, options)
    fallback = objective.spheres.random(objective.theta, torch.Generator().manual_seed(5))
    torch.testing.assert_close(silent["0.weight"][0], fallback["0.weight"][0])
    assert torch.equal(silent["0.weight"][1:], first["0.weight"][1:])
    for one, other in zip(others, same, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
