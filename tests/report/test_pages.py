"""A report as text: what it says of each document, and that it says nothing else."""

from __future__ import annotations

import json
import re
from collections import Counter
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.report.pages.assembly import page_of
from bnsharp_cli.report.pages.inline_svg import inline
from bnsharp_cli.report.pages.page import PageTable, ReportPage
from bnsharp_cli.report.pages.rendering import render_page
from bnsharp_cli.report.pages.reported import file_titles
from bnsharp_cli.report.pages.verdicts import verdicts_of
from bnsharp_cli.report.stored_results import read_documents
from bnsharp_cli.workflows.reporting import LARGEST_PAGE, reported_document
from tests.report.reported import (
    FAILURE,
    HOSTILE,
    Document,
    audited,
    checked,
    compared,
    copies,
    every_document,
    measured,
    printed,
    rescaled,
    with_name,
)


def page(*documents: Document) -> ReportPage:
    return page_of([reported_document(one, "kept.json") for one in documents])


def verdict(*documents: Document) -> str:
    first = verdicts_of([reported_document(one, "kept.json") for one in documents])[0]
    return f"{first.word}: {first.subject} {first.sentence}"


def table(of: ReportPage, beginning: str) -> list[dict[str, str]]:
    """The rows of the first table whose caption begins so, by their headings."""
    every = (block for section in of.sections for block in section.blocks if isinstance(block, PageTable))
    found = next(block for block in every if block.caption.startswith(beginning))
    titles = [column.title for column in found.columns]
    return [dict(zip(titles, (cell.text for cell in row), strict=True)) for row in found.rows]


