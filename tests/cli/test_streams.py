"""Streams that cannot encode all that the command says: the exit code, the result and the document stay whole."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from bnsharp_cli.cli.streams import encode_all
from bnsharp_cli.io.files.encodable_text import encodable
from bnsharp_cli.report.json_document import for_encoding, render
from bnsharp_cli.report.terminal import console
from tests.cli.helpers import bnsharp

SMALL = ("--samples", "64", "--batch-size", "32")
ROOT = Path(__file__).parents[2]


def encoded(encoding: str, *arguments: object, folder: Path, expect: int = 0) -> tuple[str, str]:
    """Both streams of a run that has them in this encoding, as the bytes decode."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding, "strict") for _ in range(2)]
    with mock.patch.multiple("sys", stdout=streams[0], stderr=streams[1]):
        code = run_here(arguments, folder)
    for stream in streams:
        stream.flush()
    assert code == expect, streams[1].buffer.getvalue()
    return tuple(stream.buffer.getvalue().decode(encoding) for stream in streams)


def run_here(arguments: tuple[object, ...], folder: Path) -> int:
    from bnsharp_cli.cli.main import main

    changed = mock.patch.multiple("sys", argv=["bnsharp", *map(str, arguments)])
    before = Path.cwd()
    os.chdir(folder)
    try:
        with changed, mock.patch.dict(os.environ, COLUMNS="80"):
            main()
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 1
    finally:
        os.chdir(before)
    raise AssertionError("main returned")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "cp437", "utf-8", "utf-16"])
def test_a_measurement_survives_every_encoding(encoding: str, tmp_path: Path) -> None:
    out, _ = encoded(encoding, "measure", "sample:digits-large-batch", *SMALL, folder=tmp_path)
    greek = "δ" if encoding in {"utf-8", "utf-16", "cp437"} else "delta"
    heading = next(line for line in out.splitlines() if line.startswith("measure "))
    assert heading.split()[1] == greek
    assert "\\u03b4" not in out


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_document_is_the_same_in_every_encoding(encoding: str, tmp_path: Path) -> None:
    """Read as JSON, with symbols in names of files that JSON's escapes must carry as two halves."""
    name = "δ-😀-é.pt"
    shutil.copy(ROOT / "sample_checkpoints/digits-large-batch.pt", tmp_path / name)
    out, _ = encoded(encoding, "inspect", name, "--json", folder=tmp_path)
    wanted = bnsharp("inspect", name, "--json", folder=tmp_path)
    found, expected = json.loads(out), json.loads(wanted.stdout)
    assert {**found, "cost": None} == {**expected, "cost": None}
    assert found["checkpoint"]["path"] == name


def test_a_refusal_survives(tmp_path: Path) -> None:
    _, err = encoded("ascii", "measure", "δ😀.pt", folder=tmp_path, expect=3)
    assert "bnsharp: Cannot open delta\\U0001f600.pt: " in err


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "cp1252"},
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "C"},
    ],
    ids=["cp1252", "ascii", "C without UTF-8 mode", "C"],
)
def test_a_process_says_what_it_found_in_words(environment: dict[str, str], tmp_path: Path) -> None:
    """The real streams: help and a refusal, both with symbols."""
    command = [sys.executable, "-m", "bnsharp_cli"]
    variables = {**os.environ, **environment, "PYTHONPATH": str(ROOT)}
    helped = subprocess.run([*command, "measure", "--help"], capture_output=True, env=variables, check=False)
    assert helped.returncode == 0, helped.stderr
    refused = subprocess.run(
        [*command, "measure", "δ.pt", "--delta", "−1"], capture_output=True, env=variables, check=False
    )
    assert refused.returncode == 2, refused.stderr
    assert b"Traceback" not in refused.stderr + helped.stderr


def test_what_the_user_asked_for_by_pythonioencoding_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), "ascii", "xmlcharrefreplace")
    monkeypatch.setattr(sys, "stdout", stream)
    encode_all()
    assert stream.errors == "xmlcharrefreplace"


def test_columns_stand_below_each_other_in_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.table import Table

    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    table = Table(box=None, pad_edge=False)
    for heading in ("δ", "value"):
        table.add_column(heading)
    table.add_row("1", "2")
    console().print(table)
    stream.flush()
    heading, row = stream.buffer.getvalue().decode("ascii").splitlines()
    assert heading.index("value") == row.index("2")


def test_every_symbol_of_our_own_texts_has_words() -> None:
    """Nothing that help texts, tables and messages say appears as an escape sequence in ASCII."""
    texts = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "bnsharp_cli").rglob("*.py"))
    foreign = {*texts} - set(map(chr, range(128))) - {"é"}  # a name
    assert len(foreign) > 40
    assert {one for one in foreign if "\\" in encodable(one, "ascii")} == set()


def test_json_is_escaped_only_where_it_must_be() -> None:
    text = render({"δ": "± 😀"})
    assert for_encoding(text, "utf-8") == for_encoding(text, None) == text
    assert "±" in for_encoding(text, "cp1252")
    assert json.loads(for_encoding(text, "ascii")) == {"δ": "± 😀"}
