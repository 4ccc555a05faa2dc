"""The notebooks run from top to bottom and print what they show, up to digits, which belong to the machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.notebooks import NOTEBOOKS, executed, texts
from tests.pages import without_digits

nbformat = pytest.importorskip("nbformat")


def test_there_are_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["compare", "monitor"]


LONG = pytest.mark.slow(
    reason="runs a second notebook in a kernel of its own",
    quick="tests/test_notebooks.py::test_a_notebook_prints_what_it_shows",
)


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=LONG) if path.stem == "monitor" else path for path in NOTEBOOKS],
    ids=lambda path: path.stem,
)
def test_a_notebook_prints_what_it_shows(path: Path, tmp_path: Path) -> None:
    shown = texts(nbformat.read(path, as_version=4))
    assert any(shown), "python -m tests.pages executes it"
    assert [_comparable(text) for text in shown] == [_comparable(text) for text in texts(executed(path, tmp_path))]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_names_no_machine(path: Path) -> None:
    text = path.read_text()
    assert len(text) < 200_000
    assert "/home/" not in text
    assert "/tmp/" not in text
    assert '"execution_count": null' not in text


def _comparable(text: str) -> str:
    """Without digits, and without how a search ended, which the last digits may decide."""
    return re.sub(r"status [a-z-]+", "status", without_digits(text))
