"""Adding a search rule touches one file, adding a measure two: nothing else has a list of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from bnsharp_cli.core.ascent import Evaluation, Landscape, Question, SearchRule, SearchState, Step
from bnsharp_cli.core.point import Point
from bnsharp_cli.core.search_rules import RULES
from bnsharp_cli.core.spheres import Spheres
from bnsharp_cli.errors import UsageError
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.measures.bn_sharpness import bn_sharpness
from bnsharp_cli.measurement.measures.measurement import Measurement, Status, Uncertainty
from bnsharp_cli.measurement.measures.options import MeasureOptions, particular_fields
from bnsharp_cli.measurement.measures.registry import MEASURES, MeasureEntry
from bnsharp_cli.measurement.surface.cost import Cost
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.option_records import OptionRecord, option
from tests.cases import Quadratic, blocks_by_hand

SURFACE = Quadratic({"x": torch.ones(3)}, torch.tensor([1.0, 2.0, -2.0]).double(), torch.eye(3).double()).surface()
ONE_BLOCK = blocks_by_hand({"x": (0, 0, 0)}, invariant=0)


@dataclass(frozen=True)
class Backwards(SearchRule):
    """Towards the gradient of the loss at θ − part · δ v: a question that no other rule asks."""

    name: ClassVar[str] = "backwards"
    summary: ClassVar[str] = "the gradient behind"
    iterations: ClassVar[int] = 3
    monotone: ClassVar[bool] = False
    part: float = option(0.5, "How far.", expected="a number in (0, 1]", accept=lambda part: 0 < part <= 1)

    def step(self, state: SearchState, spheres: Spheres) -> Step:
        behind = (yield Question(self._behind, state.coordinates)).gradient
        return replace(state, coordinates=spheres.normalise(behind, state.coordinates))

    def _behind(self, landscape: Landscape, coordinates: Point) -> Evaluation:
        direction = landscape.spheres.to_direction(coordinates)
        return Evaluation(gradient=landscape.loss_gradient(direction, -self.part * landscape.delta))


def test_a_rule_that_is_registered_can_be_chosen_and_has_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, "backwards", Backwards)
    options = MeasureOptions.from_flat(search="backwards", part=0.25, delta=0.1, precision="float64")
    assert options.rule == Backwards(0.25)
    assert (options.to_dict()["part"], options.steps) == (0.25, 3)
    with pytest.raises(UsageError, match=r"part: expected a number in \(0, 1\], found 2"):
        MeasureOptions.from_flat(part=2)
    found = bn_sharpness(SURFACE, SURFACE.point(), ONE_BLOCK, options)
    assert found.status is Status.AS_PRESCRIBED
    best = bn_sharpness(SURFACE, SURFACE.point(), ONE_BLOCK, replace(options, search="power"))
    assert found.value == pytest.approx(best.value, rel=1e-2)


@dataclass(frozen=True)
class LossOptions(OptionRecord):
    factor: float = option(1.0, "Factor of loss.", expected="a number", accept=lambda factor: factor == factor)


def loss(surface: LossSurface, point: Point, blocks: Blocks, options: MeasureOptions) -> Measurement:
    value = options.of(LossOptions).factor * surface.value(point)
    return Measurement("loss", value, Status.SAMPLED, Uncertainty(), Cost(1.0))


def test_a_measure_that_is_registered_can_be_called_and_has_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = MeasureEntry("loss", "L", "L(θ)", "1 forward", "", "", f"{__name__}:loss", LossOptions)
    monkeypatch.setitem(MEASURES, "loss", entry)
    assert "factor" in {one.name for one in particular_fields()}
    options = MeasureOptions.from_flat(factor=2.0)
    measured = MEASURES["loss"](SURFACE, SURFACE.point(), ONE_BLOCK, options)
    assert measured.value == 2 * SURFACE.value(SURFACE.point())
    assert options.to_dict()["factor"] == 2.0
