"""Several measures of one network: what they share, and which are left out."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from bnsharp_cli.errors import NotMeasurableError, UnfitMeasureError
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.measures.measure_all import measure_all
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.surface.cost import Cost
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from tests.cases import mlp_bn, vectors


@pytest.fixture
def opened() -> tuple[LossSurface, Blocks]:
    ((inputs, labels),) = vectors(64)
    surface = LossSurface.of(mlp_bn(), [*zip(inputs.split(16), labels.split(16), strict=True)])
    return surface, find_blocks(surface, surface.point())


def test_measures_share_passes_and_each_says_what_it_needs_alone(opened: tuple[LossSurface, Blocks]) -> None:
    surface, blocks = opened
    point, options = surface.point(), MeasureOptions.from_flat(ball_samples=2)
    alone = {name: MEASURES[name](surface, point, blocks, options) for name in ("bn", "delta-lp", "delta-linf")}
    counter = surface.counter
    before, said = counter.all - counter.trials, counter.cost
    found = measure_all(surface, point, blocks, [*alone], [options])
    for name, one in alone.items():
        assert found[name] == one
    made = counter.all - counter.trials - before
    assert counter.cost - said == sum((one.cost for one in alone.values()), Cost())
    # delta-linf takes the gradient that bn computed, and the losses that delta-lp did
    assert made == counter.cost - said - Cost(2, 1)


def test_a_point_is_remembered_by_its_surface_alone(opened: tuple[LossSurface, Blocks]) -> None:
    surface, _ = opened
    point = surface.point()
    remembering = surface.remembering(point)
    loss, gradient = remembering.value_and_gradient(point)
    for tensor in gradient.values():
        tensor.zero_()  # it is the caller's
    again = remembering.value_and_gradient(point)
    plain = surface.value_and_gradient(point)
    assert again[0] == loss == plain[0]
    assert all(torch.equal(again[1][name], plain[1][name]) for name in point)
    remembering.value(point)
    half = remembering.part(0, 2)
    assert half.value(point) == surface.part(0, 2).value(point) != surface.value(point)
    moved = {name: tensor * 1.5 for name, tensor in point.items()}
    assert remembering.value(moved) == surface.value(moved)
    double = remembering.in_precision(torch.float64)
    assert double.value(point) == surface.in_precision(torch.float64).value(point) != surface.value(point)


def test_what_does_not_exist_for_a_network_is_left_out_of_all_and_refused_by_its_name(
    opened: tuple[LossSurface, Blocks], monkeypatch: pytest.MonkeyPatch
) -> None:
    surface, blocks = opened
    point, options = surface.point(), MeasureOptions.from_flat(ball_samples=2, power=math.inf)
    found = measure_all(surface, point, blocks, ["all"], [options])
    assert {*found.profiles, *found.skipped} == {*MEASURES}
    assert "finite" in found.skipped["delta-lp"]
    assert "delta-lp was not measured: It needs a finite power." in repr(found)
    with pytest.raises(UnfitMeasureError, match="finite"):
        measure_all(surface, point, blocks, ["bn", "delta-lp"], [options])
    broken = replace(MEASURES["bn"], load=f"{__name__}:fails")
    monkeypatch.setitem(MEASURES, "bn", broken)
    with pytest.raises(NotMeasurableError, match="no number"):
        measure_all(surface, point, blocks, ["all"], [options])


def fails(*_: object) -> None:
    raise NotMeasurableError("It is no number.", "Look at the data.")


def test_a_measure_without_radius_is_taken_once(
    opened: tuple[LossSurface, Blocks], monkeypatch: pytest.MonkeyPatch
) -> None:
    surface, blocks = opened
    monkeypatch.setitem(MEASURES, "keskar", replace(MEASURES["keskar"], has_radius=False))
    runs = [MeasureOptions(delta=delta) for delta in (1e-3, 1e-2)]
    found = measure_all(surface, surface.point(), blocks, ["bn", "keskar"], runs)
    assert [len(profile) for profile in found.profiles.values()] == [2, 1]


@pytest.mark.parametrize("name", ["bn", "noise", "adaptive"])
def test_what_batches_add_makes_the_value(opened: tuple[LossSurface, Blocks], name: str) -> None:
    surface, blocks = opened
    one = MEASURES[name](surface, surface.point(), blocks, MeasureOptions(precision="float64"))
    assert len(one.by_batch) == surface.count
    assert math.fsum(one.by_batch) / surface.count == pytest.approx(one.value, rel=1e-9)
    assert len({*one.by_batch}) > 1