class Elements(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_same_documents_make_the_same_page() -> None:
    first, again = (render_page(page(*every_document())) for _ in range(2))
    assert first == again
    assert len(first.encode()) < LARGEST_PAGE


def test_a_page_names_nothing_that_could_be_loaded_and_each_part_once() -> None:
    elements = Elements(render_page(page(*every_document()))).found
    assert {tag for tag, _ in elements} & {"img", "image", "link", "iframe", "object", "base", "form"} == set()
    assert [name for _, attributes in elements for name in attributes if name == "style" or name.startswith("on")] == []
    links = [
        one for _, attributes in elements for name in ("href", "src", "xlink:href") if (one := attributes.get(name))
    ]
    assert links
    assert all(link.startswith("#") for link in links)
    names = Counter(attributes["id"] for _, attributes in elements if "id" in attributes)
    assert [name for name, count in names.items() if count > 1] == []
    references = {link[1:] for link in links}
    references |= {one for _, own in elements for one in (own.get("aria-labelledby") or "").split()}
    assert references <= {*names}


def test_every_picture_has_words_and_every_table_a_caption() -> None:
    html = render_page(page(*every_document()))
    elements = Elements(html).found
    pictures = [own for tag, own in elements if tag == "svg"]
    assert all(own.get("role") == "img" or own.get("aria-hidden") == "true" for own in pictures)
    assert sum(own.get("role") == "img" for own in pictures) == html.count("<desc ") == html.count("<figcaption>") > 2
    assert html.count("<table>") == html.count("<caption ") > 5
    assert all("scope" in own for tag, own in elements if tag == "th")


def test_a_picture_keeps_its_words_and_loses_its_styles() -> None:
    figure = Figure(figsize=(2, 2))
    axes = figure.add_subplot()
    axes.plot([1, 2], [3, 4], color="#0072b2", ls=":")
    axes.set_title("<b>& words", parse_math=False)
    svg = inline(figure, "own", "<title>", "a & b")
    assert not re.search(r"style=|<style|metadata|font-family|xlink|xmlns", svg)
    assert "&lt;b&gt;&amp; words" in svg
    assert 'id="own-title">&lt;title&gt;</title>' in svg
    assert 'stroke="#0072b2"' in svg
    assert "stroke-dasharray=" in svg
    assert inline(figure, "own", "<title>", "a & b") == svg
    own = {attributes["id"] for _, attributes in Elements(svg).found if "id" in attributes}
    other = {
        attributes["id"] for _, attributes in Elements(inline(figure, "other", "", "")).found if "id" in attributes
    }
    assert own
    assert not own & other


def test_a_measurement_is_said_with_its_interval_and_its_loss() -> None:
    document = measured()
    bn = document["measures"]["bn"]["profile"][0]
    said = verdict(document)
    assert said.startswith(f"measured: sample:digits-small-batch has BN-Sharpness {bn['value']:.3g}")
    assert f"at δ = {bn['delta']:g}" in said
    assert f"its loss is {document['loss']:.3g}, its accuracy {100 * document['accuracy']:.4g} %." in said
    rows = table(page(document), "Values")
    values = [one["value"] for name in ("bn",) for one in document["measures"][name]["profile"]]
    assert [row["value"] for row in rows][: len(values)] == [f"{value:.4g}" for value in values]
    assert rows[-1]["measure"] == "noise"
    population = bn["population"]
    if population and population["low"] is not None:
        assert rows[0]["95 % interval"] == f"{population['low']:.3g} … {population['high']:.3g}"


def test_what_is_below_its_rounding_is_no_value() -> None:
    document = measured()
    for one in document["measures"]["bn"]["profile"]:
        one["status"], one["value"] = "below-resolution", None
    assert "has no BN-Sharpness above its rounding" in verdict(document)
    assert table(page(document), "Values")[0]["value"] == "–"
    render_page(page(document))


def set_ratios(document: Document, *ratios: tuple[float, float, float, str]) -> Document:
    rows = [row for row in document["comparison"] if row["measure"] == "bn"]
    for row, (ratio, low, high, said) in zip(rows, ratios, strict=True):
        row.update(ratio=ratio, low=low, high=high, verdict=said)
    return document


RATIOS: dict[str, tuple[list[tuple[float, float, float, str]], str]] = {
    "both alike": (
        [(0.5, 0.25, 0.8, "flatter"), (0.2, 0.1, 0.4, "flatter")],
        "sample:digits-large-batch is sharper than sample:digits-small-batch by bn, 2 × (1.25 … 4) at δ = 0.001, and "
        "at 0.01, too.",
    ),
    "one open": (
        [(4.0, 2.0, 8.0, "sharper"), (1.0, 0.5, 2.0, "undecided")],
        "sample:digits-small-batch is sharper than sample:digits-large-batch by bn, 4 × (2 … 8) at δ = 0.001; at δ = "
        "0.01 it cannot be said.",
    ),
    "turned": (
        [(4.0, 2.0, 8.0, "sharper"), (0.2, 0.1, 0.4, "flatter")],
        "Which of sample:digits-small-batch and sample:digits-large-batch is sharper by bn depends on δ: "
        "sample:digits-small-batch at 0.001, sample:digits-large-batch at 0.01.",
    ),
    "both open": (
        [(1.0, 0.5, 2.0, "undecided"), (1.0, 0.5, 2.0, "undecided")],
        "sample:digits-small-batch and sample:digits-large-batch cannot be told apart by bn.",
    ),
}


@pytest.mark.parametrize("case", RATIOS)
def test_a_comparison_is_one_sentence(case: str) -> None:
    ratios, says = RATIOS[case]
    document = set_ratios(json.loads(json.dumps(compared())), *ratios)
    assert verdict(document) == f"compared:  {says}"
    render_page(page(document))


def test_what_failed_comes_first_and_says_why() -> None:
    document = checked()
    loss = next(one for one in document["checks"] if one["outcome"] == "fail")
    said = verdict(measured(), compared(), document)
    assert said.startswith("failed: sample:digits-small-batch fails 1 of ")
    assert loss["sentence"] in said
    assert [row["outcome"] for row in table(page(document), "Checks")] == [one["outcome"] for one in document["checks"]]
    assert verdict(document, FAILURE) == "not measured: broken.pt broken.pt ends early. Copy it again."
    document["checks"] = [one for one in document["checks"] if one["outcome"] == "pass"]
    document["verdict"].update(passed=True, outcome="pass")
    assert verdict(document) == f"passed: sample:digits-small-batch passes all {len(document['checks'])} checks."


def test_copies_that_compute_the_same_have_a_row_for_each_measure() -> None:
    document = rescaled()
    rows = {row["measure"]: row for row in table(page(document), "Does the number")}
    assert rows["weight-norm"]["verdict"] == "anything you like"
    assert rows["loss"]["verdict"] == "same function, same number"
    ratios = {row.pop("measure"): row for row in table(page(document), "The value on each copy")}
    assert {*ratios["loss"].values()} == {"="}
    own = next(row for row in document["invariance"]["rows"] if row["measure"] == "weight-norm")["values"]
    ratio = own["a = 100"]["value"] / own["original"]["value"]
    assert ratios["weight-norm"]["a = 100"] == f"× {ratio:.3g}"
    assert verdict(document).endswith("1 of 2 measures give one number for one function, 1 do not.")
    assert verdict(copies()).endswith(copies()["verdict"]["sentence"])


def test_an_audit_says_what_does_not_hold() -> None:
    assert verdict(audited()) == "failed: sample:digits-small-batch: 1 statement does not hold: rounding"
    rows = table(page(audited()), "Stated errors")
    assert [(row["statement"], row["verdict"], row["stated"]) for row in rows] == [
        ("integral", "holds", "1e-06"),
        ("rounding", "does not hold", "1e-09"),
        ("population", "cannot be said", "–"),
    ]


def test_a_bound_is_said_with_what_it_assumes() -> None:
    document = printed("bound", "sample:digits-small-batch", "--kl", "50")
    document["bound"].update(vacuous=True)
    assert "has no bound worth a number" in verdict(document)
    document["bound"].update(vacuous=False, tighter_value=0.25, error=0.125)
    assert "of at most 0.375 with probability 0.95, if its KL of 50 is right." in verdict(document)
    assert table(page(document), "Theorem 3.3")[-1]["value"] == "0.25"


def test_every_document_of_these_tests_is_one_that_is_read(tmp_path: Path) -> None:
    path = tmp_path / "every.jsonl"
    path.write_text("\n".join(map(json.dumps, every_document())))
    assert read_documents(path) == every_document()


def test_files_of_one_name_are_told_apart() -> None:
    assert file_titles([Path("a/n.pt"), Path("b/n.pt")]) == ["a/n.pt", "b/n.pt"]


@pytest.mark.parametrize("largest", [1e300, 5e-324, -1e300])
def test_numbers_of_a_stranger_do_not_break_a_page(largest: float, tmp_path: Path) -> None:
    documents = [_with_numbers(one, largest) for one in every_document()]
    for number, one in enumerate(documents):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(one))
        with suppress(CheckpointRefusedError):  # a schema or a sum does not allow such a number
            render_page(page(*read_documents(path)))


def _with_numbers(document: Any, number: float) -> Any:
    """A document with another number in place of every one that is no whole one."""
    if isinstance(document, dict):
        return {key: _with_numbers(value, number) for key, value in document.items()}
    if isinstance(document, list):
        return [_with_numbers(one, number) for one in document]
    return number if isinstance(document, float) else document


def test_texts_without_end_do_not_make_a_page_without_end() -> None:
    documents = [with_name(one, HOSTILE * 2000) if "data" in one else one for one in every_document()]
    assert len(render_page(page(*documents)).encode()) < LARGEST_PAGE
