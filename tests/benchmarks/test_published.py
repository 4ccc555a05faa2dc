"""The published worst-case sharpness, as we implement it, against closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from benchmarks.methods import counted
from benchmarks.published import worst_case_sharpness
from tests.cases import NOTHING, Vectors

WEIGHTS = torch.tensor([0.5, -2.0, 1.5, -0.25, 3.0], dtype=torch.float64)
SLOPE = torch.tensor([1.0, -0.5, 0.3, 2.0, -0.1], dtype=torch.float64)
RADIUS = 0.2


def linear(output: Tensor, _: Tensor) -> Tensor:
    return SLOPE @ output


@pytest.mark.parametrize(
    ("norm", "adaptive", "expected"),
    [
        ("l2", False, RADIUS * SLOPE.norm()),
        ("l2", True, RADIUS * (SLOPE * WEIGHTS).norm()),
        ("linf", False, RADIUS * SLOPE.abs().sum()),
        ("linf", True, RADIUS * (SLOPE * WEIGHTS).abs().sum()),
    ],
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_linear_loss_gives_the_dual_norm_of_its_gradient(
    norm: str, adaptive: bool, expected: Tensor, seed: int
) -> None:
    value = worst_case_sharpness(
        Vectors(w=WEIGHTS), NOTHING, linear, norm=norm, adaptive=adaptive, radius=RADIUS, seed=seed
    )
    assert value == pytest.approx(float(expected), rel=1e-6)


def test_a_convex_quadratic_is_worst_at_a_corner_of_the_box() -> None:
    """½ Σ h w² on |ε_i| ≤ ρ |w_i| rises by Σ h_i w_i² (ρ + ρ²/2)."""
    curvature = torch.tensor([1.0, 3.0, 0.1, 2.0, 0.5], dtype=torch.float64)
    value = worst_case_sharpness(
        Vectors(w=WEIGHTS), NOTHING, lambda output, _: curvature @ output**2 / 2, norm="linf", radius=RADIUS
    )
    assert value == pytest.approx(float(curvature @ WEIGHTS**2) * (RADIUS + RADIUS**2 / 2), rel=1e-9)


def test_an_isotropic_quadratic_is_worst_along_the_weights() -> None:
    """½ ‖w‖² on ‖ε‖ ≤ ρ rises by ρ ‖w‖ + ρ²/2."""
    value = worst_case_sharpness(
        Vectors(w=WEIGHTS), NOTHING, lambda output, _: output @ output / 2, norm="l2", adaptive=False, radius=RADIUS
    )
    assert value == pytest.approx(float(RADIUS * WEIGHTS.norm() + RADIUS**2 / 2), rel=1e-6)


def test_a_zero_weight_stays_where_it_is() -> None:
    """c = 0 allows no displacement; it must neither divide by zero nor disturb the others."""
    weights = torch.tensor([0.0, 2.0], dtype=torch.float64)
    slope = torch.tensor([5.0, 1.0], dtype=torch.float64)
    value = worst_case_sharpness(
        Vectors(w=weights), NOTHING, lambda output, _: slope @ output, norm="l2", radius=RADIUS
    )
    assert value == pytest.approx(RADIUS * 2.0, rel=1e-6)


def test_a_concave_loss_at_its_top_has_no_sharpness() -> None:
    """The clean point is a candidate, so the value is never negative."""
    value = worst_case_sharpness(
        Vectors(w=WEIGHTS), NOTHING, lambda output, _: -(output - WEIGHTS) @ (output - WEIGHTS), radius=RADIUS
    )
    assert value == 0


def test_each_batch_is_a_problem_of_its_own_and_costs_the_published_passes() -> None:
    """Two batches that pull in opposite directions: the mean of two positive maxima, 41F + 20B."""
    module = nn.Linear(1, 1, bias=False)
    before = module.weight.detach().clone()
    batches = [(torch.full((3, 1), sign), torch.zeros(3)) for sign in (1.0, -1.0)]
    with counted(module, 6) as passes:
        value = worst_case_sharpness(
            module, batches, lambda output, _: output.mean(), norm="l2", adaptive=False, radius=RADIUS
        )
    assert value == pytest.approx(RADIUS, rel=1e-5)
    assert (passes.forward, passes.backward) == (pytest.approx(41), pytest.approx(20))
    assert torch.equal(module.weight, before)
    assert module.weight.grad is None
