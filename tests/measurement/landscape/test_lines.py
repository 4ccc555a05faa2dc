"""Lines and planes through networks: against closed forms, and on rescaled copies."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from bnsharp_cli.core.rescale import random_factors
from bnsharp_cli.core.spheres import Spheres
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.landscape.directions import (
    SPANS,
    Direction,
    Surroundings,
    along_gradient,
    orthogonal_to,
    random_direction,
    sharpest,
)
from bnsharp_cli.measurement.landscape.lines import even_steps, line_along
from bnsharp_cli.measurement.landscape.plane import FIRST, Window, plane_through
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from tests.cases import Quadratic, blocks_by_hand, mlp_bn, vectors

STEPS = even_steps(0.4, 9)


def quadratic() -> tuple[Quadratic, Surroundings]:
    """Two blocks with relative radii 5 and 13, and θ_*."""
    theta = {"w": torch.tensor([[3.0, 4.0], [5.0, 12.0]]), "b": torch.tensor([7.0])}
    problem = Quadratic(theta, torch.tensor([1.0, 0, 0, 2, -3]).double(), torch.eye(5).double(), constant=2.0)
    blocks = blocks_by_hand({"w": (0, 1), "b": (2,)}, 2)
    surface = problem.surface()
    return problem, Surroundings(surface, surface.point(), blocks, MeasureOptions(precision="float64"))


def network() -> tuple[LossSurface, Surroundings]:
    torch.manual_seed(0)
    module = mlp_bn()
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d):
            norm.eps = 1e-30  # else T_a changes the function a little
    surface = LossSurface.of(module, vectors(), dtype=torch.float64)
    return surface, _around(surface, surface.point())


def _around(surface: LossSurface, point: dict[str, torch.Tensor]) -> Surroundings:
    options = MeasureOptions(precision="float64", delta=0.01, seed=3)
    return Surroundings(surface, point, find_blocks(surface, point), options)


def test_the_loss_along_the_gradient_is_the_closed_form() -> None:
    """∇ = (1, 0 | 0, 2 | −3), so v = (5, 0 | 0, 13 | −1) and L = c + t (5 + 26 + 3) + t²/2 (25 + 169 + 1)."""
    _, around = quadratic()
    line = line_along(around, along_gradient(around), STEPS)
    assert line.name == "gradient"
    assert line.steps == STEPS
    assert line.losses == pytest.approx([2 + 34 * t + 97.5 * t * t for t in STEPS], rel=1e-12)


def test_the_sharpest_direction_is_that_of_the_value() -> None:
    _, around = quadratic()
    found = sharpest(around)
    assert found.measured is not None
    line = line_along(around, found, [-1e-3, 1e-3])
    limit = math.sqrt(2 / 3) * 34
    assert found.measured.value == pytest.approx(limit, rel=1e-2)
    assert abs(line.losses[1] - line.losses[0]) / 2e-3 == pytest.approx(34, rel=1e-6)


def test_random_directions_have_the_radius_of_every_block() -> None:
    _, around = quadratic()
    one, other = (random_direction(around, number) for number in (0, 1))
    displacement = around.spheres.to_direction(one.coordinates)
    assert displacement["w"].norm(dim=1).tolist() == pytest.approx([5, 13], rel=1e-12)
    assert float(displacement["b"].norm()) == pytest.approx(1, rel=1e-12)
    assert not torch.equal(one.coordinates["w"], other.coordinates["w"])


def test_the_second_direction_is_orthogonal_in_every_block_and_zero_where_nothing_is_left() -> None:
    _, around = quadratic()
    first = along_gradient(around)
    second = orthogonal_to(around, first, 1)
    inner = around.spheres.inner(first.coordinates, second.coordinates)
    assert inner.tolist() == pytest.approx([0, 0, 0], abs=1e-12)
    assert around.spheres.norms(second.coordinates).tolist() == pytest.approx([1, 1, 0], abs=1e-12)


def test_accuracies_are_those_of_the_displaced_network() -> None:
    surface, around = network()
    line = line_along(around, random_direction(around), STEPS, right=True)
    plain = line_along(around, random_direction(around), STEPS)
    assert line.losses == pytest.approx(plain.losses, rel=1e-12)
    assert line.accuracies[len(STEPS) // 2] == surface.evaluated(around.point).accuracy
    assert len({*line.accuracies}) > 1


@pytest.mark.parametrize("span", SPANS)
def test_a_rescaled_copy_has_the_same_picture(span: str) -> None:
    surface, around = network()
    factors = random_factors(around.blocks.invariant, 2.0, torch.Generator().manual_seed(5))
    scaled = Spheres(around.blocks.rows, torch.ones_like(factors)).scale(around.point, factors)
    copy = _around(surface, {name: tensor.double() for name, tensor in scaled.items()})
    planes = []
    for one in (around, copy):
        first = SPANS[span](one)
        planes.append(plane_through(one, first, orthogonal_to(one, first, 1), Window.square(0.5), FIRST**2))
    assert planes[0].losses == pytest.approx(planes[1].losses, rel=1e-8)
    assert max(planes[0].losses) > 1.1 * min(planes[0].losses)


def test_plain_random_directions_do_not_have_the_same_picture_on_a_copy() -> None:
    """What the units of the blocks are for: the same absolute steps see another loss where weights are smaller."""
    surface, around = network()
    factors = torch.full((around.blocks.invariant + 1,), 0.1).double()
    factors[-1] = 1
    scaled = Spheres(around.blocks.rows, torch.ones_like(factors)).scale(around.point, factors)
    direction = {name: torch.randn_like(tensor) for name, tensor in around.point.items()}
    losses = [
        surface.value({name: point[name] + 0.3 * direction[name] for name in point}) for point in (around.point, scaled)
    ]
    assert surface.value(scaled) == pytest.approx(surface.value(around.point), rel=1e-3)
    assert abs(losses[1] / losses[0] - 1) > 0.01


def test_steps_are_even_and_pass_through_zero() -> None:
    assert even_steps(0.5)[15] == 0.0
    assert Direction("named", {}).name == "named"
