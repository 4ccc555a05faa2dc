"""Sharing batches: what one process of several computes, and what it tells the others."""

from __future__ import annotations

import pytest
import torch

from bnsharp_cli.errors import (
    DataRefusedError,
    InternalError,
    NotMeasurableError,
    SharedError,
    UsageError,
    described,
    named,
)
from bnsharp_cli.measurement.surface import processes
from bnsharp_cli.measurement.surface.processes import ALONE, Processes


def test_the_shares_are_a_partition_in_turn() -> None:
    items = list(range(7))
    shares = [Processes(rank, 3).own(items) for rank in range(3)]
    assert shares == [[0, 3, 6], [1, 4], [2, 5]]
    assert ALONE.own(items) == items


def test_more_processes_than_batches_are_refused() -> None:
    with pytest.raises(UsageError, match="3 processes need at least as many whole batches, found 2") as refusal:
        Processes(2, 3).require_work(2)
    assert refusal.value.found == 2
    assert refusal.value.remedy == "Start fewer processes, lower batch_size or raise samples."


def test_each_process_writes_its_own_slots_and_nothing_else() -> None:
    figures = torch.tensor([[1.0, 2.0], [3.0, float("nan")]])
    slots = Processes(1, 2).in_order(figures, 4)
    assert slots[:, 1::2].allclose(figures, rtol=0, atol=0, equal_nan=True)
    assert not slots[:, 0::2].any()


def test_one_process_alone_keeps_its_figures_gradients_and_errors() -> None:
    gradient = {"w": torch.ones(2)}
    assert ALONE.in_order(torch.arange(3.0), 3).tolist() == [0, 1, 2]
    assert ALONE.total(gradient) is gradient
    with pytest.raises(DataRefusedError, match="no data"), ALONE.together():
        raise DataRefusedError("no data", "Bring some.")


def test_any_failure_can_be_told_as_one_of_the_family() -> None:
    known = UsageError("reason", "remedy")
    assert described(known) is known
    assert isinstance(described(MemoryError()), NotMeasurableError)
    unknown = described(KeyError("x"))
    assert isinstance(unknown, InternalError)
    assert unknown.reason == "Internal error: KeyError: 'x'"
    assert unknown.exit_code == 4


def test_an_error_that_is_told_to_the_others_keeps_its_fields() -> None:
    error = UsageError.of("batch_size", "a positive number", -1, f"Raise {named('batch_size')}.")
    told = SharedError(**processes._fields(error))
    assert (told.argument, told.expected, told.found) == ("batch_size", "a positive number", "-1")
    assert (told.marked_reason, told.marked_remedy) == (error.marked_reason, error.marked_remedy)
    assert told.exit_code == error.exit_code
