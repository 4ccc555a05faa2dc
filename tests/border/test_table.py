"""Every row of the table at every entry point: the value of plain code, or an error of ours that says what to do."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnsharp_cli
from bnsharp_cli.errors import BnsharpError
from bnsharp_cli.integrations.monitor import SharpnessMonitor
from tests.border.by_command import as_drawn, refusal, typed_value
from tests.border.oracle import bn_of_blocks
from tests.border.plain_rules import RULES, STEPS, Plain
from tests.border.table import ROWS_OF_VALUES, ROWS_REFUSED, Row

CLOSE = 2e-3
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch, of copies of scripted parts

Entry = Callable[[Row], Any]

LONG = pytest.mark.slow(reason="one more row at one more entry point", quick="tests/border/test_table.py::test_values")
SOME_ROWS = [pytest.param(name, marks=LONG) if number % 3 else name for number, name in enumerate(ROWS_OF_VALUES)]
"""Every third row; the others are held at the remaining entry points by the longer tests alone."""


@functools.cache
def row_of(name: str) -> Row:
    """One for all columns: nothing that is handed in may change."""
    return ROWS_OF_VALUES[name]()


def measured(row: Row) -> float:
    return bnsharp_cli.measure(row.model, row.batches, row.criterion, **dict(row.options)).value


def blocks(row: Row) -> int:
    return bnsharp_cli.find_blocks(row.model, row.batches, row.criterion, **dict(row.options)).invariant


def rescaled(row: Row) -> bool:
    options = {"ball_samples": 2, **dict(row.options)}
    return bnsharp_cli.rescale_test(row.model, row.batches, row.criterion, **options).invariant


def monitored(row: Row) -> float:
    record = SharpnessMonitor(row.batches, row.criterion, **dict(row.options))(row.model)
    assert record["reasons"] == {}
    return record["bn"]


@functools.cache
def expected(name: str) -> float:
    row = row_of(name)
    return bn_of_blocks(row.known, row.loss, row.blocks)


@pytest.mark.parametrize("entry", [measured, monitored], ids=["measure", "monitor"])
@pytest.mark.parametrize("name", ROWS_OF_VALUES)
def test_values(name: str, entry: Entry) -> None:
    assert entry(row_of(name)) == pytest.approx(expected(name), rel=CLOSE, abs=1e-300)


@pytest.mark.parametrize("name", SOME_ROWS)
def test_the_command(name: str, tmp_path: Path) -> None:
    row = row_of(name)
    if row.command:
        assert refusal(row, name, "ROWS_OF_VALUES", tmp_path)
        return
    drawn = as_drawn(row)
    wanted = bn_of_blocks(drawn.known, drawn.loss, drawn.blocks)
    assert typed_value(row, name, tmp_path) == pytest.approx(wanted, rel=CLOSE, abs=1e-300)


@pytest.mark.parametrize("name", ROWS_OF_VALUES)
def test_blocks(name: str) -> None:
    assert blocks(row_of(name)) == len(row_of(name).blocks)


@pytest.mark.parametrize("name", SOME_ROWS)
def test_rescaled_copies(name: str) -> None:
    row = row_of(name)
    if row.blocks and not row.flat:
        assert rescaled(row)
        return
    with pytest.raises(BnsharpError) as refused:
        rescaled(row)
    assert refused.value.remedy


@pytest.mark.parametrize("name", ROWS_OF_VALUES)
@pytest.mark.parametrize("kind", RULES)
def test_a_rule(name: str, kind: str) -> None:
    row = row_of(name)
    trained, plain = precise(ROWS_OF_VALUES[name]().model), precise(ROWS_OF_VALUES[name]().known)
    found = functools.partial(bnsharp_cli.find_blocks, row.model, row.batches, row.criterion, **dict(row.options))
    rule = RULES[kind](trained, found)
    if kind != "sgd" and any(weight.is_complex() for weight in trained.parameters()):
        with pytest.raises(BnsharpError, match="is complex") as refused:
            rule.step(*[lambda: row.loss(trained)] * rule.batches_per_step)
        assert "view_as_real" in refused.value.remedy
        trained = precise(ROWS_OF_VALUES[name]().known)  # as the remedy says
        rule = RULES[kind](trained, functools.partial(bnsharp_cli.find_blocks, row.known, row.batches, row.criterion))
    rule.step(*[lambda: row.loss(trained)] * rule.batches_per_step)
    moved = dict(trained.named_parameters())
    for part, weight in STEPS[kind](Plain(plain, row.loss, row.blocks)).items():
        assert torch.allclose(as_real(moved[part]), weight, rtol=1e-9, atol=1e-11), part


def precise(model: nn.Module) -> nn.Module:
    """The network in float64, complex weights too."""
    for weight in model.double().parameters():
        weight.data = weight.data.to(torch.complex128) if weight.is_complex() else weight.data
    return model


def as_real(weight: Tensor) -> Tensor:
    return torch.view_as_real(weight) if weight.is_complex() else weight


@pytest.mark.parametrize("entry", [measured, blocks, rescaled], ids=["measure", "find_blocks", "rescale_test"])
@pytest.mark.parametrize("name", ROWS_REFUSED)
def test_refusals(name: str, entry: Entry) -> None:
    refused = ROWS_REFUSED[name]()
    with pytest.raises(BnsharpError) as error:
        entry(refused.row)
    assert error.value.argument == refused.argument
    assert error.value.remedy


@pytest.mark.parametrize("name", ROWS_REFUSED)
def test_refusals_of_the_command(name: str, tmp_path: Path) -> None:
    assert refusal(ROWS_REFUSED[name]().row, name, "ROWS_REFUSED", tmp_path)
