"""``bnsharp report``: results and checkpoints as one page."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from bnsharp_cli.report.stored_results import read_documents
from bnsharp_cli.workflows.reported_files import MOST_DOCUMENTS
from tests.cli.helpers import bnsharp, one_error
from tests.report.reported import FAILURE, HOSTILE, SHOWN, Document, checked, compared, measured, with_name

FAST = ("--samples", "64", "--batch-size", "32", "--quiet")
SMALL, LARGE = "sample:digits-small-batch", "sample:digits-large-batch"


def kept(folder: Path, document: Document, name: str = "kept.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(document))
    return path


def test_results_make_a_page_without_a_pass(tmp_path: Path) -> None:
    kept(tmp_path, measured())
    finished = bnsharp("report", "kept.json", "--output", "page.html", folder=tmp_path)
    html = (tmp_path / "page.html").read_text()
    said = " ".join(finished.stdout.split())
    assert said.startswith(f"measured: {SMALL} has BN-Sharpness ")
    assert said.endswith(f"wrote page.html, {len(html.encode()) / 1000:,.0f} kB")
    assert finished.stderr == ""
    first = html
    bnsharp("report", "kept.json", "--output", "page.html", folder=tmp_path)
    assert (tmp_path / "page.html").read_text() == first


def test_checkpoints_are_measured_and_compared(tmp_path: Path) -> None:
    arguments = ("report", SMALL, LARGE, *FAST, "--results", "kept", "--output", "page.html")
    finished = bnsharp(*arguments, "--figures", "none", folder=tmp_path)
    assert finished.stdout.startswith("compared: ")
    html = (tmp_path / "page.html").read_text()
    assert "Side by side" in html
    assert "The loss around it" not in html
    documents = [read_documents(path)[0] for path in (tmp_path / "kept").iterdir()]
    assert {f"{one['measures']['bn']['value']:.4g}" in html for one in documents} == {True}
    bnsharp("report", "kept", "--output", "folder.html", folder=tmp_path)
    assert "Side by side" in (tmp_path / "folder.html").read_text()


def test_the_loss_around_a_checkpoint_is_drawn_and_what_it_took_is_said(tmp_path: Path) -> None:
    finished = bnsharp("report", SMALL, *FAST, "--output", "page.html", folder=tmp_path)
    html = (tmp_path / "page.html").read_text()
    assert ">Loss along lines through sample:digits-small-batch</title>" in html
    assert ">Loss in a plane through sample:digits-small-batch</title>" in html
    took = [Fraction(passes) for passes in re.findall(r"It took (\d+)F \+ \d+B\.</figcaption>", html)]
    assert len(took) == 2
    assert Fraction(re.findall(r"([\d.]+)F \+ [\d.]+B in ", finished.stdout)[0]) > sum(took)


def test_what_was_not_measured_alike_is_not_compared_and_that_is_said(tmp_path: Path) -> None:
    other = measured("digits-large-batch")
    other["data"]["seed"] = 1
    kept(tmp_path, measured(), "a.json")
    kept(tmp_path, other, "b.json")
    bnsharp("report", "a.json", "b.json", "--output", "page.html", folder=tmp_path)
    html = (tmp_path / "page.html").read_text()
    assert "Side by side" not in html
    assert "The networks are not compared: " in html
    assert "--seed" in html


def test_what_fails_does_not_lose_the_others(tmp_path: Path) -> None:
    (tmp_path / "broken.pt").write_bytes(b"PK\x03\x04")
    arguments = ("report", "broken.pt", SMALL, *FAST, "--figures", "none", "--output", "page.html")
    finished = bnsharp(*arguments, folder=tmp_path, expect=3)
    assert finished.stderr.startswith("bnsharp: broken.pt")
    assert finished.stdout.startswith("not measured: broken.pt")
    html = (tmp_path / "page.html").read_text()
    assert "What could not be measured" in html
    assert f"{SMALL}</bdi> has BN-Sharpness" in html
    one_error(bnsharp("report", "broken.pt", *FAST, "--output", "other.html", folder=tmp_path, expect=3))
    assert not (tmp_path / "other.html").exists()


def test_a_file_of_several_lines_is_shown_with_what_failed_in_it(tmp_path: Path) -> None:
    lines = (json.dumps(one) for one in (measured(), FAILURE, checked()))
    (tmp_path / "several.json").write_text("\n".join(lines))
    finished = bnsharp("report", "several.json", "--output", "page.html", folder=tmp_path)
    assert finished.stdout.startswith("not measured: broken.pt")
    assert "fails 1 of" in (tmp_path / "page.html").read_text()


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no document": (lambda path: path.write_text('{"schema": "bnsharp/1", '), "holds no JSON document"),
    "deep": (lambda path: path.write_text('{"schema": "bnsharp/1", "a": ' + "[" * 100_000), "holds no JSON document"),
    "a number without end": (
        lambda path: path.write_text('{"schema": "bnsharp/1", "a": 1' + "0" * 99 + "}"),
        "too large",
    ),
    "another command": (
        lambda path: path.write_text('{"schema": "bnsharp/1", "command": "<b>\\u202e"}'),
        "found a result of <b>\\u202e",
    ),
    "another type": (
        lambda path: path.write_text(json.dumps({**measured(), "measures": "none"})),
        "measures: expected type",
    ),
    "too large": (lambda path: _giant(path), "a file of results"),
}


def _giant(path: Path) -> None:
    with path.open("wb") as stream:
        stream.write(b'{"schema": "bnsharp/1"')
        stream.truncate(2**26 + 1)


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_result_is_refused_in_one_line_before_anything_is_measured(case: str, tmp_path: Path) -> None:
    write, says = REFUSED[case]
    write(tmp_path / "bad.json")
    line = one_error(bnsharp("report", SMALL, "bad.json", "--output", "page.html", folder=tmp_path, expect=3))
    assert says in line
    assert line.isprintable()
    assert not (tmp_path / "page.html").exists()


def test_names_of_a_stranger_stay_text(tmp_path: Path, sample_path: Path) -> None:
    name = HOSTILE.replace("/", "")
    shutil.copy(sample_path, tmp_path / f"{name}.pt")
    kept(tmp_path, with_name(compared(), HOSTILE))
    arguments = ("kept.json", f"{name}.pt", *FAST, "--figures", "all", "--output", "page.html")
    finished = bnsharp("report", *arguments, folder=tmp_path)
    assert not {*"\u202e\x1b"} & {*finished.stdout, *finished.stderr, *(tmp_path / "page.html").read_text()}
    html = (tmp_path / "page.html").read_text()
    assert "<script>hacked" not in html
    assert "<img" not in html
    escaped = SHOWN.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&#34;")
    assert escaped in html


def test_too_many_results_are_refused(tmp_path: Path) -> None:
    (tmp_path / "many.json").write_text("\n".join([json.dumps(FAILURE)] * (MOST_DOCUMENTS + 1)))
    line = one_error(bnsharp("report", "many.json", "--output", "page.html", folder=tmp_path, expect=2))
    assert line == "bnsharp: A report shows at most 60 results and checkpoints, and there are 61."


def test_texts_that_make_a_page_too_large_are_refused(tmp_path: Path) -> None:
    document = checked()
    document["checks"] = [{**document["checks"][0], "name": "x" * 5000, "sentence": "<" * 5000}] * 120
    lines = [json.dumps(document | {"key": f"{number:064x}"}) for number in range(4)]
    (tmp_path / "kept.json").write_text("\n".join(lines))
    line = one_error(bnsharp("report", "kept.json", "--output", "page.html", folder=tmp_path, expect=2))
    assert line.startswith("bnsharp: The page would have ")
    assert line.endswith(" MB, and at most 1 MB are written.")


def test_another_ending_is_refused(tmp_path: Path) -> None:
    line = one_error(bnsharp("report", "net.pt", "--output", "net.pt", folder=tmp_path, expect=2))
    assert line == "bnsharp: --output: expected a file ending in .html, found 'net.pt'."
