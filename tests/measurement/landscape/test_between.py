"""Between two networks: against closed forms, and on rescaled copies."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from bnsharp_cli.core.point import Point
from bnsharp_cli.core.rescale import random_factors
from bnsharp_cli.core.spheres import Spheres
from bnsharp_cli.errors import UsageError
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.landscape.between import matched, straight_line
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from tests.cases import Quadratic, mlp_bn, vectors


def network(seed: int) -> LossSurface:
    torch.manual_seed(seed)
    module = mlp_bn()
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d):
            norm.eps = 1e-30  # else T_a changes the function a little
    return LossSurface.of(module, vectors(), dtype=torch.float64)


def rescaled(point: Point, blocks: Blocks, seed: int) -> Point:
    factors = random_factors(blocks.invariant, 2.0, torch.Generator().manual_seed(seed))
    return Spheres(blocks.rows, torch.ones_like(factors)).scale(point, factors)


def test_a_convex_loss_has_no_barrier_and_a_concave_one_has_that_of_its_middle() -> None:
    """L = ± ½ (x − 1)² from x = 0 to x = 2: the ends are ± ½, the middle is 0."""
    for sign, barrier in ((1, 0.0), (-1, 0.5)):
        problem = Quadratic({"x": torch.tensor([1.0])}, torch.zeros(1).double(), sign * torch.eye(1).double())
        ends = ({"x": torch.tensor([value], dtype=torch.float64)} for value in (0.0, 2.0))
        found = straight_line(problem.surface(), *ends)
        assert found.barrier == pytest.approx(barrier, abs=1e-12)
        assert found.losses[0] == found.losses[-1] == pytest.approx(sign * 0.5)
        assert found.losses[10] == pytest.approx(0, abs=1e-12)
        assert found.error is None  # of one batch


def test_copies_of_either_network_have_the_same_line() -> None:
    surface, other = network(0), network(1)
    first, second = surface.point(), other.point()
    blocks = find_blocks(surface, first)
    expected = straight_line(surface, first, matched(second, first, blocks))
    copies = rescaled(first, blocks, 5), rescaled(second, blocks, 6)
    found = straight_line(surface, copies[0], matched(copies[1], copies[0], blocks))
    assert found.losses == pytest.approx(expected.losses, rel=1e-9)
    assert found.barrier == pytest.approx(expected.barrier, rel=1e-8)
    plain = straight_line(surface, first, copies[1])
    assert max(abs(a - b) for a, b in zip(plain.losses, expected.losses, strict=True)) > 0.01


def test_what_is_matched_is_a_copy_of_the_second_network_with_the_lengths_of_the_first() -> None:
    surface, other = network(0), network(1)
    first, second = surface.point(), other.point()
    blocks = find_blocks(surface, first)
    found = matched(second, first, blocks)
    assert surface.value(found) == pytest.approx(surface.value(second), rel=1e-12)
    radii = [blocks.spheres(point).radii[:-1].tolist() for point in (found, first)]
    assert radii[0] == pytest.approx(radii[1], rel=1e-12)
    free = [name for name in first if not any(name.startswith(layer) for layer in ("0.",))]
    assert all(
        torch.equal(found[name], second[name]) for name in free if blocks.rows[name].block[0] >= blocks.invariant
    )


def test_the_error_is_that_of_the_mean_over_batches() -> None:
    surface = network(0)
    parts = tuple((torch.randn(16, 4), torch.randint(3, (16,))) for _ in range(5))
    several = LossSurface.of(surface.module, parts, dtype=torch.float64)
    first = several.point()
    second = {name: -tensor for name, tensor in first.items()}
    found = straight_line(several, first, second, 3)
    middle = {name: 0 * tensor for name, tensor in first.items()}
    rises = [
        each - (a + b) / 2
        for each, a, b in zip(*(several.batch_losses([point])[0] for point in (middle, first, second)), strict=True)
    ]
    assert found.losses[1] == pytest.approx(several.value(middle))
    mean = sum(rises) / 5
    assert found.barrier == pytest.approx(max(0.0, mean))
    if mean > 0:
        spread = math.sqrt(sum((rise - mean) ** 2 for rise in rises) / 4)
        assert found.error == pytest.approx(spread / math.sqrt(5))


def test_other_parameters_are_refused_by_name() -> None:
    surface = network(0)
    first = surface.point()
    with pytest.raises(UsageError, match="'extra'"):
        straight_line(surface, first, {**first, "extra": torch.zeros(1)})
