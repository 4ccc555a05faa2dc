"""What a repository shows to people and programs: how to cite it, how to ask, how to behave."""

from __future__ import annotations

import re

import pytest
import yaml

import bnsharp_cli
from tests.documents import ROOT

TEMPLATES = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
FORMS = [path for path in TEMPLATES if path.name != "config.yml"]
CITED = {"title", "authors", "type"}
"""What version 1.2.0 of the Citation File Format asks of a reference."""
FIELDS = {"textarea", "input", "dropdown", "checkboxes", "markdown"}
"""What GitHub knows in a form."""


def test_the_citation_has_what_its_format_asks_for() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= {*cited}
    assert cited["version"] == bnsharp_cli.__version__
    assert cited["license"] in (ROOT / "pyproject.toml").read_text()
    assert {*cited["preferred-citation"]} >= CITED
    for author in [*cited["authors"], *cited["preferred-citation"]["authors"]]:
        assert {*author} in ({"name"}, {"family-names", "given-names"})


def test_the_page_for_papers_cites_the_same() -> None:
    paper = yaml.safe_load((ROOT / "CITATION.cff").read_text())["preferred-citation"]
    shown = dict(re.findall(r"^  (\w+) += \{(.*)\},?$", (ROOT / "docs" / "paper.md").read_text(), re.MULTILINE))
    assert shown["doi"] == paper["doi"]
    assert int(shown["year"]) == paper["year"]
    assert shown["pages"] == f"{paper['start']}--{paper['end']}"
    assert shown["title"].replace("{", "").replace("}", "") == paper["title"]
    names = [f"{author['family-names']}, {author['given-names']}" for author in paper["authors"]]
    assert shown["author"].split(" and ") == names


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_is_one_that_github_shows(path) -> None:
    form = yaml.safe_load(path.read_text())
    assert {"name", "description", "body"} <= {*form}
    assert {field["type"] for field in form["body"]} <= FIELDS
    ids = [field["id"] for field in form["body"]]
    assert len(ids) == len({*ids})
    assert all(re.fullmatch(r"[\w-]+", one) for one in ids)
    assert all(field["attributes"]["label"] for field in form["body"])


def test_there_are_forms_and_the_rest_is_allowed() -> None:
    assert len(FORMS) >= 3
    assert yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/config.yml").read_text()) == {"blank_issues_enabled": True}
