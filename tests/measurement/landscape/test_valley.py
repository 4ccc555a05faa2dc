"""The curve between two networks: against another minimiser, on rescaled copies, and its cost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.landscape import bend
from bnsharp_cli.measurement.landscape.bend import bend_cost, curve, train_bend
from bnsharp_cli.measurement.landscape.between import matched, straight_line
from bnsharp_cli.measurement.landscape.valley import BEND_STEPS, Valley, valley_cost, valley_from
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from tests.cases import NOTHING, Vectors, blocks_by_hand
from tests.measurement.landscape.test_between import network, rescaled

FREE = blocks_by_hand({"x": (0, 0)}, 0)


def ring() -> LossSurface:
    """L = (‖x‖² − 1)², whose minima are a circle."""

    def criterion(output: Tensor, _: Tensor) -> Tensor:
        return (output.square().sum() - 1).square()

    return LossSurface.of(Vectors(x=torch.zeros(2)), NOTHING, criterion, dtype=torch.float64)


def on_ring() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    return {"x": torch.tensor([1.0, 0.0]).double()}, {"x": torch.tensor([0.0, 1.0]).double()}


def test_the_bend_is_the_minimum_that_another_minimiser_finds() -> None:
    surface, ends = ring(), on_ring()

    def mean_loss(w: np.ndarray) -> float:
        t = np.linspace(0, 1, 2001)[:, None]
        way = (1 - t) ** 2 * np.array([1.0, 0]) + 2 * t * (1 - t) * w + t**2 * np.array([0, 1.0])
        return float((((way**2).sum(1) - 1) ** 2).mean())

    expected = minimize(mean_loss, [0.5, 0.5], tol=1e-12).x
    found = train_bend(surface, *ends, FREE, 400, 0).point["x"].numpy()
    assert found == pytest.approx(expected, abs=0.01)
    assert mean_loss(found) == pytest.approx(mean_loss(expected), abs=1e-4)


def test_a_curve_goes_round_a_hill_that_the_line_goes_over() -> None:
    """The middle of the line is at distance √½, where L = ¼; its ends are minima."""
    surface, ends = ring(), on_ring()
    line = straight_line(surface, *ends)
    assert line.barrier == pytest.approx(0.25)
    found = valley_from(surface, ends, FREE, line, BEND_STEPS)
    assert found.bent
    assert found.between.barrier < 0.02
    assert (found.between.losses[0], found.between.losses[-1]) == (line.losses[0], line.losses[-1])
    assert found.trained <= found.halfway < 0.25


def test_a_curve_begins_as_the_line_and_ends_where_the_networks_are() -> None:
    surface, ends = ring(), on_ring()
    untrained = train_bend(surface, *ends, FREE, 0, 0).point
    for t in (0.0, 0.3, 1.0):
        assert curve(ends[0], untrained, ends[1], t)["x"].tolist() == pytest.approx([1 - t, t], abs=1e-15)


def test_a_curve_that_training_made_worse_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bend, "_RATE", 50.0)
    surface, ends = ring(), on_ring()
    line = straight_line(surface, *ends)
    found = valley_from(surface, ends, FREE, line, 5)
    assert not found.bent
    assert found.between is line


def test_training_ends_where_the_loss_is_not_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bend, "_RATE", 1e90)
    trained = train_bend(ring(), *on_ring(), FREE, 20, 0)
    assert trained.steps < 20


def test_copies_of_either_network_have_the_same_curve() -> None:
    surface, other = in_batches(network(0)), network(1)
    first, second = surface.point(), other.point()
    blocks = find_blocks(surface, first)
    ways = []
    for a, b in ((first, second), (rescaled(first, blocks, 5), rescaled(second, blocks, 6))):
        ends = a, matched(b, a, blocks)
        trained = train_bend(surface, *ends, blocks, 20, 3).point
        ways.append([surface.value(curve(ends[0], trained, ends[1], number / 10)) for number in range(11)])
    assert ways[1] == pytest.approx(ways[0], rel=1e-9)
    line = straight_line(surface, first, matched(second, first, blocks), 11)
    assert max(abs(a - b) for a, b in zip(ways[0], line.losses, strict=True)) > 0.01


def in_batches(surface: LossSurface) -> LossSurface:
    torch.manual_seed(7)
    batches = tuple((torch.randn(16, 4), torch.randint(3, (16,))) for _ in range(4))
    return LossSurface.of(surface.module, batches, dtype=torch.float64)


def test_it_costs_what_was_said_before() -> None:
    surface, other = in_batches(network(0)), network(1)
    first = surface.point()
    blocks = find_blocks(surface, first)
    ends = first, matched(other.point(), first, blocks)
    line = straight_line(surface, *ends)
    before = surface.counter.cost
    train_bend(surface, *ends, blocks, 10, 0)
    after = surface.counter.cost
    assert after - before == bend_cost(surface, 10)
    assert bend_cost(surface, 10).backward == 10 / 4
    valley_from(surface, ends, blocks, line, 10)
    assert surface.counter.cost - after == valley_cost(surface, 10)


def test_the_same_seed_gives_the_same_curve() -> None:
    surface, other = in_batches(network(0)), network(1)
    first = surface.point()
    blocks = find_blocks(surface, first)
    ends = first, matched(other.point(), first, blocks)
    one, same, different = (train_bend(surface, *ends, blocks, 10, seed).point for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], different[name]) for name in one)


def test_training_has_ended_where_its_second_half_gained_little() -> None:
    line = straight_line(ring(), *on_ring())
    ended = Valley(line, 50, 0.100, 0.097, True)
    assert not ended.still_falling
    assert replace(ended, trained=0.05).still_falling
