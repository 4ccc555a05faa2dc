"""The classical sharpness on surfaces with closed forms, and its failure under T_a."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from bnsharp_cli.core.ball import BoxMaximum, log_volume, maximise_in_box
from bnsharp_cli.core.rescale import uniform_factors
from bnsharp_cli.errors import UsageError
from bnsharp_cli.io.data.batches import DrawnBatches
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.invariance.copies import Copier
from bnsharp_cli.measurement.invariance.vanishing import lower_bound, vanishing_changes, vanishing_displacement
from bnsharp_cli.measurement.measures import delta_sharpness
from bnsharp_cli.measurement.measures.delta_sharpness import delta_linf, delta_lp, keskar
from bnsharp_cli.measurement.measures.measurement import Status
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.rounding import turning_error
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from tests.cases import Quadratic, blocks_by_hand

ONE_BLOCK = blocks_by_hand({"x": (0,)}, invariant=0)
"""These measures do not look at the blocks."""


def linear(dimension: int, constant: float = 0.0) -> Quadratic:
    slope = torch.linspace(-1, 2, dimension, dtype=torch.float64)
    hessian = torch.zeros(1, 1, dtype=torch.float64).expand(dimension, dimension)
    return Quadratic({"x": torch.ones(dimension)}, slope, hessian, constant)


def moment(dimension: int, power: float) -> float:
    """E|x₁|^p of a point uniform in the unit ball."""
    logarithm = math.lgamma((power + 1) / 2) + math.lgamma(dimension / 2 + 1)
    return math.exp(logarithm - math.lgamma(0.5) - math.lgamma((dimension + power) / 2 + 1))


@pytest.mark.parametrize(("dimension", "power"), [(1, 1.0), (2, 3.5), (7, 2.0), (300, 1.0), (300, 3.5)])
def test_lp_of_a_linear_loss_lies_within_its_standard_errors(dimension: int, power: float) -> None:
    """E|g·x|^p over the ball: δ‖g‖ times a Beta moment, by ∫ |x₁|^p (1 − x₁²)^{(n−1)/2}."""
    problem = linear(dimension, constant=0.5)
    surface = problem.surface()
    delta = 0.3
    measured = delta_lp(
        surface, surface.point(), ONE_BLOCK, MeasureOptions.from_flat(delta=delta, power=power, ball_samples=2000)
    )
    mean = moment(dimension, power)
    expected = delta * float(problem.slope.norm()) * mean ** (1 / power) / 1.5
    assert abs(measured.value - expected) <= 4 * measured.uncertainty.sampling
    variance = moment(dimension, 2 * power) - mean**2
    standard_error = expected * math.sqrt(variance / 2000) / (power * mean)
    assert measured.uncertainty.sampling == pytest.approx(standard_error, rel=0.15)


def test_the_logarithm_of_equation_1_adds_the_volume() -> None:
    surface = linear(300).surface()
    measured = delta_lp(
        surface, surface.point(), ONE_BLOCK, MeasureOptions.from_flat(delta=1e-3, power=2.0, ball_samples=16)
    )
    expected = (log_volume(300, 1e-3) / 2 + math.log(measured.value)) / math.log(10)
    assert measured.details["log10_integral"] == pytest.approx(expected, rel=1e-12)
    assert measured.details["log10_integral"] < -500


@pytest.mark.parametrize("power", [1.0, 3.5])
def test_the_integral_of_a_linear_loss_over_an_interval(power: float) -> None:
    """∫ |g x|^p dx over [−δ, δ] is 2 |g|^p δ^{p+1} / (p + 1): Eq. (1) in one dimension, by hand."""
    problem = linear(1)
    surface = problem.surface()
    delta, slope = 1e-4, abs(float(problem.slope))
    measured = delta_lp(
        surface, surface.point(), ONE_BLOCK, MeasureOptions.from_flat(delta=delta, power=power, ball_samples=2000)
    )
    expected = math.log10(2 * slope**power * delta ** (power + 1) / (power + 1)) / power
    relative_error = measured.uncertainty.sampling / measured.value
    assert abs(measured.details["log10_integral"] - expected) <= 4 * relative_error / math.log(10) < 0.1


def test_a_million_parameters_neither_overflow_nor_underflow() -> None:
    class Mean(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.x = torch.nn.Parameter(torch.zeros(10**6, dtype=torch.float64))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.x.sum()

    batch = (torch.zeros(1, 1), torch.zeros(1))
    surface = LossSurface.of(Mean(), [batch], lambda output, _: output, dtype=torch.float64)
    measured = delta_lp(surface, surface.point(), ONE_BLOCK, MeasureOptions.from_flat(delta=1e-3, ball_samples=64))
    expected = 1e-3 * 1e3 / math.sqrt(10**6 + 2)
    assert abs(measured.value - expected) <= 4 * measured.uncertainty.sampling
    assert math.isfinite(measured.details["log10_integral"])
    assert delta_linf(surface, surface.point(), ONE_BLOCK, MeasureOptions()).value == pytest.approx(1.0, rel=1e-9)


def test_linf_of_a_linear_loss_is_the_gradient_norm() -> None:
    problem = linear(7, constant=0.5)
    surface = problem.surface()
    measured = delta_linf(surface, surface.point(), ONE_BLOCK, MeasureOptions(delta=0.01))
    assert measured.value == pytest.approx(0.01 * float(problem.slope.norm()) / 1.5, rel=1e-9)
    assert measured.status is Status.CONVERGED


def test_linf_at_a_critical_point_is_the_largest_curvature(generator: torch.Generator) -> None:
    basis, _ = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64))
    hessian = basis @ torch.diag(torch.tensor([7.0, 2.0, 1.0, -1.0, -3.0], dtype=torch.float64)) @ basis.T
    surface = Quadratic({"x": torch.zeros(5)}, torch.zeros(5, dtype=torch.float64), hessian, 1.0).surface()
    measured = delta_linf(surface, surface.point(), ONE_BLOCK, MeasureOptions(delta=0.1, iterations=50, restarts=2))
    assert measured.value == pytest.approx(0.1**2 * 7 / 2 / 2, rel=1e-9)


def test_keskar_of_a_linear_loss_in_percent() -> None:
    problem = linear(5, constant=0.25)
    surface = problem.surface()
    measured = keskar(surface, surface.point(), ONE_BLOCK, MeasureOptions(delta=1e-3))
    loss = 0.25
    expected = 100 * 1e-3 * 2 * float(problem.slope.abs().sum()) / (1 + loss)
    assert measured.value == pytest.approx(expected, rel=1e-9)


def test_keskar_of_a_convex_quadratic_is_attained_at_a_corner() -> None:
    hessian = torch.diag(torch.tensor([4.0, 1.0, 2.0], dtype=torch.float64))
    slope = torch.tensor([0.1, -0.2, 0.05], dtype=torch.float64)
    surface = Quadratic({"x": torch.zeros(3)}, slope, hessian, 1.0).surface()
    measured = keskar(surface, surface.point(), ONE_BLOCK, MeasureOptions(delta=0.5))
    expected = 0.5 * float(slope.abs().sum()) + 0.25 * 7 / 2
    assert measured.value == pytest.approx(100 * expected / 2, rel=1e-9)


def test_a_constant_loss_is_below_resolution() -> None:
    flat = Quadratic({"x": torch.ones(3)}, torch.zeros(3, dtype=torch.float64), torch.zeros(3, 3).double(), 2.0)
    surface = flat.surface()
    for measure in (delta_lp, delta_linf, keskar):
        measured = measure(surface, surface.point(), ONE_BLOCK, MeasureOptions())
        assert measured.value == 0
        assert measured.status is Status.BELOW_RESOLUTION


def test_infinite_power_belongs_to_linf() -> None:
    surface = linear(3).surface()
    with pytest.raises(UsageError, match="delta-lp needs a finite power"):
        delta_lp(surface, surface.point(), ONE_BLOCK, MeasureOptions(power=math.inf))


def test_theorem_3_1_the_ball_around_a_small_copy_holds_a_vanishing_layer(
    sample_network: torch.nn.Module, digit_batches: DrawnBatches
) -> None:
    surface = LossSurface.of(sample_network, digit_batches.batches)
    point = surface.point()
    blocks = find_blocks(surface, point)
    changes = vanishing_changes(surface, point, blocks)
    assert set(changes) == {"conv1.weight", "conv2.weight", "linear1.weight", "linear2.weight"}
    assert lower_bound(point, blocks, changes, 1e-3) is None
    copy = Copier(surface, point, blocks).copy("copy", uniform_factors(blocks.invariant, 1e-6))
    layer, bound = lower_bound(copy.point, blocks, changes, 1e-3)
    assert bound == max(changes.values()) > 0.5
    vanished = vanishing_displacement(copy.point, blocks, layer)
    assert not (copy.point[layer] + vanished[layer]).any()
    assert delta_linf(copy.exact, copy.point, blocks, MeasureOptions(), [vanished]).value >= bound * (1 - 1e-3)
    assert delta_linf(surface, point, blocks, MeasureOptions()).value < 1e-4


def test_a_direction_that_is_not_the_steepest_rounds() -> None:
    """One step of δ-L∞ stands at an angle to the gradient where it ends."""
    hessian = torch.diag(torch.tensor([40.0, 1.0, -30.0], dtype=torch.float64))
    slope = torch.tensor([0.5, 1.0, 0.7], dtype=torch.float64)
    surface = Quadratic({"x": torch.zeros(3)}, slope, hessian, 1.0).surface()
    step = 0.1 * slope / slope.norm()
    gradient = slope + hessian @ step
    gap = 1 - float(gradient @ step / gradient.norm() / 0.1)
    measured = delta_linf(surface, surface.point(), ONE_BLOCK, MeasureOptions(delta=0.1, iterations=1))
    turned = turning_error(measured.value, gap, torch.finfo(torch.float64).eps)
    assert turned > 10 * torch.finfo(torch.float64).eps * measured.value
    assert turned <= measured.uncertainty.rounding < 3 * turned


def test_a_box_that_is_not_left_at_its_corner_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    surface = linear(5, constant=0.25).surface()
    by_gap = {}
    for gap in (0.0, 0.5):

        def left(*arguments: Any, gap: float = gap) -> BoxMaximum:
            return replace(maximise_in_box(*arguments), gap=gap)

        monkeypatch.setattr(delta_sharpness, "maximise_in_box", left)
        by_gap[gap] = keskar(surface, surface.point(), ONE_BLOCK, MeasureOptions(delta=0.1))
    value, turned = by_gap[0.0].value, by_gap[0.5].uncertainty.rounding - by_gap[0.0].uncertainty.rounding
    assert by_gap[0.5].value == value
    assert turned >= turning_error(value, 0.5, torch.finfo(torch.float64).eps) > 0
