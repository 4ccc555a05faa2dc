"""Where a plane is sampled: against functions whose shape is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy.interpolate import LinearNDInterpolator

from bnsharp_cli.measurement.landscape.plane import FIRST, PlaneSteps, sampled

Function = Callable[[Sequence[PlaneSteps]], list[float]]


def ridge(places: Sequence[PlaneSteps]) -> list[float]:
    """A kink along a slanted line; flat elsewhere."""
    return [abs(2 * s - t - 0.37) + 0.1 * s for s, t in places]


def hill(places: Sequence[PlaneSteps]) -> list[float]:
    """A narrow hill on a slope."""
    return [1 + 0.3 * s + math.exp(-40 * ((s - 0.4) ** 2 + (t - 0.4) ** 2)) for s, t in places]


def deep(places: Sequence[PlaneSteps]) -> list[float]:
    """A valley over three decades, which a picture shows by its logarithm."""
    return [1e-3 + 3 * (s + 0.5 * t) ** 2 for s, t in places]


def logarithm(places: Sequence[PlaneSteps]) -> list[float]:
    return [math.log(value) for value in deep(places)]


def furthest(function: Function, places: Sequence[PlaneSteps]) -> float:
    """How far straight lines between its values are from the function, on average over many other places."""
    others = np.random.default_rng(0).uniform(-1, 1, (4000, 2))
    between = LinearNDInterpolator(np.array(places), np.array(function(places)))(others)
    exact = np.array(function([(float(s), float(t)) for s, t in others]))
    return float(np.abs(between - exact).mean())


@pytest.mark.parametrize(("function", "shown"), [(ridge, ridge), (hill, hill), (deep, logarithm)])
def test_places_that_are_added_help_more_than_a_finer_grid(function: Function, shown: Function) -> None:
    places, _ = sampled(function, 1.0, 196)
    along = np.linspace(-1, 1, 14)
    grid = [(float(s), float(t)) for t in along for s in along]
    assert len(places) == len(grid) == 196
    assert furthest(shown, places) < 0.8 * furthest(shown, grid)


def test_it_begins_with_a_grid_through_the_middle_and_keeps_within_its_budget() -> None:
    asked: list[int] = []

    def counted(places: Sequence[PlaneSteps]) -> list[float]:
        asked.append(len(places))
        return hill(places)

    places, values = sampled(counted, 0.25, 100)
    assert asked[0] == FIRST**2
    assert sum(asked) == len(places) == len(values) == 100
    assert (0.0, 0.0) in places
    assert max(max(abs(s), abs(t)) for s, t in places) == 0.25
    assert values == hill(places)


def test_a_flat_function_is_not_asked_again() -> None:
    places, _ = sampled(lambda places: [1.0] * len(places), 1.0, 200)
    assert len(places) == FIRST**2


def test_a_place_without_a_number_does_not_stop_it() -> None:
    def broken(places: Sequence[PlaneSteps]) -> list[float]:
        return [math.inf if s > 0.9 else s * s for s, _ in places]

    places, values = sampled(broken, 1.0, 120)
    assert len(places) == 120
    assert math.inf in values
