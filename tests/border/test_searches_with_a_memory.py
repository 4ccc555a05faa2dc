"""Every network of the table, searched after a broken and a moved one: the blocks of a search of its own."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from bnsharp_cli import api
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.blocks.search_memory import SearchMemory
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.opened_surface import opened_surface
from tests.border.row import Row
from tests.border.table import ROWS_OF_VALUES
from tests.measurement.blocks.test_search_memory import same


def half_zero(network: nn.Module) -> None:
    """Half of each tensor is zero, so that many rows have no effect."""
    for parameter in network.parameters():
        if parameter.is_floating_point() and parameter.ndim and len(parameter) > 1:
            parameter[: len(parameter) // 2] = 0


def moved(network: nn.Module) -> None:
    """What the network holds beside its weights is another."""
    for buffer in network.buffers():
        if buffer.is_floating_point():
            buffer.add_(0.5)


def unchanged(network: nn.Module) -> None:
    del network


def searched(row: Row, change: Callable[[nn.Module], None], memory: SearchMemory | None) -> Blocks | str:
    """The blocks, or why there are none."""
    network, options = copy.deepcopy(row.model), dict(row.options)
    with torch.no_grad():
        change(network)
    own = MeasureOptions.from_flat(**{key: options[key] for key in ("parameters",) if key in options})
    settings = api.surface_settings(own, output=options.get("output"))
    try:
        with opened_surface(network, row.batches, row.criterion, settings) as surface:
            return find_blocks(surface, surface.point(), memory=memory)
    except Exception as error:
        return str(error)


@pytest.mark.parametrize("name", ROWS_OF_VALUES)
def test_no_search_changes_a_later_one(name: str) -> None:
    row, memory = ROWS_OF_VALUES[name](), SearchMemory()
    for change in (half_zero, unchanged, moved, unchanged):
        alone, after = searched(row, change, None), searched(row, change, memory)
        if isinstance(alone, Blocks) and isinstance(after, Blocks):
            assert same(alone, after), change.__name__
        else:
            assert alone == after, change.__name__
