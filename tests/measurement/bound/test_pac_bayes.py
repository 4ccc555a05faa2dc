"""Theorem 3.3: the perturbation term against the mean it bounds, the complexity against the theorem itself."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import binom
from torch import Tensor, nn

from bnsharp_cli.core.point import Point, inner, on_segment
from bnsharp_cli.core.quadrature import STABLE_NODES
from bnsharp_cli.errors import UsageError
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.bound.bounded_losses import ClippedCrossEntropy
from bnsharp_cli.measurement.bound.options import BoundOptions
from bnsharp_cli.measurement.bound.pac_bayes import (
    complexity,
    coupled,
    pac_bayes_bound,
    perturbation_factor,
    tighter_complexity,
)
from bnsharp_cli.measurement.measures.bn_sharpness import bn_sharpness
from bnsharp_cli.measurement.measures.integral import integrate
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from tests import cases
from tests.cases import Quadratic, blocks_by_hand, images, mlp_bn, sample_surface, trained, vectors

POWERS = [1.0, 1.5, 2.0, 3.0, math.inf]
THETA = {"x": torch.tensor([3.0, -4.0, 1.0, 0.5])}
FREE = blocks_by_hand({"x": (0, 0, 0, 0)}, invariant=0)
SLOPE = torch.tensor([0.3, -0.2, 0.5, 0.1], dtype=torch.float64)
CURVED = torch.diag(torch.tensor([9.0, 3.0, 1.0, -4.0], dtype=torch.float64))
FLAT, LEVEL = torch.zeros(4, 4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
QUADRATICS = {"linear": (SLOPE, FLAT), "critical-point": (LEVEL, CURVED), "curved-slope": (SLOPE, 4 * CURVED)}
NETWORKS: Mapping[str, tuple[Callable[[], nn.Module], Callable[[], tuple[tuple[Tensor, Tensor], ...]]]] = {
    "functional-norm": (cases.FunctionalNorm, vectors),
    "pre-activation": (cases.PreActivation, images),
    "shared-weights": (cases.SharedWeights, images),
    "mlp-bn": (mlp_bn, vectors),
    "mlp-bn-bias": (lambda: mlp_bn(bias=True), vectors),
    "trained-relu": (lambda: trained(nn.ReLU()), vectors),
    "trained-tanh": (lambda: trained(nn.Tanh()), vectors),
}
SAMPLE = "digits-small-batch"
TABLE = [*QUADRATICS, *NETWORKS, SAMPLE]
FINE = 63


def problem(name: str) -> tuple[LossSurface, Blocks]:
    """A case of the table with a loss that is clipped within reach, and its blocks."""
    if name in QUADRATICS:
        return Quadratic(THETA, *QUADRATICS[name]).surface(), FREE
    if name == SAMPLE:
        surface = replace(sample_surface(SAMPLE, 64, 64), dtype=torch.float64)
    else:
        torch.manual_seed(3)
        build, batches = NETWORKS[name]
        surface = LossSurface.of(build(), batches(), dtype=torch.float64)
    return replace(surface, criterion=ClippedCrossEntropy(1.5)), find_blocks(surface, surface.point())


def mean_change(surface: LossSurface, direction: Point, delta: float) -> tuple[float, float]:
    """E_u|ΔL| by the midpoint rule, and how far a three times coarser one is off."""
    point = surface.point()
    steps = [delta * ((2 * index + 1) / FINE - 1) for index in range(FINE)]
    loss, *values = surface.values([point, *(on_segment(point, direction, t) for t in steps)])
    changes = np.abs(np.array(values) - loss)
    fine, coarse = float(changes.mean()), float(changes[1::3].mean())
    return fine, abs(fine - coarse)


def test_the_table_has_every_network_of_the_cases() -> None:
    networks = {thing for thing in vars(cases).values() if inspect.isclass(thing) and issubclass(thing, nn.Module)} - {
        cases.Vectors
    }
    assert networks <= {build for build, _ in NETWORKS.values()}


@pytest.mark.parametrize("delta", [1e-3, 0.05])
@pytest.mark.parametrize("name", TABLE)
def test_the_term_bounds_the_mean_change_along_the_direction_found(name: str, delta: float) -> None:
    surface, blocks = problem(name)
    for power in POWERS:
        options = MeasureOptions(delta=delta, power=power)
        found = bn_sharpness(surface, surface.point(), blocks, options)
        mean, grid = mean_change(surface, found.direction, delta)
        assert mean > 0
        factor = perturbation_factor(delta, power)
        as_stated = (found.value, found.uncertainty.quadrature + found.uncertainty.rounding)
        fine = finely(surface, found.direction, options)
        assert fine[1] < 0.1 * fine[0]  # or the errors would do the bounding
        for value, errors in (as_stated, fine):
            assert mean <= factor * (value + errors) + grid
            if power == 1:
                assert mean >= factor * (value - errors) - grid


def finely(surface: LossSurface, direction: Point, options: MeasureOptions) -> tuple[float, float]:
    """F^{1/p} along a direction from as many losses as a polynomial can take, and its error."""
    point = surface.point()
    integral = integrate(surface, point, surface.value(point), direction, options, max_nodes=STABLE_NODES)
    return integral.mean.value, integral.mean.error + integral.floor


@pytest.mark.parametrize("delta", [1e-3, 0.05])
@pytest.mark.parametrize("name", TABLE)
def test_the_term_bounds_the_mean_change_along_any_direction_by_its_own_mean(
    name: str, delta: float, generator: torch.Generator
) -> None:
    surface, blocks = problem(name)
    point = surface.point()
    spheres = blocks.spheres(point)
    direction = spheres.to_direction(spheres.random(point, generator))
    mean, grid = mean_change(surface, direction, delta)
    for power in POWERS:
        options = MeasureOptions(delta=delta, power=power)
        integral = integrate(surface, point, surface.value(point), direction, options)
        term = perturbation_factor(delta, power) * (integral.mean.value + integral.mean.error + integral.floor)
        assert mean <= term + grid


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0, 3.0, 4.0])
@pytest.mark.parametrize("share", [0.5, 0.99, 1.01])
def test_the_printed_factor_fails_on_a_linear_loss_below_a_radius(power: float, share: float) -> None:
    """E_u|ΔL| = δ‖g‖/2; δ^{1+1/p} ‖L‖ is smaller where δ < (p+1)/2^{p+1}, the corrected term never."""
    delta = share * (power + 1) / 2 ** (power + 1)
    surface = Quadratic(THETA, SLOPE, FLAT).surface()
    value = bn_sharpness(surface, surface.point(), FREE, MeasureOptions(delta=delta, power=power)).value
    truth = delta * float(SLOPE.norm()) / 2
    assert (delta ** (1 + 1 / power) * value < truth) is (share < 1)
    assert perturbation_factor(delta, power) * value >= truth * (1 - 1e-5)


def test_at_p_1_the_term_is_the_mean_change_itself_and_its_sign_decides_what_that_says() -> None:
    """½t²λ keeps its sign, so |E_u ΔL| = E_u|ΔL| = δ²λ/6; ct does not: its E_u ΔL is 0."""
    delta, options = 0.1, MeasureOptions(delta=0.1, power=1, iterations=60)
    bowl, slope = Quadratic(THETA, LEVEL, CURVED).surface(), Quadratic(THETA, SLOPE, FLAT).surface()
    for surface, absolute, signed in (
        (bowl, delta**2 * 9 / 6, delta**2 * 9 / 6),
        (slope, delta * float(SLOPE.norm()) / 2, 0.0),
    ):
        found = bn_sharpness(surface, surface.point(), FREE, options)
        assert perturbation_factor(delta, 1) * found.value == pytest.approx(absolute, rel=1e-4)
        steps = [delta * ((2 * index + 1) / 600 - 1) for index in range(600)]
        values = surface.values([on_segment(surface.point(), found.direction, t) for t in steps])
        assert math.fsum(values) / 600 == pytest.approx(signed, rel=1e-4, abs=1e-12)


def test_the_complexity_by_hand() -> None:
    """m = 400 and ε = 800 e⁻⁹ make log(2m/ε) = 9; with KL = 16, 4 √(25/400) = 1."""
    assert complexity(16, 400, 1 - 800 * math.exp(-9)) == pytest.approx(1, rel=1e-12)
    assert tighter_complexity(16, 400, 1 - 40 * math.exp(-9)) == pytest.approx(math.sqrt(25 / 800), rel=1e-12)


@pytest.mark.parametrize("term", [complexity, tighter_complexity])
def test_the_complexity_grows_with_kl_and_confidence_and_falls_with_samples(
    term: Callable[[float, int, float], float],
) -> None:
    assert np.all(np.diff([term(kl, 1000, 0.9) for kl in (0, 1e-3, 1, 50, 1e6)]) > 0)
    assert np.all(np.diff([term(5, 1000, confidence) for confidence in (1e-6, 0.5, 0.95, 0.999)]) > 0)
    assert np.all(np.diff([term(5, samples, 0.9) for samples in (3, 10, 1000, 10**7)]) < 0)


def test_the_tighter_complexity_has_the_constant_of_its_proof() -> None:
    """E exp(m kl(q̂, q)) ≤ 2√m, q̂ the mean of m coin flips: an exact sum, Σ C(m,k) (k/m)^k (1−k/m)^{m−k}."""
    for terms in [*range(1, 50), 300, 1280]:
        k = np.arange(terms + 1)
        assert binom.pmf(k, terms, k / terms).sum() <= 2 * math.sqrt(terms)
        for kl in (0.0, 3.0, 100.0):
            assert complexity(kl, terms, 0.95) >= 5.6568 * tighter_complexity(kl, terms, 0.95)


@pytest.mark.parametrize("term", [complexity, tighter_complexity])
def test_a_choice_made_after_the_data_is_paid_by_its_kl(term: Callable[[float, int, float], float]) -> None:
    """The best of a thousand fair coins: KL(choice ‖ uniform) = log 1000, and probabilities are exact."""
    flips, coins, confidence = 20, 1000, 0.5

    def missed(allowed: float) -> float:
        return 1 - (1 - binom.cdf(math.ceil(flips * (0.5 - allowed)) - 1, flips, 0.5)) ** coins

    assert missed(term(math.log(coins), flips, confidence)) <= 1 - confidence
    assert missed(tighter_complexity(0, flips, confidence)) > 1 - confidence


class Thresholds(nn.Module):
    """Sample i is class 0 while the only parameter exceeds its input."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.5))

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.stack([self.w - inputs[:, 0], torch.zeros_like(inputs[:, 0])], dim=1)


