"""The p-mean along a segment against brute force, for kinks, odd powers and p = ∞."""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from bnsharp_cli.core.interpolants import FloatArray, Losses, Polynomial
from bnsharp_cli.core.quadrature import STABLE_NODES, gradient_nodes, segment_mean, symmetric_pairs

Curve = Callable[[FloatArray], FloatArray]

POWERS = (1.0, 1.5, 2.0, 3.0, 4.0, 7.5)


class Cubic:
    """ΔL(t) = a t + b t² + c t³, counting its evaluations."""

    def __init__(self, *coefficients: float) -> None:
        self.coefficients = coefficients
        self.asked: list[float] = []

    def __call__(self, steps: list[float]) -> list[float]:
        self.asked.extend(steps)
        return [self.at(step) for step in steps]

    def at(self, step: float) -> float:
        return sum(c * step ** (k + 1) for k, c in enumerate(self.coefficients))


def brute_force(function: Cubic | Curve, delta: float, power: float) -> float:
    """Midpoint rule with a million nodes on each side of every zero that a fine grid can see."""
    edges = np.linspace(-delta, delta, 2_000_001)
    middles = (edges[1:] + edges[:-1]) / 2
    values = np.abs((function.at if isinstance(function, Cubic) else function)(middles) / delta)
    return float(values.max()) if math.isinf(power) else float((2 * (values**power).mean()) ** (1 / power))


@pytest.mark.parametrize("power", POWERS)
def test_linear_function_in_closed_form(power: float) -> None:
    result = segment_mean(Cubic(0.7), 0.03, power)
    assert result.value == pytest.approx(0.7 * (2 / (power + 1)) ** (1 / power), rel=1e-6)


@pytest.mark.parametrize("power", POWERS)
def test_pure_quadratic_in_closed_form(power: float) -> None:
    delta, curvature = 0.02, 11.0
    result = segment_mean(Cubic(0.0, curvature / 2), delta, power)
    assert result.value == pytest.approx((2 / (2 * power + 1)) ** (1 / power) * delta * curvature / 2, rel=1e-6)


@pytest.mark.parametrize("power", [*POWERS, math.inf])
@pytest.mark.parametrize("coefficients", [(0.3, 40.0), (0.3, -200.0, 30.0), (1e-4, 5.0), (-2.0, 1.0, 4e3)])
def test_brute_force_lies_within_the_stated_error(power: float, coefficients: tuple[float, ...]) -> None:
    function = Cubic(*coefficients)
    result = segment_mean(function, 0.011, power)
    truth = brute_force(function, 0.011, power)
    assert abs(result.value - truth) <= result.error + 2e-6 * truth
    assert result.error <= 2e-3 * truth


def test_a_smooth_function_costs_four_evaluations_and_never_asks_for_zero() -> None:
    function = Cubic(0.3, 4.0)
    result = segment_mean(function, 1e-3, 2.0)
    assert len(function.asked) == 4
    assert 0.0 not in function.asked
    assert (0.0, 0.0) in result.nodes


def test_known_differences_are_not_asked_for_again() -> None:
    function = Cubic(0.3, 40.0, 5e3)
    nodes = [0.011 * float(s) for s in gradient_nodes(2.0, 2)[0]]
    known = dict(zip(nodes, function(nodes), strict=True))
    function.asked.clear()
    result = segment_mean(function, 0.011, 2.0, known=known)
    alone = Cubic(0.3, 40.0, 5e3)
    assert result.value == pytest.approx(segment_mean(alone, 0.011, 2.0).value, rel=1e-9)
    assert len(function.asked) == len(alone.asked) - 2


def test_each_node_is_asked_for_once() -> None:
    function = Cubic(0.3, 40.0, -2e3, 7e5, 3e7)
    segment_mean(function, 0.011, 1.5, rtol=1e-12, max_nodes=20)
    assert len(function.asked) == len(set(function.asked)) > 6


def test_the_cap_ends_what_does_not_converge_and_the_error_says_so() -> None:
    def rough(steps: list[float]) -> list[float]:
        return [math.sin(300 * step) + abs(step - 0.3) for step in steps]

    result = segment_mean(rough, 1.0, 2.0, max_nodes=12)
    assert len(result.nodes) == 13
    assert result.error > 0.1 * result.value


