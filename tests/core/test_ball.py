"""Volume, sampling and ascent in balls and boxes."""

import math

import pytest
import torch
from scipy.stats import kstest

from bnsharp_cli.core.ball import ascend_on_sphere, log_volume, maximise_in_box, random_in_ball
from bnsharp_cli.core.point import norm


@pytest.mark.parametrize(("dimension", "volume"), [(1, 2.0), (2, math.pi), (3, 4 * math.pi / 3), (4, math.pi**2 / 2)])
def test_volume_of_small_balls(dimension: int, volume: float) -> None:
    assert log_volume(dimension, 0.3) == pytest.approx(math.log(volume * 0.3**dimension), rel=1e-12)


def test_volume_obeys_its_recurrence_up_to_a_million_dimensions() -> None:
    for n in (10, 1000, 10**6):
        step = log_volume(n, 1.0) - log_volume(n - 2, 1.0)
        assert step == pytest.approx(math.log(2 * math.pi / n), abs=1e-8)
        assert math.isfinite(log_volume(n, 1e-3))


def test_points_are_uniform_in_the_ball(generator: torch.Generator) -> None:
    like = {"x": torch.zeros(3, dtype=torch.float64)}
    radii = [norm(random_in_ball(like, 2.0, generator)) for _ in range(400)]
    assert max(radii) <= 2.0
    assert kstest([(radius / 2) ** 3 for radius in radii], "uniform").pvalue > 1e-3


def test_ascent_finds_the_eigenvalue_of_largest_modulus(generator: torch.Generator) -> None:
    basis, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))
    hessian = basis @ torch.diag(torch.tensor([3.0, 1.0, 0.5, 0.0, -1.0, -5.0], dtype=torch.float64)) @ basis.T
    theta = {"x": torch.zeros(6, dtype=torch.float64)}

    def evaluate(point: dict[str, torch.Tensor]) -> tuple[float, dict[str, torch.Tensor]]:
        return float(point["x"] @ hessian @ point["x"] / 2), {"x": hessian @ point["x"]}

    start = {"x": torch.randn(6, generator=generator, dtype=torch.float64)}
    result = ascend_on_sphere(evaluate, theta, 0.0, start, 0.1, 60)
    assert result.value == pytest.approx(0.1**2 * 5 / 2, rel=1e-9)
    assert list(result.values) == sorted(result.values)
    assert result.settled


def test_an_ascent_that_ends_below_its_best_is_not_settled() -> None:
    """A quadratic seen only through a gradient that points elsewhere: the first step wins, the others lose."""
    values = iter([5.0, 1.0, 1.0])

    def evaluate(point: dict[str, torch.Tensor]) -> tuple[float, dict[str, torch.Tensor]]:
        return next(values), {"x": torch.tensor([0.0, 1.0], dtype=torch.float64)}

    theta = {"x": torch.zeros(2, dtype=torch.float64)}
    start = {"x": torch.tensor([1.0, 0.0], dtype=torch.float64)}
    result = ascend_on_sphere(evaluate, theta, 0.0, start, 0.1, 3)
    assert result.value == 5.0
    assert not result.settled


def test_box_of_a_linear_loss_is_reached_at_its_corner() -> None:
    slope = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    theta = {"a": torch.tensor([1.0, -3.0], dtype=torch.float64), "b": torch.tensor(0.25, dtype=torch.float64)}

    def evaluate(point: dict[str, torch.Tensor]) -> tuple[float, dict[str, torch.Tensor]]:
        value = slope[:2] @ point["a"] + slope[2] * point["b"]
        return float(value), {"a": slope[:2], "b": slope[2]}

    best = maximise_in_box(evaluate, theta, 1e-2, 20)
    corner = float(slope[:2] @ theta["a"] + slope[2] * theta["b"]) + 1e-2 * (1 * 2 + 2 * 4 + 0.5 * 1.25)
    assert best.loss == pytest.approx(corner, rel=1e-12)
    assert best.converged
    assert float(best.displacement["b"]) == pytest.approx(1e-2 * 1.25)


