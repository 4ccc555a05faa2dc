"""Every command and program of the documents is run, in the order of its page, or says why it is not."""

from __future__ import annotations

import shutil
from pathlib import Path
from unittest import mock

import pytest

from bnsharp_cli.measurement.measures.registry import MEASURES
from tests.documents import ROOT, Document
from tests.page_files import given_names, template
from tests.pages import Reader, blocks, outputs, pages, without_digits

PAGES = pages()

LONG = pytest.mark.slow(
    reason="pages with many or long commands; those that a reader meets first are always run",
    quick="tests/test_pages.py::test_a_page_runs_and_prints_what_it_shows",
)
_LONG_PAGES = {f"docs/{name}.md" for name in ("paper", "figures", "python", "audit", "report", "checkpoints", "data")}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return template(tmp_path_factory.mktemp("pages") / "template")


@pytest.fixture
def reader(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    folder = tmp_path / "reader"
    shutil.copytree(files, folder)
    return Reader(folder, given_names())


def test_there_are_pages_to_run() -> None:
    assert {"README.md", "docs/start.md", "docs/faq.md", "docs/ci.md"} <= {page.name for page in PAGES}
    run = [block for page in PAGES for block in blocks(page) if block.kind in {"", "exits"}]
    assert len(run) > 40


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=LONG) if page.name in _LONG_PAGES else page for page in PAGES],
    ids=lambda page: page.name,
)
def test_a_page_runs_and_prints_what_it_shows(page: Document, reader: Reader) -> None:
    """Up to digits, which belong to the machine."""
    with mock.patch.dict(MEASURES), mock.patch.dict("sys.modules"):
        for shown, printed in outputs(page, reader).items():
            before, after = ([without_digits(line) for line in text.splitlines()] for text in (shown, printed))
            assert before == after, "python -m tests.pages writes it anew"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_not_run_here_says_why(page: Document) -> None:
    for block in blocks(page):
        if block.kind == "run by":
            test = ROOT / block.word
            assert Path(page.name).name in test.read_text(), f"{block.word} says nothing of {page.name}"
        elif block.kind == "not run":
            assert len(block.word.split()) > 3, f"{block.word!r} is no reason"
        elif block.kind == "example":
            assert page.name == "docs/contributing.md"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```sh\nbnsharp measure gone.pt\n```", "exit|3"),
        ("```sh\ncurl somewhere\n```", "nobody runs curl"),
        ("```python\nassert False, 'the program'\n```", "the program"),
        ("```console\n$ bnsharp --version\nbnsharp of yesterday\n```", "writes it anew"),
    ],
)
def test_a_block_that_does_not_hold_is_found(text: str, message: str, reader: Reader, tmp_path: Path) -> None:
    path = ROOT / "docs" / "gone.md"
    page = mock.Mock(spec=Document, text=text, path=path)
    page.name = "docs/gone.md"
    with pytest.raises(AssertionError, match=message):
        test_a_page_runs_and_prints_what_it_shows(page, reader)