def test_a_constant_function_has_no_sharpness() -> None:
    assert segment_mean(Cubic(0.0), 0.1, 2.0).value == 0
    assert segment_mean(Cubic(0.0), 0.1, 3.0).value == 0
    assert segment_mean(Cubic(0.0), 0.1, math.inf).value == 0


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0, 3.0, 4.0])
def test_the_truth_lies_inside_for_99_of_100_random_polynomials(power: float) -> None:
    """Degree 1 to 8, coefficients over three decades, so that ΔL has up to seven zeros besides t = 0."""
    random = np.random.default_rng(7)
    middles = (np.arange(10_000) + 0.5) / 5_000 - 1
    inside = 0
    for _ in range(200):
        degree = random.integers(1, 9)
        function = Cubic(*random.normal(size=degree) * 10.0 ** random.uniform(-2, 1, size=degree))
        result = segment_mean(function, 1.0, power)
        truth = float((2 * (np.abs(function.at(middles)) ** power).mean()) ** (1 / power))
        inside += abs(result.value - truth) <= result.error
    assert inside >= 198


@pytest.mark.parametrize("power", [300.0, 1000.0])
def test_large_powers_neither_underflow_nor_overflow(power: float) -> None:
    result = segment_mean(Cubic(1e-3, 2e-3), 0.5, power)
    linear = segment_mean(Cubic(1e-3), 0.5, power)
    assert linear.value == pytest.approx(1e-3 * (2 / (power + 1)) ** (1 / power), rel=1e-4)
    assert linear.value < result.value <= segment_mean(Cubic(1e-3, 2e-3), 0.5, math.inf).value


@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("count", [2, 4, 6])
def test_gradient_nodes_integrate_polynomials_times_the_weight(power: float, count: int) -> None:
    nodes, weights = gradient_nodes(power, count)
    for degree in range(2 * count):
        exact = 0.0 if degree % 2 else 2 / (power + degree + 1)
        assert float(weights @ nodes**degree) == pytest.approx(exact, abs=1e-13)


def bent(random: np.random.Generator) -> Curve:
    """A parabola and one to ten kinks anywhere, ΔL(0) = 0."""
    slope, curvature = random.normal(size=2)
    places, kinks = random.uniform(-1, 1, size=(2, random.integers(1, 11)))

    def curve(t: FloatArray) -> FloatArray:
        bends = (np.maximum(t[:, None] - places, 0) - np.maximum(-places, 0)) @ kinks
        return slope * t + curvature * t**2 + 2 * bends

    return curve


def saturating(random: np.random.Generator) -> Curve:
    """Steep at 0 and flat from there on, as the loss of a network with random weights."""
    heights, rates = random.uniform(0.1, 3, size=2), 10 ** random.uniform(0.5, 1.5, size=2)
    return lambda t: np.where(t > 0, heights[0] * np.tanh(rates[0] * t), heights[1] * np.tanh(rates[1] * t))


@pytest.mark.parametrize("family", [bent, saturating])
def test_the_truth_lies_inside_for_99_of_100_curves_with_kinks(family: Callable[[np.random.Generator], Curve]) -> None:
    """Whatever number of losses there may be."""
    random = np.random.default_rng(11)
    middles = (np.arange(10_000) + 0.5) / 5_000 - 1
    errors, stated = [], []
    for _ in range(40):
        curve = family(random)
        for power, losses in zip((1.0, 1.5, 2.0, 3.0, 4.0), random.permutation([8, 10, 12, 16, 20]), strict=True):
            result = segment_mean(on(curve), 1.0, power, max_nodes=int(losses))
            truth = float((2 * (np.abs(curve(middles)) ** power).mean()) ** (1 / power))
            assert len(result.nodes) <= losses + 1
            errors.append(abs(result.value - truth) / truth)
            stated.append(result.error / truth)
    assert np.mean(np.array(errors) <= stated) >= 0.99
    assert np.median(stated) < 0.05


@pytest.mark.parametrize("power", [2.0, 4.0])
def test_a_spike_that_the_polynomial_missed_counts_once_a_loss_has_found_it(power: float) -> None:
    def spike(steps: Sequence[float]) -> list[float]:
        return [math.exp(-30 * abs(t - 0.3123)) - math.exp(-30 * 0.3123) for t in steps]

    result = segment_mean(spike, 1.0, power, 1e-3, 20)
    truth = brute_force(lambda t: np.exp(-30 * abs(t - 0.3123)) - math.exp(-30 * 0.3123), 1.0, power)
    assert abs(result.value - truth) <= result.error


