"""BN-Sharpness against closed forms, brute force and an independent solver, all in float64."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bnsharp_cli.core.point import inner, norm, scaled
from bnsharp_cli.core.search_rules import equation_16
from bnsharp_cli.errors import NotMeasurableError, UsageError
from bnsharp_cli.io.data.batches import DrawnBatches
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.measures.bn_sharpness import bn_sharpness
from bnsharp_cli.measurement.measures.measurement import Status
from bnsharp_cli.measurement.measures.objective import SegmentObjective
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from tests.cases import Quadratic, blocks_by_hand, mlp_bn, sample_surface, vectors

POWERS = (1.0, 1.5, 2.0, 3.0, 4.0, math.inf)
THETA = {"w": torch.tensor([[3.0, 4.0], [0.6, 0.8]]), "b": torch.tensor([5.0, -7.0])}
ROWS = blocks_by_hand({"w": (0, 1), "b": (2, 2)}, invariant=2)
ALL_FREE = blocks_by_hand({"w": (0, 0), "b": (0, 0)}, invariant=0)


DIGITS = ("digits-small-batch", "digits-small-batch-decay", "digits-large-batch", "digits-large-batch-decay")


def exact(options: dict[str, object]) -> MeasureOptions:
    return MeasureOptions(**{"precision": "float64", **options})


def mean_factor(power: float, degree: int) -> float:
    """(δ⁻¹ ∫ |(t/δ)^degree|^p dt)^{1/p} at δ = 1."""
    return 1.0 if math.isinf(power) else (2 / (degree * power + 1)) ** (1 / power)


@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("delta", [1e-3, 0.5])
def test_linear_surface_in_closed_form(power: float, delta: float) -> None:
    slope = torch.tensor([0.1, -0.2, 0.3, 0.5, -0.7, 0.2], dtype=torch.float64)
    surface = Quadratic(THETA, slope, torch.zeros(6, 6, dtype=torch.float64)).surface()
    value = bn_sharpness(surface, surface.point(), ROWS, exact({"power": power, "delta": delta})).value
    expected = slope[:2].norm() * 5 + slope[2:4].norm() * 1 + slope[4:].norm() * 1
    assert value == pytest.approx(mean_factor(power, 1) * float(expected), rel=1e-6)


@pytest.mark.parametrize("power", POWERS)
def test_exact_critical_point_in_closed_form(power: float, generator: torch.Generator) -> None:
    """ΔL = ½ t² vᵀHv: with one free block the supremum is the eigenvalue of largest modulus."""
    basis, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))
    eigenvalues = torch.tensor([9.0, 3.0, 1.0, 0.2, -1.0, -4.0], dtype=torch.float64)
    hessian = basis @ torch.diag(eigenvalues) @ basis.T
    surface = Quadratic(THETA, torch.zeros(6, dtype=torch.float64), hessian).surface()
    options = exact({"power": power, "delta": 0.02, "iterations": 60})
    measured = bn_sharpness(surface, surface.point(), ALL_FREE, options)
    assert measured.value == pytest.approx(mean_factor(power, 2) * 0.02 * 9 / 2, rel=1e-4)
    assert measured.status is Status.CONVERGED
    assert measured.details["limit"] == 0


@pytest.mark.parametrize("power", [1.5, 2.0, 4.0])
def test_small_delta_limit_on_a_smooth_network_has_order_two(power: float) -> None:
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3)).double()
    surface = LossSurface.of(module, vectors(), dtype=torch.float64)
    point = surface.point()
    blocks = find_blocks(surface, point)
    errors = []
    for delta in (4e-2, 2e-2, 1e-2):
        measured = bn_sharpness(
            surface, point, blocks, exact({"power": power, "delta": delta, "search": "gradient", "rtol": 1e-9})
        )
        errors.append(abs(measured.value / measured.details["limit"] - 1))
    orders = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
    assert min(orders) >= 1.9, (errors, orders)


def objective_of(module: nn.Module, delta: float, power: float) -> SegmentObjective:
    surface = LossSurface.of(module.double(), vectors(), dtype=torch.float64)
    point = surface.point()
    loss, gradient = surface.value_and_gradient(point)
    return SegmentObjective(surface, point, find_blocks(surface, point).spheres(point), loss, gradient, delta, power)


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0, 3.0, 4.0, math.inf])
def test_gradient_of_the_objective_is_its_derivative(power: float, generator: torch.Generator) -> None:
    torch.manual_seed(2)
    module = nn.Sequential(nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3))
    objective = objective_of(module, 0.05, power)
    u = objective.spheres.random(objective.theta, generator)
    w = objective.spheres.random(objective.theta, generator)
    gradient = objective.value_and_gradient(u).gradient
    step = 1e-5
    ends = [objective.value({name: u[name] + sign * step * w[name] for name in u}).value for sign in (1, -1)]
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(inner(gradient, w), rel=1e-6)


def exact_gradient(objective: SegmentObjective, direction: dict[str, Tensor]) -> dict[str, Tensor]:
    """∇_v F = (p/δ²) ∫ |ΔL/δ|^{p−1} sign(ΔL) t ∇L(θ+tv) dt by 40 Gauss-Legendre nodes."""
    p, delta = objective.power, objective.delta
    nodes, weights = np.polynomial.legendre.leggauss(40)
    total = {name: torch.zeros_like(tensor) for name, tensor in direction.items()}
    for s, w in zip(nodes * delta, weights * delta, strict=True):
        value, slope = objective.surface.value_and_gradient(
            {name: tensor + s * direction[name] for name, tensor in objective.theta.items()}
        )
        change = value - objective.loss
        factor = p / delta**2 * abs(change / delta) ** (p - 1) * math.copysign(1, change) * s * w
        total = {name: total[name] + factor * slope[name] for name in total}
    return total


@pytest.mark.parametrize("power", [2.0, 3.0, 4.0])
def test_equation_16_against_the_exact_gradient_has_order_two(power: float, generator: torch.Generator) -> None:
    torch.manual_seed(3)
    module = nn.Sequential(nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3))
    errors = []
    for delta in (4e-2, 2e-2, 1e-2):
        objective = objective_of(module, delta, power)
        v = objective.spheres.to_direction(objective.spheres.random(objective.theta, torch.Generator().manual_seed(4)))
        truth = exact_gradient(objective, v)
        printed = equation_16(objective, v)
        errors.append(norm({name: printed[name] - truth[name] for name in truth}) / norm(truth))
    orders = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
    assert min(orders) >= 1.9, (errors, orders)


@pytest.mark.parametrize("search", ["power", "gradient", "ascent", "paper"])
@pytest.mark.parametrize("power", [1.0, 2.0, 3.0, math.inf])
def test_every_rule_lies_between_a_random_direction_and_the_supremum(
    tiny: nn.Sequential, search: str, power: float, generator: torch.Generator
) -> None:
    if search == "paper" and math.isinf(power):
        with pytest.raises(UsageError, match="power: expected a finite number with search paper"):
            MeasureOptions(search=search, power=power)
        return
    surface = LossSurface.of(tiny, vectors(), dtype=torch.float64)
    point = surface.point()
    blocks = find_blocks(surface, point)
    found = bn_sharpness(surface, point, blocks, exact({"search": search, "power": power}))
    supremum = bn_sharpness(surface, point, blocks, exact({"power": power, "iterations": 30, "restarts": 4}))
    assert 0.9 * supremum.value <= found.value <= supremum.value * (1 + 1e-5)


@pytest.mark.parametrize("search", ["power", "ascent"])
def test_monotone_rules_never_answer_less_than_they_saw(tiny: nn.Sequential, search: str) -> None:
    surface = LossSurface.of(tiny, vectors(), dtype=torch.float64)
    point = surface.point()
    blocks = find_blocks(surface, point)
    values = [
        bn_sharpness(surface, point, blocks, exact({"search": search, "delta": 0.02, "iterations": k})).search.values[0]
        for k in (1, 3, 9)
    ]
    assert values == sorted(values)


@pytest.mark.parametrize("name", DIGITS)
def test_the_linear_regime_costs_at_most_10_forwards_and_3_backwards(name: str) -> None:
    """All samples at δ = 1e-3; elsewhere at most 21 and 5."""
    surface = sample_surface(name)
    point = surface.point()
    blocks = find_blocks(surface, point)
    for delta, forward, backward in ((1e-3, 10, 3), (1e-2, 21, 5), (1e-1, 21, 5)):
        before = surface.counter.cost
        measured = bn_sharpness(surface, point, blocks, MeasureOptions(delta=delta))
        assert measured.cost.forward <= forward, delta
        assert measured.cost.backward <= backward, delta
        assert measured.cost == surface.counter.cost - before


def test_float32_agrees_with_float64_within_the_stated_rounding(
    sample_network: nn.Module, digit_batches: DrawnBatches
) -> None:
    surface = LossSurface.of(sample_network, digit_batches.batches)
    point = surface.point()
    blocks = find_blocks(surface, point)
    for delta in (1e-3, 1e-2, 1e-1):
        single = bn_sharpness(surface, point, blocks, MeasureOptions(delta=delta, precision="float32"))
        double = bn_sharpness(surface.in_precision(torch.float64), point, blocks, exact({"delta": delta}))
        assert abs(single.value - double.value) <= single.uncertainty.rounding
        assert double.uncertainty.rounding < single.uncertainty.rounding / 1e3


def test_a_constant_loss_is_below_resolution() -> None:
    surface = Quadratic(
        THETA, torch.zeros(6, dtype=torch.float64), torch.zeros(6, 6, dtype=torch.float64), 3.0
    ).surface()
    measured = bn_sharpness(surface, surface.point(), ROWS, exact({}))
    assert measured.value == 0
    assert measured.status is Status.BELOW_RESOLUTION


def test_auto_precision_repeats_the_integral_where_float32_is_too_coarse(generator: torch.Generator) -> None:
    """A slope of 1e-6 on a loss of 10: in float32 the differences are rounding, in float64 they are not."""
    torch.manual_seed(0)
    module = nn.Linear(3, 1)
    with torch.no_grad():
        module.weight.fill_(1e-6)
        module.bias.fill_(10.0)
    inputs = torch.rand(32, 3, generator=generator) + 1

    def criterion(outputs: Tensor, _: Tensor) -> Tensor:
        return outputs.mean()

    surface = LossSurface.of(module, [(inputs, torch.zeros(32, 1))], criterion)
    point = dict(surface.point())
    blocks = blocks_by_hand({"weight": (0,), "bias": (1,)}, invariant=1)
    point["bias"] = torch.tensor([10.0], dtype=torch.float64)
    options = {"delta": 1e-6}
    auto = bn_sharpness(surface, point, blocks, MeasureOptions(**options))
    truth = bn_sharpness(surface.in_precision(torch.float64), point, blocks, exact(options))
    assert auto.details["precision"] == "float64"
    assert auto.value == pytest.approx(truth.value, rel=1e-3)
    assert bn_sharpness(surface, point, blocks, MeasureOptions(**options, precision="float32")).value != truth.value


def test_zero_rows_stay_fixed_and_change_nothing(tiny: nn.Sequential) -> None:
    surface = LossSurface.of(tiny, vectors(), dtype=torch.float64)
    point = dict(surface.point())
    point["0.weight"] = point["0.weight"].clone()
    point["0.weight"][1] = 0
    measured = bn_sharpness(surface, point, find_blocks(surface, point), exact({}))
    assert math.isfinite(measured.value)
    assert not measured.direction["0.weight"][1].any()


def test_homogeneity_in_the_loss(tiny: nn.Sequential) -> None:
    """The measure of c·L is |c| times that of L."""
    values = []
    for factor in (1.0, -2.5):
        surface = LossSurface.of(
            tiny, vectors(), lambda o, t, c=factor: c * nn.functional.cross_entropy(o, t), dtype=torch.float64
        )
        point = surface.point()
        values.append(bn_sharpness(surface, point, find_blocks(surface, point), exact({})).value)
    assert values[1] == pytest.approx(2.5 * values[0], rel=1e-9)


def test_a_batch_of_one_without_norms_works() -> None:
    module = nn.Linear(4, 3)
    inputs, targets = vectors()[0]
    surface = LossSurface.of(module, [(inputs[:1], targets[:1])], dtype=torch.float64)
    point = surface.point()
    blocks = find_blocks(surface, point)
    measured = bn_sharpness(surface, point, blocks, exact({"delta": 2.0, "iterations": 0}))
    _, gradient = surface.value_and_gradient(point)
    assert measured.details["limit"] == pytest.approx(math.sqrt(2 / 3) * norm(gradient), rel=1e-12)


def test_delta_of_one_is_refused_where_weights_are_invariant(tiny: nn.Sequential) -> None:
    surface = LossSurface.of(tiny, vectors())
    point = surface.point()
    with pytest.raises(UsageError, match="delta: expected less than 1"):
        bn_sharpness(surface, point, find_blocks(surface, point), MeasureOptions(delta=1.0))


def test_a_loss_that_is_not_finite_is_an_error() -> None:
    surface = Quadratic(THETA, torch.full((6,), math.nan, dtype=torch.float64), torch.eye(6).double()).surface()
    with pytest.raises(NotMeasurableError, match=r"The loss of batch 1 is nan, though inputs, targets"):
        bn_sharpness(surface, surface.point(), ROWS, exact({}))


def test_scaled_is_linear() -> None:
    assert torch.equal(scaled({"x": torch.ones(2)}, 3.0)["x"], torch.full((2,), 3.0))


def test_repeats_are_bit_identical(sample_network: nn.Module, digit_batches: DrawnBatches) -> None:
    values = []
    for _ in range(2):
        surface = LossSurface.of(sample_network, digit_batches.batches)
        point = surface.point()
        values.append(bn_sharpness(surface, point, find_blocks(surface, point), MeasureOptions(restarts=1)))
    assert values[0] == values[1]


def test_networks_without_norms_are_measured_too() -> None:
    module = mlp_bn()
    plain = nn.Sequential(*(layer for layer in module if not isinstance(layer, nn.BatchNorm1d)))
    surface = LossSurface.of(plain, vectors(), dtype=torch.float64)
    point = surface.point()
    measured = bn_sharpness(surface, point, find_blocks(surface, point), exact({}))
    assert measured.value == pytest.approx(measured.details["limit"], rel=1e-2)
