"""The plane of a training path: against a singular value decomposition, and on rescaled copies."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import UsageError
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.landscape.between import matched
from bnsharp_cli.measurement.landscape.directions import Surroundings
from bnsharp_cli.measurement.landscape.lines import displaced
from bnsharp_cli.measurement.landscape.plane import FIRST, Window, plane_through
from bnsharp_cli.measurement.landscape.training_path import training_path
from bnsharp_cli.measurement.measures.options import MeasureOptions
from tests.cases import Quadratic, blocks_by_hand
from tests.measurement.landscape.test_between import network, rescaled

OPTIONS = MeasureOptions(precision="float64")


def around(seed: int = 0) -> Surroundings:
    surface = network(seed)
    point = surface.point()
    return Surroundings(surface, point, find_blocks(surface, point), OPTIONS)


def earlier(count: int) -> list[Point]:
    return [network(seed + 1).point() for seed in range(count)]


def test_directions_shares_and_places_are_those_of_a_singular_value_decomposition() -> None:
    generator = torch.Generator().manual_seed(2)
    points = [{"x": torch.randn(5, generator=generator).double()} for _ in range(5)]
    problem = Quadratic(points[-1], torch.zeros(5).double(), torch.eye(5).double())
    surface = problem.surface()
    blocks = blocks_by_hand({"x": (0,) * 5}, 0)
    found = training_path(Surroundings(surface, points[-1], blocks, OPTIONS), points[:-1])
    matrix = np.stack([(point["x"] - points[-1]["x"]).numpy() for point in points[:-1]])
    _, singular, right = np.linalg.svd(matrix)
    for number, direction in enumerate(found.directions):
        own = direction.coordinates["x"].numpy()
        assert abs(float(own @ right[number])) == pytest.approx(1, abs=1e-12)
        places = [place[number] for place in found.places[:-1]]
        assert places == pytest.approx(matrix @ own, abs=1e-12)
        assert max(places, key=abs) > 0
    assert found.shares == pytest.approx(singular[:2] ** 2 / (singular**2).sum(), rel=1e-12)
    assert found.places[-1] == (0.0, 0.0)


def test_a_plane_of_three_checkpoints_passes_through_all_of_them() -> None:
    last, others = around(), earlier(2)
    found = training_path(last, others)
    assert sum(found.shares) == pytest.approx(1)
    for point, place in zip([*others, last.point], found.places, strict=True):
        there = displaced(last, found.directions, place)
        copy = matched(point, last.point, last.blocks)
        for name in there:
            assert torch.allclose(there[name], copy[name], rtol=1e-9, atol=1e-12)
        assert last.surface.value(there) == pytest.approx(last.surface.value(point), rel=1e-9)


def test_copies_of_any_checkpoint_change_nothing() -> None:
    last, others = around(), earlier(4)
    copy = Surroundings(last.surface, rescaled(last.point, last.blocks, 9), last.blocks, OPTIONS)
    copies = [rescaled(point, last.blocks, seed) for seed, point in enumerate(others)]
    planes = []
    for one, path in ((last, others), (copy, copies)):
        found = training_path(one, path)
        window = Window.holding(found.places)
        planes.append((found, plane_through(one, *found.directions, window, FIRST**2)))
    assert np.array(planes[1][0].places) == pytest.approx(np.array(planes[0][0].places), rel=1e-9)
    assert planes[1][0].shares == pytest.approx(planes[0][0].shares, rel=1e-9)
    assert planes[1][1].losses == pytest.approx(planes[0][1].losses, rel=1e-8)
    assert max(planes[0][1].losses) > 1.1 * min(planes[0][1].losses)


def test_the_window_holds_every_checkpoint() -> None:
    last = around()
    found = training_path(last, earlier(4))
    plane = plane_through(last, *found.directions, Window.holding(found.places), FIRST**2)
    edges = [(min(along), max(along)) for along in zip(*plane.places, strict=True)]
    for place in found.places:
        assert all(low < one < high for one, (low, high) in zip(place, edges, strict=True))


def test_checkpoints_on_one_line_are_refused() -> None:
    last = around()
    way = [{name: tensor * (1 + part) for name, tensor in last.point.items()} for part in (0.1, 0.2)]
    with pytest.raises(UsageError, match="lie on one line"):
        training_path(last, way)
    with pytest.raises(UsageError, match="lie on one line"):
        training_path(last, [last.point, last.point])