def test_for_p_infinite_no_loss_that_was_seen_is_larger_than_the_value() -> None:
    random = np.random.default_rng(3)
    for _ in range(20):
        result = segment_mean(on(bent(random)), 1.0, math.inf)
        assert result.value >= max(abs(change) for _, change in result.nodes)


@pytest.mark.parametrize("known", [{}, {0.7: math.sqrt(0.7)}, {-0.2: math.sqrt(0.2), 0.7: math.sqrt(0.7)}])
@pytest.mark.parametrize("most", [5, 8, 11, 12, 21, 31])
def test_never_more_losses_than_there_may_be(known: dict[float, float], most: int) -> None:
    asked: list[float] = []

    def root(steps: Sequence[float]) -> list[float]:
        asked.extend(steps)
        return [math.sqrt(abs(t)) for t in steps]

    result = segment_mean(root, 1.0, 1.0, 1e-9, most, known)
    assert len(known) + len(asked) == len(result.nodes) - 1 <= most
    assert len({*asked, *known}) == len(asked) + len(known)


def test_a_loss_that_is_no_number_ends_it() -> None:
    asked: list[float] = []

    def broken(steps: Sequence[float]) -> list[float]:
        asked.extend(steps)
        return [math.nan if 0.05 < t < 0.2 else abs(t) ** 0.5 for t in steps]

    result = segment_mean(broken, 1.0, 2.0)
    assert any(0.05 < t < 0.2 for t in asked[-2:])
    assert math.isnan(result.value)


def on(curve: Curve) -> Callable[[list[float]], list[float]]:
    return lambda steps: [float(change) for change in curve(np.array(steps))]


@pytest.mark.parametrize("power", [1.0, 2.0, 4.0, math.inf])
def test_a_cusp_that_no_polynomial_follows_is_resolved_where_it_is(power: float) -> None:
    """ΔL = |s|^½: its p-mean is (2/(p/2 + 1))^{1/p}; a polynomial of so many losses is off by 1 % and more."""
    result = segment_mean(lambda steps: [math.sqrt(abs(t)) for t in steps], 1.0, power, 1e-3, 20)
    truth = 1.0 if math.isinf(power) else (2 / (power / 2 + 1)) ** (1 / power)
    assert abs(result.value - truth) <= result.error < 0.02 * truth
    if power < 2:
        assert sum(abs(t) < 0.1 for t, _ in result.nodes) > 5


def test_the_polynomial_is_stable_up_to_the_most_losses_that_may_be_asked_for() -> None:
    """∫ sin²(9t) dt over [−1, 1] is 1 − sin(18)/18; noise of 1e-9 in the losses stays of that order."""
    noise = np.random.default_rng(0)

    def noisy(steps: Sequence[float]) -> list[float]:
        return [math.sin(9 * t) + 1e-9 * noise.standard_normal() for t in steps]

    losses = Losses(noisy, 1.0, {})
    for pair in itertools.islice(symmetric_pairs(2.0, [0.0]), STABLE_NODES // 2):
        losses.evaluate(pair)
    result = Polynomial(losses, 2.0, slope=9.0).estimate()
    assert result.value == pytest.approx(math.sqrt(1 - math.sin(18) / 18), rel=3e-6)
    assert result.error < 1e-5


def test_what_still_falls_from_pair_to_pair_goes_on_as_a_polynomial() -> None:
    """exp: twelve losses would leave a piecewise cubic with an error of 1e-3 or more, a polynomial with 1e-9."""
    result = segment_mean(lambda steps: [math.expm1(2 * t) for t in steps], 1.0, 2.0, 1e-8)
    truth = math.sqrt((math.exp(4) - math.exp(-4)) / 4 - (math.exp(2) - math.exp(-2)) + 2)
    assert result.value == pytest.approx(truth, rel=1e-7)


@pytest.mark.parametrize("curve", [np.sin, lambda s: np.abs(s - 0.3) - 0.3, lambda s: s + s**2])
def test_more_losses_than_a_polynomial_takes_are_known(curve: Curve) -> None:
    """As after a search with many nodes."""
    nodes = gradient_nodes(2.0, 40)[0].tolist()
    known = dict(zip(nodes, curve(np.array(nodes)).tolist(), strict=True))
    result = segment_mean(lambda steps: curve(np.array(steps)).tolist(), 1.0, 2.0, known=known)
    assert len(result.nodes) == 1 + 40 + 2
    assert abs(result.value - brute_force(curve, 1.0, 2.0)) <= result.error < 1e-2 * result.value
