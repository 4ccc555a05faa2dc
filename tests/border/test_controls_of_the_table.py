"""The controls on every row of the table: loss and gradient of plain code, and a reason where one is missing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import bnsharp_cli
from bnsharp_cli.errors import UnfitMeasureError
from tests.border.row import Row
from tests.border.table import ROWS_OF_VALUES
from tests.border.test_table import precise

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch, of copies of scripted parts


def value(row: Row, name: str) -> float | str:
    """The value of a measure, or why it does not exist."""
    options = {"precision": "float64", **dict(row.options)}
    try:
        return bnsharp_cli.measure(row.model, row.batches, row.criterion, name, **options).value
    except UnfitMeasureError as error:
        return error.reason


def chosen(row: Row, network: nn.Module) -> list[nn.Parameter]:
    """The parameters that are varied."""
    trained = [weight.requires_grad for weight in row.known.parameters()]
    only = dict(row.options) == {"parameters": "trainable"}
    return [weight for weight, kept in zip(network.parameters(), trained, strict=True) if kept or not only]


@pytest.mark.parametrize("name", ROWS_OF_VALUES)
def test_every_row_has_its_controls(name: str) -> None:
    row, network = ROWS_OF_VALUES[name](), precise(ROWS_OF_VALUES[name]().known)
    weights = [weight.requires_grad_() for weight in chosen(row, network)]
    loss = row.loss(network)
    gradients = [g for g in torch.autograd.grad(loss, weights, allow_unused=True) if g is not None]
    assert value(row, "loss") == pytest.approx(loss.item(), rel=1e-9, abs=1e-300)
    norm = math.sqrt(sum(float(g.abs().square().sum()) for g in gradients))
    assert value(row, "gradient-norm") == pytest.approx(norm, rel=1e-6, abs=1e-300)
    for other in ("margin", "entropy", "relative-flatness"):
        found = value(row, other)
        assert isinstance(found, str) or math.isfinite(found)
        assert other == "margin" or isinstance(found, str) or found >= 0
