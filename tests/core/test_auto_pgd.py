"""Auto-PGD on functions whose largest value in a ball is known, and against the paper's algorithm written plainly."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from benchmarks.published import BALLS as PUBLISHED_BALLS
from benchmarks.published import _auto_pgd as published_auto_pgd
from bnsharp_cli.core.auto_pgd import BALLS, PgdMaximum, auto_pgd
from bnsharp_cli.core.point import Point, Vector

SLOPE = torch.tensor([3.0, -1.0, 0.5, 0.0, 2.0], dtype=torch.float64)


def start(norm: str, radius: float, seed: int = 0) -> Vector:
    return BALLS[norm](radius).random({"z": torch.zeros(5).double()}, torch.Generator().manual_seed(seed))


def ascend(
    function: Callable[[Tensor], Tensor], norm: str, radius: float, steps: int = 20, seed: int = 0
) -> PgdMaximum:
    def both(point: Point) -> tuple[float, Vector]:
        leaf = point["z"].detach().requires_grad_()
        value = function(leaf)
        return float(value.detach()), {"z": torch.autograd.grad(value, leaf)[0]}

    at_origin = float(function(torch.zeros(5).double()))
    first = start(norm, radius, seed)
    return auto_pgd(lambda point: float(function(point["z"])), both, BALLS[norm](radius), first, at_origin, steps)


@pytest.mark.parametrize("radius", [1e-3, 2.0])
@pytest.mark.parametrize(("norm", "dual"), [("linf", 6.5), ("l2", math.sqrt(14.25))])
def test_a_linear_function_is_largest_where_its_slope_points_to(norm: str, dual: float, radius: float) -> None:
    found = ascend(lambda z: 7 + SLOPE @ z, norm, radius)
    assert found.loss - 7 == pytest.approx(radius * dual, rel=1e-12)
    assert found.gap == pytest.approx(0, abs=1e-12) or found.gap == math.inf
    assert found.gained_lately() <= 1e-9 * radius


def test_a_quadratic_function_in_the_euclidean_ball() -> None:
    """Without slope the largest value on the sphere is half the largest eigenvalue times the radius squared."""
    factors = torch.tensor([1.0, 4.0, 9.0, -20.0, 0.0]).double()
    found = ascend(lambda z: (factors * z * z).sum() / 2, "l2", 0.5)
    assert found.loss == pytest.approx(9 * 0.25 / 2, rel=1e-3)


def test_a_convex_function_is_largest_at_a_corner_of_the_cube() -> None:
    """The best of several starts: every corner is a local maximum."""
    found = [ascend(lambda z: (z - SLOPE / 10).square().sum(), "linf", 0.5, seed=seed) for seed in range(40)]
    assert all(float(one.coordinates["z"].abs().min()) == 0.5 for one in found)
    assert max(one.loss for one in found) == pytest.approx(float((0.5 + SLOPE.abs() / 10).square().sum()), rel=1e-12)


def test_where_every_other_point_is_lower_the_origin_is_the_answer() -> None:
    found = ascend(lambda z: -z.square().sum(), "linf", 0.5)
    assert (found.loss, float(found.coordinates["z"].abs().max())) == (0.0, 0.0)
    assert found.gained_lately() == 0


@pytest.mark.parametrize("steps", [1, 3, 20, 47])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("seed", [0, 1, 3])
def test_steps_are_those_of_the_paper(norm: str, steps: int, seed: int) -> None:
    """The program of the benchmarks takes the loss of every step by itself, on a plain vector."""

    def bumpy(z: Tensor) -> Tensor:
        return 4 * SLOPE @ z + (5 * z).sin().sum() - 2 * (z * z.roll(1)).sum()

    radius, visited = 1.3, []

    def value(z: Tensor) -> float:
        visited.append(float(bumpy(z)))
        return visited[-1]

    def slope(z: Tensor) -> Tensor:
        leaf = z.detach().requires_grad_()
        return torch.autograd.grad(bumpy(leaf), leaf)[0]

    first = start(norm, radius, seed)["z"]
    published_auto_pgd(value, slope, PUBLISHED_BALLS[norm](radius), first, 2 * radius, steps)
    found = ascend(bumpy, norm, radius, steps, seed)
    assert visited[1] > max(visited[0], float(bumpy(first)))  # or they would not return to the same points
    largest = [max(visited[: step + 1]) for step in range(1, steps + 1)]
    assert found.history[1:] == pytest.approx(largest, rel=1e-12)


def test_a_loss_that_is_not_finite_ends_it_and_is_told() -> None:
    found = ascend(lambda z: (0.05 - z[0]).log() - z[0], "linf", 1.0)
    assert not math.isfinite(found.loss)


def test_random_starts_are_in_the_ball() -> None:
    for seed in range(20):
        assert float(start("linf", 0.3, seed)["z"].abs().max()) <= 0.3
        assert float(start("l2", 0.3, seed)["z"].norm()) == pytest.approx(0.3)
