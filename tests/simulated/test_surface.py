"""The loss surface on the simulated device: one wait for each evaluation, and stacks that fit its memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from bnsharp_cli.core.point import Point, scaled
from bnsharp_cli.measurement.surface import stacking
from bnsharp_cli.measurement.surface.execution_plan import ExecutionPlan
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.stacking import PointsAtOnce, free_memory
from bnsharp_cli.measurement.surface.token_loss import IGNORED, token_cross_entropy
from tests.simulated.backend import NAME
from tests.simulated.device import Simulation, ending_midway, simulated
from tests.simulated.networks import batches, network

Evaluation = Callable[[LossSurface, Point], object]

EVALUATIONS: dict[str, Evaluation] = {
    "value": lambda surface, point: surface.value(point),
    "gradient": lambda surface, point: surface.value_and_gradient(point),
    "gradient and squares": lambda surface, point: surface.gradient_and_squares(point),
    "batch gradients": lambda surface, point: surface.value_and_batch_gradients(point, lambda *_: None),
    "products": lambda surface, point: surface.curvature_products(point, [point, point]),
    "accuracy": lambda surface, point: surface.evaluated(point),
}


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("convolutions", [1, 4])
@pytest.mark.parametrize("name", EVALUATIONS)
def test_an_evaluation_waits_once(simulation: Simulation, name: str, convolutions: int, count: int) -> None:
    surface = LossSurface.of(network(convolutions), batches(count), device=NAME)
    point = {name: tensor.clone() for name, tensor in surface.point().items()}
    surface.value(point)  # chooses how batches are computed
    simulation.waits.clear()
    EVALUATIONS[name](surface, point)
    assert simulation.waits.total() == 1, dict(simulation.waits)


@pytest.mark.parametrize("name", EVALUATIONS)
def test_an_evaluation_of_a_rescaled_copy_waits_once(simulation: Simulation, name: str) -> None:
    plain = LossSurface.of(network(4), batches(3), device=NAME)
    scales = tuple(torch.full((2,), scale, device=NAME).reshape(1, 2) for scale in (1.0, 2.0, 0.5, 4.0))
    surface = plain.with_norms(treatment=replace(plain.treatment, input_scales=scales))
    point = surface.point()
    assert surface.value(point) != plain.value(point)
    simulation.waits.clear()
    EVALUATIONS[name](surface, point)
    assert simulation.waits.total() == 1, dict(simulation.waits)


@pytest.mark.parametrize("name", EVALUATIONS)
def test_batches_that_count_by_their_tokens_are_not_waited_for(simulation: Simulation, name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(11, (6, 5), generator=generator)
    targets = torch.where(torch.rand(6, 5, generator=generator) < 0.7, tokens.flip(1), IGNORED)
    model = torch.nn.Sequential(torch.nn.Embedding(11, 4), torch.nn.Tanh(), torch.nn.Linear(4, 11))
    parts = [(tokens[:4], targets[:4]), (tokens[4:], targets[4:])]
    surface = LossSurface.of(model, parts, token_cross_entropy, device=NAME)
    point = {name: tensor.clone() for name, tensor in surface.point().items()}
    surface.value(point)  # chooses how batches are computed
    simulation.waits.clear()
    EVALUATIONS[name](surface, point)
    assert simulation.waits.total() == 1, dict(simulation.waits)


def points(surface: LossSurface, count: int) -> list[Point]:
    return [scaled(surface.point(), 1 + 1e-3 * number) for number in range(count)]


def test_several_points_at_once_wait_once(simulation: Simulation) -> None:
    surface = LossSurface.of(network(1), batches(), device=NAME, points_at_once=PointsAtOnce(8))
    together = points(surface, 8)
    surface.value(together[0])
    simulation.waits.clear()
    found = surface.values(together)
    assert simulation.waits.total() == 1
    assert found == pytest.approx([surface.value(point) for point in together], rel=1e-6)


def test_memory_that_ends_is_met_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def watched(function, chunk_size: int):
        sizes.append(chunk_size)
        return torch.func.vmap(function, chunk_size=chunk_size)

    monkeypatch.setattr("bnsharp_cli.measurement.surface.passes.vmap", watched)
    with simulated() as simulation:
        surface = LossSurface.of(network(1), batches(), device=NAME, points_at_once=PointsAtOnce(32))
        expected = [surface.value(point) for point in points(surface, 32)]
        together = points(surface, 32)
        surface.plan()
        with ending_midway(simulation):
            surface.values(together)
        surface.pool.fitting.sizes.clear()
        sizes.clear()
        assert surface.values(together) == pytest.approx(expected, rel=1e-6)
        fitting = sizes[-1]
        assert sizes[:2] == [32, 16]
        assert fitting < 32
        sizes.clear()
        assert surface.values(together) == pytest.approx(expected, rel=1e-6)
        assert {*sizes} == {fitting}


@pytest.mark.parametrize(("held", "points"), [(1, 32), (2500, 32), (2501, 16), (5001, 8), (79_999, 1), (10**9, 1)])
def test_as_many_points_are_stacked_as_fit(held: int, points: int) -> None:
    with simulated(memory=100_000):
        assert PointsAtOnce().most(ExecutionPlan(held=held, tried=True), torch.device(NAME), torch.float32) == points
        taken = torch.zeros(50_000, dtype=torch.uint8, device=NAME)
        assert free_memory(taken.device) == 50_000
        halved = PointsAtOnce().most(ExecutionPlan(held=held, tried=True), torch.device(NAME), torch.float32)
        assert halved == max(1, points // 2) or points == stacking.CUDA_STACK
