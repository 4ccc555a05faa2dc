"""Noise and the critical radius: known answers, plain torch, laws, and what has no value."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.errors import NotMeasurableError, UnfitMeasureError
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.registry import MEASURES
from tests.border.networks import with_constants
from tests.cases import Quadratic, blocks_by_hand
from tests.measurement.perturbed import along, data, loss_of, measured, moved, small_network, unit_blocks

NAMES = ("noise", "critical-radius", "pac-bayes-sigma")
RELATIVE = ("filter", "layer", "element")
BY_HAND = blocks_by_hand({"x": (0, 0, 0), "y": (1, 1)}, invariant=2)
THETA = {"x": torch.tensor([1.0, 2.0, 2.0]), "y": torch.tensor([0.75, -1.0])}
RADII = torch.tensor([3.0, 3.0, 3.0, 1.25, 1.25], dtype=torch.float64)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return small_network()


def by_hand(problem: Quadratic, name: str, **options: object) -> Measurement:
    surface = problem.surface()
    return MEASURES[name](surface, surface.point(), BY_HAND, MeasureOptions.from_flat(**options))


def quadratic(slope: float = 1.0, curvature: float = 1.0) -> Quadratic:
    generator = torch.Generator().manual_seed(3)
    factor = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    slopes = torch.randn(5, generator=generator, dtype=torch.float64)
    return Quadratic(THETA, slope * slopes, curvature * (factor @ factor.T + torch.diag(RADII)), 0.5)


@pytest.mark.parametrize("relative_to", RELATIVE)
def test_noise_is_what_plain_torch_finds_with_the_same_directions(network: nn.Module, relative_to: str) -> None:
    found = measured(network, "noise", relative_to=relative_to, seed=7, noise_draws=5)
    generator, before = torch.Generator().manual_seed(7), loss_of(network)
    directions = [unit_blocks(network, generator, relative_to) for _ in range(5)]
    assert [one["sigma"] for one in found.details["by_sigma"]] == [0.03, 0.1, 0.3]
    for record in found.details["by_sigma"]:
        sides = [[loss_of(moved(network, v, sign * record["sigma"])) for sign in (1, -1)] for v in directions]
        changes = torch.tensor([sum(pair) / 2 - before for pair in sides], dtype=torch.float64)
        assert record["value"] == pytest.approx(float(changes.mean()), rel=1e-9)
        assert record["sampling"] == pytest.approx(float(changes.std()) / math.sqrt(5), rel=1e-7)
        assert abs(record["value"] - float(changes.mean())) <= record["rounding"]
    assert found.value == found.details["by_sigma"][-1]["value"]
    assert found.cost.forward == 1 + 2 + 3 * (2 * 5 + 2)  # two passes show the rounding of two batches


def test_noise_on_a_quadratic_loss_is_the_trace_of_its_blocks() -> None:
    problem = quadratic()
    found = by_hand(problem, "noise", sigma=0.2, noise_draws=600)
    traces = problem.hessian.diagonal() * RADII**2
    expected = 0.2**2 / 2 * float(traces[:3].sum() / 3 + traces[3:].sum() / 2)
    assert found.uncertainty.sampling is not None
    assert abs(found.value - expected) <= 4 * found.uncertainty.sampling <= 0.2 * expected
    assert found.status.value == "sampled"


def test_noise_by_single_numbers_on_a_diagonal_quadratic_has_no_spread() -> None:
    hessian = torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0, -5.0], dtype=torch.float64))
    slope = torch.ones(5, dtype=torch.float64)
    found = by_hand(Quadratic(THETA, slope, hessian), "noise", sigma=(0.1, 0.2), relative_to="element")
    theta = torch.cat([*THETA.values()]).double()
    small, large = found.details["by_sigma"]
    assert found.value == pytest.approx(0.02 * float(theta @ hessian @ theta), rel=1e-12)
    assert large["value"] == pytest.approx(4 * small["value"], rel=1e-12)
    assert large["sampling"] <= 1e-14


def test_the_linear_term_cancels_and_a_saddle_is_negative() -> None:
    flat, bent = torch.zeros(5, 5, dtype=torch.float64), -torch.eye(5, dtype=torch.float64)
    slope = 100 * torch.ones(5, dtype=torch.float64)
    linear = by_hand(Quadratic(THETA, slope, flat), "noise")
    assert abs(linear.value) <= linear.uncertainty.rounding <= 1e-10
    assert linear.status.value == "below-resolution"
    down = by_hand(Quadratic(THETA, slope, bent), "noise", sigma=0.3)
    assert down.value == pytest.approx(-0.09 / 2 * (9 + 1.25**2), rel=1e-9)
    assert down.status.value == "sampled"


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_change_below_the_digits_of_the_loss_is_said_to_be_rounding(precision: str) -> None:
    torch.manual_seed(0)
    module = nn.Linear(4, 1)
    criterion = lambda outputs, _: 1e3 * outputs.mean().add(1).sqrt()  # noqa: E731
    batches = [(torch.rand(8, 4, generator=torch.Generator().manual_seed(1)), torch.zeros(8))]
    found = bnsharp_cli.measure(module, batches, criterion, "noise", precision=precision, sigma=(1e-5,))
    expected = {"float32": "below-resolution", "float64": "sampled"}
    assert found.status.value == expected[precision]


@pytest.mark.parametrize("curvature", [0.5, 3.0, 100.0, 1e4])
@pytest.mark.parametrize("relative_to", RELATIVE)
def test_the_critical_radius_of_a_quadratic_loss(curvature: float, relative_to: str) -> None:
    problem = quadratic(1.0, 2 * curvature)
    g, h, theta = problem.slope, problem.hessian, torch.cat([*THETA.values()]).double()
    if relative_to == "element":
        v = theta.abs() * g.sign()
    else:  # the tensors are vectors, each a block of its own
        norms = torch.cat([g[:3].norm().expand(3), g[3:].norm().expand(2)])
        v = RADII * g / norms
    expected = 2 * float(g @ v) / float(v @ h @ v)
    found = by_hand(problem, "critical-radius", relative_to=relative_to)
    assert found.details["low"] <= expected < found.details["high"]
    assert abs(found.value - expected) <= found.uncertainty.bracket <= expected / 32
    assert found.details["slope"] == pytest.approx(float(g @ v), rel=1e-12)
    assert found.status.value == "bracketed"
    assert found.uncertainty.rounding <= 1e-9 * expected


@pytest.mark.parametrize("relative_to", RELATIVE)
def test_the_loss_rises_within_the_bracket_by_plain_torch(network: nn.Module, relative_to: str) -> None:
    found = measured(network, "critical-radius", relative_to=relative_to)
    loss = torch.stack([functional.cross_entropy(network(x.double()), y) for x, y in data()]).mean()
    gradients = torch.autograd.grad(loss, [*network.parameters()])
    names = [name for name, _ in network.named_parameters()]
    v = along(network, dict(zip(names, gradients, strict=True)), relative_to)
    low, high = (loss_of(moved(network, v, -found.details[end])) for end in ("low", "high"))
    assert low <= float(loss.detach()) < high
    assert found.cost.backward == 1
    assert found.cost.forward == 1 + round(math.log2(64 * found.details["high"]) + 0.5) + 1 + 5 + 2


def test_what_never_rises_or_has_no_direction_has_no_critical_radius() -> None:
    slope, none = torch.ones(5, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)
    flat, eye = torch.zeros(5, 5, dtype=torch.float64), torch.eye(5, dtype=torch.float64)
    with pytest.raises(UnfitMeasureError, match="does not rise down its gradient") as refused:
        by_hand(Quadratic(THETA, slope, flat), "critical-radius")
    assert "larger than 1, or infinite" in refused.value.reason
    with pytest.raises(UnfitMeasureError, match="The gradient is zero"):
        by_hand(Quadratic(THETA, none, eye), "critical-radius")
    only = slope.clone()
    only[:3] = 0  # what is left moves alone
    found = by_hand(Quadratic(THETA, only, 4 * eye), "critical-radius")
    assert abs(found.value - 2 * math.sqrt(2) / (4 * 1.25)) <= found.uncertainty.bracket


def test_a_loss_that_rises_at_once_is_below_resolution() -> None:
    found = by_hand(quadratic(1.0, 1e9), "critical-radius")
    assert found.status.value == "below-resolution"
    assert 0 == found.details["low"] < found.value < found.details["high"] < 1e-5
    assert found.uncertainty.bracket == found.value


def test_the_sampling_error_of_noise_is_its_spread_over_seeds(network: nn.Module) -> None:
    found = [measured(network, "noise", seed=seed, sigma=0.1) for seed in range(40)]
    spread = float(torch.tensor([one.value for one in found], dtype=torch.float64).std())
    stated = sum(one.uncertainty.sampling for one in found) / len(found)
    assert 0.6 <= stated / spread <= 1.7


@pytest.mark.parametrize("name", NAMES)
def test_of_some_parameters_the_others_are_constants(network: nn.Module, name: str) -> None:
    found = measured(network, name, parameters="0.*")
    same = measured(with_constants(network, ["0.weight", "0.bias"]), name)
    assert found.value == pytest.approx(same.value, rel=1e-12)
    assert found.details["parameters"]["measured"] == 80


@pytest.mark.parametrize("name", NAMES)
def test_zero_blocks_stay_fixed_and_nothing_but_zeros_is_refused(network: nn.Module, name: str) -> None:
    pruned = copy.deepcopy(network)
    with torch.no_grad():
        pruned.get_parameter("0.weight")[3] = 0
        pruned.get_parameter("2.bias").zero_()
    assert "2 of 21 blocks are zero: their radius is 0, and they stay fixed" in measured(pruned, name).notes
    with torch.no_grad():
        for parameter in pruned.parameters():
            parameter.zero_()
    with pytest.raises(UnfitMeasureError, match="zero has no relative radius"):
        measured(pruned, name)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_number(network: nn.Module, name: str) -> None:
    first, second, other = (measured(network, name, seed=seed) for seed in (1, 1, 2))
    assert first == second
    assert (other.value == first.value) is (name == "critical-radius")


@pytest.mark.parametrize("name", ["noise", "critical-radius"])
def test_a_loss_that_is_not_finite_is_refused(name: str) -> None:
    torch.manual_seed(0)
    module = nn.Linear(4, 3).double()
    criterion = lambda outputs, targets: functional.cross_entropy(outputs, targets) + (3.6e2 * outputs.norm()).exp()  # noqa: E731
    with pytest.raises(NotMeasurableError, match="not finite"):
        bnsharp_cli.measure(module, data(), criterion, name, precision="float64")
