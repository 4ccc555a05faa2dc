"""Adaptive sharpness on losses whose worst case is known, on equal functions, and beside the published program."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from benchmarks.published import worst_case_sharpness
from bnsharp_cli.errors import NotMeasurableError, UnfitMeasureError, UsageError
from bnsharp_cli.measurement.measures.curvature_entries import PUBLISHED_RADII
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.surface.batch_sizes import BatchSizes
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from tests.cases import Quadratic, blocks_by_hand, sample_surface
from tests.measurement.measures.test_partitions import RESCALINGS, Attention, batches, network_of

THETA = {"w": torch.tensor([[3.0, -4.0], [0.6, 0.8]]), "b": torch.tensor([5.0, -7.0])}
WEIGHTS = torch.cat([tensor.reshape(-1) for tensor in THETA.values()]).double().abs()
SLOPE = torch.tensor([0.1, -0.2, 0.3, 0.5, -0.7, 0.2], dtype=torch.float64)
NO_BLOCKS = blocks_by_hand({"w": (0, 0), "b": (0, 0)}, invariant=0)
NO_CURVATURE = torch.zeros(6, 6, dtype=torch.float64)
NORMS = ("linf", "l2")


def measured(surface: LossSurface, **options: Any) -> Measurement:
    own = {
        name if name in ("iterations", "restarts", "seed") else f"adaptive_{name}": value
        for name, value in options.items()
    }
    return MEASURES["adaptive"](surface, surface.point(), NO_BLOCKS, MeasureOptions.from_flat(**own))


@pytest.mark.parametrize("rho", [1e-3, 0.5])
@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
def test_the_worst_case_of_a_linear_loss(norm: str, dual: int, rho: float) -> None:
    """ρ Σ |θ_j g_j| and ρ ‖θ ∘ g‖."""
    surface = Quadratic(THETA, SLOPE, NO_CURVATURE, constant=2.0).surface()
    found = measured(surface, norm=norm, rho=rho)
    assert found.value == pytest.approx(rho * float((WEIGHTS * SLOPE).norm(dual)), rel=1e-12)
    assert found.uncertainty.rounding <= 1e-12
    assert found.status.value == "within-tolerance"
    assert found.details == {"kind": "worst", "norm": norm, "rho": rho, "zero_weights": 0}


@pytest.mark.parametrize("seed", range(2))
def test_the_worst_case_of_a_quadratic_loss_in_l2(seed: int) -> None:
    """Half the largest eigenvalue of |θ| H |θ| times ρ² at a critical point."""
    generator = torch.Generator().manual_seed(seed)
    half = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    hessian = half + half.T
    scaled = torch.diag(WEIGHTS) @ hessian @ torch.diag(WEIGHTS)
    surface = Quadratic(THETA, 0 * SLOPE, hessian).surface()
    found = measured(surface, norm="l2", rho=0.1, iterations=200, restarts=3)
    assert found.value == pytest.approx(0.005 * float(torch.linalg.eigvalsh(scaled)[-1]), rel=1e-6)


def test_the_worst_case_of_a_quadratic_loss_in_linf_is_the_best_corner() -> None:
    hessian = torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    hessian = hessian @ hessian.T
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 6) * WEIGHTS * 0.1
    best = float((corners @ SLOPE + torch.einsum("ci,ij,cj->c", corners, hessian, corners) / 2).max())
    found = measured(Quadratic(THETA, SLOPE, hessian).surface(), rho=0.1, restarts=20)
    assert found.value == pytest.approx(best, rel=1e-10)


@pytest.mark.parametrize(("norm", "variance"), [("linf", 1 / 3), ("l2", 1.0)])
def test_the_average_of_a_quadratic_loss(norm: str, variance: float) -> None:
    """Half of ρ² Var(z) Σ θ_j² H_jj: the mean over uniform or normal numbers."""
    hessian = torch.diag(torch.tensor([9.0, 3.0, 1.0, 0.2, -1.0, 4.0], dtype=torch.float64))
    exact = 0.5 * 0.04 * variance * float((WEIGHTS.square() * hessian.diagonal()).sum())
    surface = Quadratic(THETA, SLOPE, hessian).surface()
    apart = []
    for seed in range(40):
        found = measured(surface, kind="average", norm=norm, seed=seed)
        assert found.status.value == "sampled"
        apart.append((found.value - exact) / found.uncertainty.sampling)
    assert sum(abs(one) <= 2 for one in apart) >= 34  # 95 % of 40 are 38
    assert abs(sum(apart)) / math.sqrt(40) < 3


@pytest.mark.parametrize("name", RESCALINGS)
@pytest.mark.parametrize(("norm", "kind"), [("linf", "worst"), ("l2", "worst"), ("linf", "average"), ("l2", "average")])
def test_equal_functions_have_equal_values(name: str, norm: str, kind: str) -> None:
    """Under every rescaling of single weights, those that cut across rows and layers too."""
    make, rescale, _ = RESCALINGS[name]
    network = network_of(make)
    other = copy.deepcopy(network)
    with torch.no_grad():
        rescale(other)
    options: dict[str, Any] = {
        "adaptive_norm": norm,
        "adaptive_kind": kind,
        "adaptive_rho": 0.05,
        "adaptive_samples": 8,
    }
    data = batches(isinstance(network, Attention))
    values = [
        bnsharp_cli.measure(one, data, name="adaptive", precision="float64", **options).value
        for one in (network, other)
    ]
    assert values[1] == pytest.approx(values[0], rel=1e-9)


def test_without_the_weights_as_radii_equal_functions_differ() -> None:
    """The published program with c = 1, on the same pair."""
    make, rescale, _ = RESCALINGS["neurons around a ReLU"]
    network = network_of(make)
    other = copy.deepcopy(network)
    with torch.no_grad():
        rescale(other)
    plain, own = (
        [worst_case_sharpness(one, batches(False), adaptive=a) for one in (network, other)] for a in (False, True)
    )
    assert max(plain) / min(plain) > 1.1
    assert own[1] == pytest.approx(own[0], rel=1e-9)


@pytest.mark.parametrize("norm", NORMS)
def test_zero_weights_stay_fixed(norm: str) -> None:
    theta = {"w": torch.tensor([3.0, 0.0, -4.0]), "b": torch.zeros(2)}
    slope = torch.tensor([1.0, 50.0, 2.0, -30.0, 10.0], dtype=torch.float64)
    flat = torch.zeros(5, 5, dtype=torch.float64)
    surface = Quadratic(theta, slope, flat).surface()
    blocks = blocks_by_hand({"w": (0, 0, 0), "b": (0, 0)}, invariant=0)
    options = MeasureOptions.from_flat(adaptive_norm=norm, adaptive_rho=0.1)
    found = MEASURES["adaptive"](surface, surface.point(), blocks, options)
    assert found.value == pytest.approx(0.1 * (3 + 8 if norm == "linf" else math.hypot(3, 8)), rel=1e-9)
    assert found.details["zero_weights"] == 3
    assert found.notes == ("3 of 5 weights are zero and stay zero",)
    nothing = Quadratic({name: 0 * tensor for name, tensor in theta.items()}, slope, flat).surface()
    with pytest.raises(UnfitMeasureError, match="All weights that are measured are zero"):
        MEASURES["adaptive"](nothing, nothing.point(), blocks, options)


LONG = pytest.mark.slow(
    reason="searches by two programs once more",
    quick="tests/measurement/measures/test_adaptive.py::test_the_published_program_finds_about_the_same",
)


@pytest.mark.parametrize(
    ("norm", "rho"),
    [("linf", 0.3), ("l2", 0.002), pytest.param("linf", 0.002, marks=LONG), pytest.param("l2", 0.3, marks=LONG)],
)
def test_the_published_program_finds_about_the_same(norm: str, rho: float) -> None:
    """It draws other starts; where the search converges the value is the same."""
    surface = sample_surface("digits-small-batch", 256, 64).in_precision(torch.float64)
    found = measured(surface, norm=norm, rho=rho)
    module = copy.deepcopy(surface.module).double().train().requires_grad_(True)
    data = [(inputs.double(), targets) for inputs, targets in surface.batches]
    published = worst_case_sharpness(module, data, norm=norm, radius=rho)
    assert found.value == pytest.approx(published, rel=1e-3 if rho < 0.1 else 0.15)


def test_each_batch_has_a_worst_case_of_its_own() -> None:
    """The mean over batches of ρ Σ |θ_j g_bj|, batches counting by their sizes; its error is that over batches."""
    torch.manual_seed(0)
    module = nn.Linear(3, 1, bias=False).double()
    sizes = (6, 3, 3)
    data = [(torch.randn(size, 3).double(), torch.zeros(size, 1).double()) for size in sizes]

    def criterion(outputs: Tensor, _: Tensor) -> Tensor:
        return outputs.mean()

    surface = LossSurface.of(module, data, criterion, dtype=torch.float64, sizes=BatchSizes(sizes))
    found = measured(surface, rho=0.1)
    theta = module.weight.detach()[0]
    each = [0.1 * float((theta * inputs.mean(0)).abs().sum()) for inputs, _ in data]
    value = sum(size * one for size, one in zip(sizes, each, strict=True)) / 12
    assert found.value == pytest.approx(value, rel=1e-10)
    apart = [size / 4 * (one - value) for size, one in zip(sizes, each, strict=True)]
    assert found.uncertainty.sampling == pytest.approx(math.hypot(*apart) / math.sqrt(6), rel=1e-8)
    whole = LossSurface.of(module, data, criterion, dtype=torch.float64, sizes=BatchSizes(sizes, 12))
    assert measured(whole, rho=0.1).uncertainty.sampling is None
    assert measured(whole, rho=0.1, kind="average").uncertainty.sampling > 0  # over draws


def test_further_starts_never_lower_the_value_and_a_seed_gives_the_same_again() -> None:
    surface = sample_surface("digits-large-batch", 128, 64)
    once, more = measured(surface, rho=0.1), measured(surface, rho=0.1, restarts=2)
    assert more.search is not None
    assert once.search is not None
    assert (more.search.starts, more.search.iterations) == (3, 20)
    assert more.search.values[0] == once.search.values[0] == once.value
    assert more.value > once.value
    assert more.value >= max(more.search.values)
    assert measured(surface, rho=0.1) == once
    assert measured(surface, rho=0.1, seed=1).value != once.value


def test_the_cost_is_counted_and_more_steps_find_more() -> None:
    surface = sample_surface("digits-large-batch", 256, 64)
    few, more = measured(surface, rho=0.1, iterations=5), measured(surface, rho=0.1, iterations=60)
    assert few.cost.backward == 5
    assert few.cost.forward == 1 + 5 + 1 + 5 / 4  # θ, gradients, the last losses, and rounding at one batch of four
    assert few.status.value == "iteration-limit"
    assert more.value > few.value
    average = measured(surface, kind="average")
    assert (average.cost.forward, average.cost.backward) == (103, 0)


@pytest.mark.parametrize("kind", ["worst", "average"])
@pytest.mark.parametrize("rho", [None, 0.1])
def test_float32_is_within_its_stated_rounding(kind: str, rho: float | None) -> None:
    for norm in NORMS:
        surface = sample_surface("digits-large-batch", 64, 32)
        rough = measured(surface, kind=kind, norm=norm, rho=rho)
        exact = measured(surface.in_precision(torch.float64), kind=kind, norm=norm, rho=rho)
        assert abs(rough.value - exact.value) <= rough.uncertainty.rounding
        assert rough.uncertainty.rounding < 0.01 * rough.value


def test_rho_is_a_published_one_where_nothing_is_said() -> None:
    surface = Quadratic(THETA, SLOPE, NO_CURVATURE).surface()
    for (kind, norm), rho in PUBLISHED_RADII.items():
        assert measured(surface, kind=kind, norm=norm).details["rho"] == rho


@pytest.mark.parametrize("kind", ["worst", "average"])
def test_a_loss_that_is_not_finite_there_is_refused(kind: str) -> None:
    surface = Quadratic(THETA, SLOPE, NO_CURVATURE).surface()

    def criterion(output: Tensor, _: Tensor) -> Tensor:
        return (output[0] - 2.9).log()

    broken = LossSurface.of(surface.module, surface.batches, criterion, dtype=torch.float64)
    with pytest.raises(NotMeasurableError, match=r"not finite where weights move by 0\.5 of") as refused:
        measured(broken, kind=kind, rho=0.5)
    assert "Lower adaptive_rho" in refused.value.remedy
    assert math.isfinite(measured(broken, kind=kind, rho=0.001).value)


@pytest.mark.parametrize("wrong", [{"kind": "best"}, {"norm": "l1"}, {"rho": 0.0}, {"rho": math.nan}, {"samples": 1}])
def test_options_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(UsageError, match=f"^adaptive_{name}: expected"):
        measured(Quadratic(THETA, SLOPE, NO_CURVATURE).surface(), **wrong)


def test_constants_are_not_moved() -> None:
    network = network_of(lambda: nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3, bias=False)))
    data = batches(False)
    found = bnsharp_cli.measure(
        network, data, name="adaptive", parameters="2.*", precision="float64", adaptive_rho=1e-5
    )
    slope = 0.0
    for inputs, targets in data:
        gradient = torch.autograd.grad(functional.cross_entropy(network(inputs), targets), network[2].weight)[0]
        slope += float((gradient * network[2].weight.detach()).abs().sum()) / len(data)
    assert found.value == pytest.approx(1e-5 * slope, rel=1e-4)
