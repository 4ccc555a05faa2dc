"""Kept results are read back as they were written, and what a stranger wrote is refused in one line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.checkpoints.samples import embedded_checkpoint
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.report.json_document import render, render_line
from bnsharp_cli.report.stored_results import is_result, read_results
from bnsharp_cli.workflows.measuring import MeasuredCheckpoint, measure_checkpoint
from bnsharp_cli.workflows.options import Data

Document = dict[str, Any]


@pytest.fixture(scope="module")
def measured() -> MeasuredCheckpoint:
    runs = [MeasureOptions.from_flat(delta=delta, ball_samples=2) for delta in (1e-3, 0.1)]
    data = Data(samples=128, batch_size=32, test_data="digits")
    return measure_checkpoint(embedded_checkpoint("digits-small-batch"), data=data, measures=("all",), runs=runs)


@pytest.fixture
def document(measured: MeasuredCheckpoint) -> Document:
    written: Document = json.loads(render(measured.document()))
    return written


def kept(folder: Path, document: Document) -> Path:
    path = folder / "kept.json"
    path.write_text(json.dumps(document))
    return path


def test_a_kept_result_is_the_one_that_was_measured(measured: MeasuredCheckpoint, tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    path.write_text(render(measured.document()))
    assert is_result(path)
    (found,) = read_results(path)
    assert found.document == json.loads(path.read_text())
    assert found.measured.to_dict() == json.loads(path.read_text())["measures"]
    assert [*found.measured.profiles] == [*measured.measured.profiles]
    bn = found.measured.profile("bn")[0]
    assert len(bn.by_batch) == len(found.document["batch_losses"]) == 4
    assert sum(bn.by_batch) / 4 == pytest.approx(bn.value)


def test_several_results_are_one_a_line(measured: MeasuredCheckpoint, tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    path.write_text(render_line(measured.document()) * 2)
    assert [one.document["loss"] for one in read_results(path)] == [measured.network.loss] * 2


def test_a_checkpoint_is_no_result(tmp_path: Path) -> None:
    assert not is_result(embedded_checkpoint("digits-small-batch"))


def changed(*path: str | int, value: Any) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        inner: Any = document
        for part in path[:-1]:
            inner = inner[part]
        inner[path[-1]] = value

    return change


def without(*path: str) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        inner: Any = document
        for part in path[:-1]:
            inner = inner[part]
        del inner[path[-1]]

    return change


WRONG: dict[str, tuple[Callable[[Document], None], str]] = {
    "another schema": (changed("schema", value="bnsharp/2"), "expected the schema bnsharp/1, found bnsharp/2"),
    "another command": (changed("command", value="audit"), "of measure or check, found a result of audit"),
    "a failure": (lambda document: [document.pop("command"), document.update(error={})], "found a failure"),
    "a value that is text": (changed("measures", "bn", "value", value="1"), "measures.bn.value: expected type"),
    "a loss that is a list": (changed("loss", value=[1]), "loss: expected type number"),
    "batches that are texts": (changed("batch_losses", 0, value="a"), "batch_losses.0: expected type number"),
    "an unknown entry": (changed("measures", "bn", "evil", value=1), "has entries that this version does not know"),
    "an unknown measure": (changed("measures", "evil", value={}), "has entries that this version does not know"),
    "a missing entry": (without("measures", "bn", "cost"), "measures.bn lacks cost"),
    "a hash that is none": (changed("data", "sha256", value="../../etc"), "data.sha256: expected pattern"),
    "a status of its own": (changed("measures", "bn", "status", value="perfect"), "measures.bn.status: expected enum"),
    "no batches": (changed("batch_losses", value=[]), "expected some batches"),
    "more samples than there are": (changed("data", "available", value=1), "no more samples than there are"),
    "accuracies of another number": (changed("batch_accuracies", value=[1.0]), "batch_accuracies: expected 4 numbers"),
    "groups of another number": (changed("test", "group_losses", value=[1.0]), "as many numbers as there are groups"),
    "no groups": (changed("test", "group_sizes", value=[]), "test.group_sizes: expected minItems"),
    "groups of more samples": (changed("test", "data", "samples", value=9), "to be those of the data"),
    "a gap that is text": (changed("test", "gap", value="0"), "test.gap: expected type"),
    "batches of another number": (changed("measures", "keskar", "by_batch", value=[1.0]), "expected 4 numbers or none"),
    "a name with an escape": (changed("schema", value="\x1b[2Jb"), "found \\x1b[2Jb"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_measure_did_not_write_is_refused(case: str, document: Document, tmp_path: Path) -> None:
    change, says = WRONG[case]
    change(document)
    with pytest.raises(CheckpointRefusedError) as refused:
        read_results(kept(tmp_path, document))
    assert says in refused.value.reason
    assert refused.value.reason.isprintable()
    assert len(refused.value.reason) < 400


TEXTS = {
    "no JSON": b"not JSON",
    "nothing": b"",
    "a list": b"[]",
    "half a document": b'{"schema": "bnsharp/1", "command": ',
    "a number without end": b'{"schema": ' + b"9" * 5000 + b"}",
    "infinity": b'{"schema": 1e999}',
    "not a number": b'{"schema": NaN}',
    "nested": b'{"schema": ' + b"[" * 100_000,
    "twice": b'{"schema": "bnsharp/1", "schema": "bnsharp/1"}',
    "no text": b'{"schema": "\xff\xfe"}',
    "many entries": b"[" + b"0," * 2_000_000 + b"0]",
}


@pytest.mark.parametrize("case", TEXTS)
def test_what_is_no_document_is_refused(case: str, tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    path.write_bytes(TEXTS[case])
    with pytest.raises(CheckpointRefusedError) as refused:
        read_results(path)
    assert refused.value.exit_code == 3
    assert len(refused.value.reason) < 400


def test_a_file_that_is_too_large_or_none_is_refused(tmp_path: Path) -> None:
    large, pipe = tmp_path / "large.json", tmp_path / "pipe.json"
    with large.open("wb") as stream:
        stream.truncate(2**26 + 1)
    os.mkfifo(pipe)
    for path, says in ((large, "67,108,865 bytes"), (pipe, "not a regular file"), (tmp_path / "none.json", "No such")):
        with pytest.raises(CheckpointRefusedError, match=says):
            read_results(path)
