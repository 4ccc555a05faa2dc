"""Batches of which no part can be taken: blocks, value and verdict are those of whole batches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import bnsharp_cli
from bnsharp_cli.measurement.surface.adapters import adapt
from bnsharp_cli.measurement.surface.examples import has_parts
from bnsharp_cli.measurement.surface.fixed_batches import fixed_batches
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from tests.border.networks import Net, batches
from tests.border.oracle import bn_of_blocks
from tests.border.whole_batches import CASES, Case, adjacency, bags


@pytest.mark.parametrize("name", CASES)
def test_the_value_is_that_of_plain_code(name: str) -> None:
    case = CASES[name]()
    measured = bnsharp_cli.measure(case.model, case.batches, precision="float64")
    assert measured.value == pytest.approx(bn_of_blocks(case.model, case.loss, case.blocks), rel=1e-3)
    assert any("counted by the targets" in note for note in measured.notes) is case.counted


@pytest.mark.parametrize("name", CASES)
def test_the_blocks_are_those_of_the_whole_batch(name: str) -> None:
    case = CASES[name]()
    assert bnsharp_cli.find_blocks(case.model, case.batches).invariant == len(case.blocks)


@pytest.mark.parametrize("case", [bags(), adjacency()])
def test_rescaled_copies_are_judged(case: Case) -> None:
    assert bnsharp_cli.rescale_test(case.model, case.batches, ball_samples=2).invariant


@pytest.mark.parametrize("name", CASES)
def test_no_part_is_taken(name: str) -> None:
    case = CASES[name]()
    assert not has_parts(_surface(case.model, case.batches))


def test_a_part_is_taken_of_independent_samples() -> None:
    assert has_parts(_surface(Net(), batches()))


def _surface(model: torch.nn.Module, data: list[tuple[object, Tensor]]) -> LossSurface:
    adapt(model, True, None)
    return LossSurface.of(model, fixed_batches(data))