def test_the_zero_one_change_is_sampled_where_it_is_known() -> None:
    """Thresholds at distances d below w fall for t < −d: E_u|ΔL| is the mean of (δ − d)/(2δ)."""
    delta, distances = 0.3, torch.tensor([0.0131, 0.05, 0.1207, 0.2313])
    batches = [((0.5 - distances)[:, None], torch.zeros(4, dtype=torch.int64))]
    surface = LossSurface.of(Thresholds(), batches, dtype=torch.float64)
    wanted = BoundOptions(kl=0.0, loss_range="zero-one", segment_samples=512)
    blocks = blocks_by_hand({"w": (0,)}, invariant=0)
    found = pac_bayes_bound(surface, surface.point(), blocks, MeasureOptions(delta=delta), wanted)
    assert found.empirical_loss == 0
    expected = float(((delta - distances) / (2 * delta)).mean())
    assert found.perturbation == pytest.approx(expected, abs=3 * found.error)
    assert found.perturbation == pytest.approx(expected, abs=1 / 512)  # every part is drawn from: one part a threshold
    assert found.error < 0.02
    assert (found.terms, found.term) == (4, "samples")


def test_a_zero_one_loss_that_no_draw_changes_has_an_error_all_the_same() -> None:
    surface = sample_surface(SAMPLE, 256, 128)
    blocks = find_blocks(surface, surface.point())
    wanted = BoundOptions(kl=1.0, loss_range="zero-one", segment_samples=16)
    found = pac_bayes_bound(surface, surface.point(), blocks, MeasureOptions(delta=1e-6), wanted)
    assert found.perturbation == 0
    assert found.error == 1 / (16 * 256)