@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e9])
def test_the_box_is_climbed_alike_whatever_the_size_of_the_loss(unit: float) -> None:
    """Scipy's tolerances are absolute; the loss of a network that fits its data can be 1e-12."""
    theta = {"x": torch.zeros(3, dtype=torch.float64)}
    slope = torch.tensor([1.0, -2.0, 0.1], dtype=torch.float64)

    def evaluate(point: dict[str, torch.Tensor]) -> tuple[float, dict[str, torch.Tensor]]:
        x = point["x"]
        return unit * float(slope @ x + 5 * x.square().sum()), {"x": unit * (slope + 10 * x)}

    best = maximise_in_box(evaluate, theta, 0.5, 20)
    assert best.loss == pytest.approx(unit * (0.5 * 3.1 + 5 * 0.75), rel=1e-9)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ten_iterations_reach_the_maximum_in_a_box_far_from_the_corner_of_the_slope(seed: int) -> None:
    """s·z + c (w·z)²/2 = max_t (s + ctw)·z − ct²/2: its maximum in the box is that of Σ|s_i + ctw_i| b_i − ct²/2."""
    generator, bend = torch.Generator().manual_seed(seed), 2.0
    slope, coupling, start = torch.randn(3, 2000, generator=generator, dtype=torch.float64)
    slope, theta = slope**3, {"x": start}
    bound = 1e-2 * (start.abs() + 1)

    def evaluate(point: dict[str, torch.Tensor]) -> tuple[float, dict[str, torch.Tensor]]:
        z = point["x"] - start
        along = float(coupling @ z)
        return float(slope @ z) + bend / 2 * along**2, {"x": slope + bend * along * coupling}

    t = torch.linspace(-80, 80, 4001, dtype=torch.float64)[:, None]
    truth = float(((slope + bend * t * coupling).abs() @ bound - bend / 2 * t[:, 0].square()).max())
    best = maximise_in_box(evaluate, theta, 1e-2, 10)
    assert best.loss == pytest.approx(truth, rel=1e-3)
    assert best.gap < 1e-3
    assert evaluate({"x": start + bound * slope.sign()})[0] < 0.1 * truth


def test_the_gap_is_the_share_of_a_linear_loss_that_was_left() -> None:
    slope = torch.tensor([3.0, 4.0], dtype=torch.float64)
    theta = {"x": torch.zeros(2, dtype=torch.float64)}

    def evaluate(point: dict[str, torch.Tensor]) -> tuple[float, dict[str, torch.Tensor]]:
        return float(slope @ point["x"]), {"x": slope}

    start = {"x": torch.tensor([0.0, -1.0], dtype=torch.float64)}
    first = ascend_on_sphere(evaluate, theta, 0.0, start, 0.1, 1)
    assert first.value == pytest.approx(0.4)
    assert first.gap == pytest.approx(1 - 4 / 5)
    assert ascend_on_sphere(evaluate, theta, 0.0, start, 0.1, 2).gap == pytest.approx(0, abs=1e-12)
    assert first.seen(1.0, theta).gap == 0


def test_a_loss_whose_gradient_overflows_ends_the_ascent() -> None:
    theta = {"a": torch.zeros(1, dtype=torch.float64), "b": torch.zeros(1, dtype=torch.float64)}

    def evaluate(_: dict[str, torch.Tensor]) -> tuple[float, dict[str, torch.Tensor]]:
        endless = torch.tensor([math.inf], dtype=torch.float64)
        return 7.0, {"a": endless, "b": -endless}

    start = {"a": torch.ones(1, dtype=torch.float64), "b": torch.ones(1, dtype=torch.float64)}
    result = ascend_on_sphere(evaluate, theta, 0.0, start, 0.1, 3)
    assert (result.value, result.gap, len(result.values)) == (7.0, 0.0, 1)


def test_a_box_is_converged_where_its_best_point_is_the_solvers_end() -> None:
    """The corner that the slope points to is highest, and the slope there says that it is no maximum."""
    theta = {"x": torch.zeros(2, dtype=torch.float64)}

    def evaluate(point: dict[str, torch.Tensor]) -> tuple[float, dict[str, torch.Tensor]]:
        x = point["x"]
        far = x[0] > 0.9
        value = 10.0 - x[0] if far else 0.1 * x[0] - x[0] ** 2
        slope = torch.tensor([-1.0 if far else 0.1 - 2 * float(x[0]), 0.0], dtype=torch.float64)
        return float(value), {"x": slope}

    best = maximise_in_box(evaluate, theta, 1.0, 20)
    assert best.loss == 9.0
    assert not best.converged
