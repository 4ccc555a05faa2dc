"""``bnsharp measures``: a list of everything that can be measured, complete, narrow and quick."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bnsharp_cli.measurement.measures.measure_entry import MeasureEntry
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.measures.survival import SURVIVES, Rescaling
from bnsharp_cli.report.measure_list import measures_document, measures_text
from tests.cli.helpers import bnsharp, one_error


def test_the_document_has_a_record_for_every_measure(tmp_path: Path) -> None:
    finished = bnsharp("measures", "--json", "--output", "list.json", folder=tmp_path)
    assert finished.stderr == ""
    assert (tmp_path / "list.json").read_text() == finished.stdout
    records = json.loads(finished.stdout)["measures"]
    assert [record["name"] for record in records] == [*MEASURES]
    for record in records:
        assert all(record[key] for key in ("summary", "formula", "cost", "source", "invariance"))
    survives = {name: own for record in records for name, own in record["survives"].items()}
    assert survives == {name: [*own] for name, own in SURVIVES.items()}
    assert records[0]["options"] == ["by"]


def test_every_measure_is_in_both_tables_within_80_columns(tmp_path: Path) -> None:
    printed = bnsharp("measures", folder=tmp_path).stdout
    assert printed == f"{measures_text()}\n"
    lines = printed.splitlines()
    assert max(map(len, lines)) <= 80
    for name, own in SURVIVES.items():
        (row,) = [line.split() for line in lines if line.split()[:1] == [name]]
        assert row[1:] == ["same" if rescaling in own else "moves" for rescaling in Rescaling]
    for entry in MEASURES.values():
        assert f"{entry.name}: {entry.summary}" in lines
    for rescaling in Rescaling:
        assert any(line.split()[:1] == [rescaling.value] and rescaling.meaning in line for line in lines)


@pytest.mark.parametrize("entry", MEASURES.values(), ids=MEASURES)
def test_what_a_measure_is_fits_into_one_line_of_a_legend(entry: MeasureEntry) -> None:
    assert len(f"{entry.name}: {entry.summary}") <= 80


def test_an_extra_that_is_needed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = MeasureEntry("mine", "mine", "m", "none", "me", "none", "mine:mine", extra="huge")
    monkeypatch.setitem(MEASURES, "mine", entry)
    assert "    needs    pip install 'bnsharp[huge]'" in measures_text().splitlines()
    record = measures_document()["measures"][-1]
    assert (record["name"], record["extra"], record["survives"]) == ("mine", "huge", {})


def test_it_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from bnsharp_cli.cli.main import app\n"
        "try:\n    app(['measures', '--json'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'numpy', 'scipy', 'rich', 'matplotlib'} & {*sys.modules}, sys.modules.keys()\n"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["command"] == "measures"


def test_a_stream_without_the_symbols_gets_words() -> None:
    code = "import sys; sys.argv = ['bnsharp', 'measures']; from bnsharp_cli.cli.main import main; main()"
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, env={"PYTHONIOENCODING": "ascii", "PATH": ""}
    )
    assert finished.returncode == 0, finished.stderr
    assert b"gamma" in finished.stdout


def test_it_takes_nothing_else(tmp_path: Path) -> None:
    finished = bnsharp("measures", "net.pt", folder=tmp_path, expect=2)
    assert "unexpected extra argument" in finished.stderr
    assert "Cannot write ." in one_error(bnsharp("measures", "--output", ".", folder=tmp_path, expect=2))