def test_the_bound_is_the_sum_of_its_terms_and_its_error_that_of_the_sharpness() -> None:
    surface = sample_surface(SAMPLE, 256, 128)
    point = surface.point()
    options, wanted = MeasureOptions(delta=0.01, power=3), BoundOptions(kl=2.0, confidence=0.9, clip=2.0)
    found = pac_bayes_bound(surface, point, find_blocks(surface, point), options, wanted)
    clipped = replace(surface, criterion=ClippedCrossEntropy(2.0))
    assert found.empirical_loss == clipped.value(point)
    mean, grid = mean_change(clipped, found.sharpness.direction, 0.01)
    assert mean <= found.perturbation + found.error + grid
    uncertainty = found.sharpness.uncertainty
    assert found.error == pytest.approx(0.01 * 2 ** (-1 / 3) * (uncertainty.quadrature + uncertainty.rounding))
    assert found.value == found.empirical_loss + found.perturbation + found.complexity
    assert found.complexity == complexity(2.0, 2, 0.9)
    assert (found.terms, found.term) == (2, "batches")
    assert found.vacuous
    assert found.sharpness.name == "bn-clipped"


@pytest.mark.parametrize(
    ("module", "batch_statistics", "expected"),
    [
        (lambda: mlp_bn(), True, True),
        (lambda: mlp_bn(), False, False),
        (cases.FunctionalNorm, False, True),  # it has no running statistics
        (lambda: nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 3)), True, False),
    ],
)
def test_samples_that_change_each_others_answers_are_found(
    module: Callable[[], nn.Module], batch_statistics: bool, expected: bool
) -> None:
    torch.manual_seed(0)
    surface = LossSurface.of(module(), vectors(), batch_statistics=batch_statistics)
    assert coupled(surface, surface.point()) is expected
    single = LossSurface.of(nn.Linear(4, 3), vectors(1), batch_statistics=batch_statistics)
    assert not coupled(single, single.point())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"kl": -1e-9}, "kl: expected a finite number of at least 0, found -1e-09"),
        ({"kl": math.nan}, "kl: expected a finite number"),
        ({"kl": math.inf}, "infinite against every density"),
        ({"confidence": 0.0}, r"confidence: expected a number in \(0, 1\), found 0"),
        ({"confidence": 1.0}, "confidence"),
        ({"confidence": math.nan}, "confidence"),
        ({"loss_range": "mse"}, "loss_range: expected clipped or zero-one, found 'mse'"),
        ({"clip": 0.0}, "clip: expected a positive number"),
        ({"clip": math.inf}, "clip: expected a positive number"),
        ({"segment_samples": 1}, "segment_samples: expected at least 2"),
    ],
)
def test_what_cannot_be_meant_is_refused(wrong: dict[str, float], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        BoundOptions(**{"kl": 1.0, **wrong})


def test_a_random_direction_is_not_the_sharpest(generator: torch.Generator) -> None:
    """The second law of the table is no repetition of the first: its directions have slopes of their own."""
    surface, blocks = problem("trained-tanh")
    point = surface.point()
    _, gradient = surface.value_and_gradient(point)
    spheres = blocks.spheres(point)
    found = bn_sharpness(surface, point, blocks, MeasureOptions()).direction
    other = spheres.to_direction(spheres.random(point, generator))
    assert abs(inner(gradient, other)) < 0.9 * abs(inner(gradient, found))
