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
from tests.border.whole_batches import CASES


@pytest.mark.parametrize("name", CASES)
def test_batches_counted_by_the_targets_are_said(name: str) -> None:
    case = CASES[name]()
    notes = bnsharp_cli.find_blocks(case.model, case.batches).notes
    assert any("counted by the targets" in note for note in notes) is case.counted


@pytest.mark.parametrize("name", CASES)
def test_no_part_is_taken(name: str) -> None:
    case = CASES[name]()
    assert not has_parts(_surface(case.model, case.batches))


def test_a_part_is_taken_of_independent_samples() -> None:
    assert has_parts(_surface(Net(), batches()))


def _surface(model: torch.nn.Module, data: list[tuple[object, Tensor]]) -> LossSurface:
    adapt(model, True, None)
    return LossSurface.of(model, fixed_batches(data))
