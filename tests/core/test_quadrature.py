"""The p-mean along a segment against brute force, for kinks, odd powers and p = ∞."""

import math

import numpy as np
import pytest

from bnsharp_cli.core.quadrature import STABLE_NODES, gradient_nodes, segment_mean

POWERS = (1.0, 1.5, 2.0, 3.0, 4.0, 7.5)


class Polynomial:
    """ΔL(t) = a t + b t² + c t³, counting its evaluations."""

    def __init__(self, *coefficients: float) -> None:
        self.coefficients = coefficients
        self.asked: list[float] = []

    def __call__(self, steps: list[float]) -> list[float]:
        self.asked.extend(steps)
        return [self.at(step) for step in steps]

    def at(self, step: float) -> float:
        return sum(c * step ** (k + 1) for k, c in enumerate(self.coefficients))


def brute_force(function: Polynomial, delta: float, power: float) -> float:
    """Midpoint rule with a million nodes on each side of every zero that a fine grid can see."""
    edges = np.linspace(-delta, delta, 2_000_001)
    middles = (edges[1:] + edges[:-1]) / 2
    values = np.abs(function.at(middles) / delta)
    return float(values.max()) if math.isinf(power) else float((2 * (values**power).mean()) ** (1 / power))


@pytest.mark.parametrize("power", POWERS)
def test_linear_function_in_closed_form(power: float) -> None:
    result = segment_mean(Polynomial(0.7), 0.03, power)
    assert result.value == pytest.approx(0.7 * (2 / (power + 1)) ** (1 / power), rel=1e-6)


@pytest.mark.parametrize("power", POWERS)
def test_pure_quadratic_in_closed_form(power: float) -> None:
    delta, curvature = 0.02, 11.0
    result = segment_mean(Polynomial(0.0, curvature / 2), delta, power)
    assert result.value == pytest.approx((2 / (2 * power + 1)) ** (1 / power) * delta * curvature / 2, rel=1e-6)


@pytest.mark.parametrize("power", [*POWERS, math.inf])
@pytest.mark.parametrize("coefficients", [(0.3, 40.0), (0.3, -200.0, 30.0), (1e-4, 5.0), (-2.0, 1.0, 4e3)])
def test_brute_force_lies_within_the_stated_error(power: float, coefficients: tuple[float, ...]) -> None:
    function = Polynomial(*coefficients)
    result = segment_mean(function, 0.011, power)
    truth = brute_force(function, 0.011, power)
    assert abs(result.value - truth) <= result.error + 2e-6 * truth
    assert result.error <= 2e-3 * truth


def test_a_smooth_function_costs_four_evaluations_and_never_asks_for_zero() -> None:
    function = Polynomial(0.3, 4.0)
    result = segment_mean(function, 1e-3, 2.0)
    assert len(function.asked) == 4
    assert 0.0 not in function.asked
    assert (0.0, 0.0) in result.nodes


def test_known_differences_are_not_asked_for_again() -> None:
    function = Polynomial(0.3, 40.0, 5e3)
    nodes = [0.011 * float(s) for s in gradient_nodes(2.0, 2)[0]]
    known = dict(zip(nodes, function(nodes), strict=True))
    function.asked.clear()
    result = segment_mean(function, 0.011, 2.0, known=known)
    alone = Polynomial(0.3, 40.0, 5e3)
    assert result.value == pytest.approx(segment_mean(alone, 0.011, 2.0).value, rel=1e-9)
    assert len(function.asked) == len(alone.asked) - 2


def test_each_node_is_asked_for_once() -> None:
    function = Polynomial(0.3, 40.0, -2e3, 7e5, 3e7)
    segment_mean(function, 0.011, 1.5, rtol=1e-12, max_nodes=20)
    assert len(function.asked) == len(set(function.asked)) > 6


def test_the_cap_ends_what_does_not_converge_and_the_error_says_so() -> None:
    def rough(steps: list[float]) -> list[float]:
        return [math.sin(300 * step) + abs(step - 0.3) for step in steps]

    result = segment_mean(rough, 1.0, 2.0, max_nodes=12)
    assert len(result.nodes) == 13
    assert result.error > 0.1 * result.value


def test_a_constant_function_has_no_sharpness() -> None:
    assert segment_mean(Polynomial(0.0), 0.1, 2.0).value == 0
    assert segment_mean(Polynomial(0.0), 0.1, 3.0).value == 0
    assert segment_mean(Polynomial(0.0), 0.1, math.inf).value == 0


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0, 3.0, 4.0])
def test_the_truth_lies_inside_for_99_of_100_random_polynomials(power: float) -> None:
    """Degree 1 to 8, coefficients over three decades, so that ΔL has up to seven zeros besides t = 0."""
    random = np.random.default_rng(7)
    middles = (np.arange(10_000) + 0.5) / 5_000 - 1
    inside = 0
    for _ in range(200):
        degree = random.integers(1, 9)
        function = Polynomial(*random.normal(size=degree) * 10.0 ** random.uniform(-2, 1, size=degree))
        result = segment_mean(function, 1.0, power)
        truth = float((2 * (np.abs(function.at(middles)) ** power).mean()) ** (1 / power))
        inside += abs(result.value - truth) <= result.error
    assert inside >= 198


@pytest.mark.parametrize("power", [300.0, 1000.0])
def test_large_powers_neither_underflow_nor_overflow(power: float) -> None:
    result = segment_mean(Polynomial(1e-3, 2e-3), 0.5, power)
    linear = segment_mean(Polynomial(1e-3), 0.5, power)
    assert linear.value == pytest.approx(1e-3 * (2 / (power + 1)) ** (1 / power), rel=1e-4)
    assert linear.value < result.value <= segment_mean(Polynomial(1e-3, 2e-3), 0.5, math.inf).value


@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("count", [2, 4, 6])
def test_gradient_nodes_integrate_polynomials_times_the_weight(power: float, count: int) -> None:
    nodes, weights = gradient_nodes(power, count)
    for degree in range(2 * count):
        exact = 0.0 if degree % 2 else 2 / (power + degree + 1)
        assert float(weights @ nodes**degree) == pytest.approx(exact, abs=1e-13)


def test_the_polynomial_is_stable_up_to_the_most_losses_that_may_be_asked_for() -> None:
    """∫ sin²(9t) dt over [−1, 1] is 1 − sin(18)/18; noise of 1e-9 in the losses stays of that order."""
    noise = np.random.default_rng(0)

    def noisy(steps: list[float]) -> list[float]:
        return [math.sin(9 * t) + 1e-9 * noise.standard_normal() for t in steps]

    result = segment_mean(noisy, 1.0, 2.0, 1e-12, STABLE_NODES, slope=9.0)
    assert len(result.nodes) == STABLE_NODES + 1
    assert result.value == pytest.approx(math.sqrt(1 - math.sin(18) / 18), rel=3e-6)
