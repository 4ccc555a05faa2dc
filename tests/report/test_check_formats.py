"""Checks for other programs, read back by readers that are not ours; hostile names stay text in each."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped
from markdown_it import MarkdownIt
from markdown_it.token import Token

from bnsharp_cli.errors import shown
from bnsharp_cli.report.check_formats import (
    CheckReport,
    ReportedCheck,
    as_github,
    as_junit,
    as_markdown,
    fitting,
)

CHECKS = (
    ReportedCheck("load", "pass", "lenet-bn, 21,612 parameters, all finite"),
    ReportedCheck("bn", "fail", "5.2, 4.9 … 5.6 on the whole split, at most 4.5 allowed"),
    ReportedCheck("noise", "inconclusive", "2.0, 1.8 … 2.3, at most 2.1 allowed: about 6,000 samples would decide"),
    ReportedCheck("invariance", "skip", "not asked for"),
)
REPORT = CheckReport("runs/model.pt", CHECKS, "FAILED: bn; INCONCLUSIVE: noise", 3.25)
BROKEN = CheckReport("b.pt", [ReportedCheck("load", "error", "NaN or infinite")], "ERROR", 0.1)
HOSTILE = (
    "a|b`c`*d*_e_ <img src=x onerror=alert(1)> ~~f~~ [g](https://h) ![i](j) # k",
    "::error::owned",
    "##[add-mask]a",
    "100 %0A::warning::x, title=y:z",
    "line\nend\r\n::error::owned\x1b]0;x\x07\x00\u2028\ud800\ufffe",
    "]]></failure><testcase name='x'/>&amp;&#10;",
    "\\| \\\\| \\",
    "https://evil.example www.evil.example @somebody <https://x> a@b.example",
    "- [ ] x",
    "<!-- ",
    "$(touch owned) `touch owned`",
    "é ü 试 \U0001f600",
    " ",
    "",
)


def flat(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from flat(token.children or [])


def cells(markdown: str) -> tuple[list[str], set[str]]:
    """The text of headings, bold lines and cells; and the kinds of all that is no text."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough").parse(markdown)
    texts = [
        "".join(one.content for one in token.children or [] if one.type in {"text", "text_special"})
        for token in tokens
        if token.type == "inline"
    ]
    return texts, {token.type for token in flat(tokens)}


def test_markdown_is_a_table_for_each_checkpoint() -> None:
    texts, _ = cells(as_markdown([REPORT, BROKEN]))
    titles = [text for text in texts if text.startswith("bnsharp check: ")]
    assert titles == ["bnsharp check: runs/model.pt", "bnsharp check: b.pt"]
    assert texts[1:8] == [REPORT.verdict, "outcome", "check", "what was found", "pass", *CHECKS[0][0:3:2]]
    assert texts.count("inconclusive") == 1


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_text_in_markdown(name: str) -> None:
    report = CheckReport(name, [ReportedCheck(name, "fail", name)], f"FAILED: {name}", 1.0)
    markdown = as_markdown([report])
    texts, kinds = cells(markdown)
    assert kinds <= {
        *("heading_open", "heading_close", "inline", "text", "text_special", "paragraph_open", "paragraph_close"),
        *("strong_open", "strong_close", "table_open", "table_close", "thead_open", "thead_close", "tr_open"),
        *("tr_close", "th_open", "th_close", "tbody_open", "tbody_close", "td_open", "td_close"),
    }
    printable = shown(name)
    assert texts[-2:] == [printable.strip()] * 2
    assert texts[0] == f"bnsharp check: {printable}".strip()
    assert not re.search(r"https?://|www\.|(?<!\\)@", markdown)  # GitHub makes links of these
    assert all(line.isprintable() for line in markdown.split("\n"))


def test_junit_says_what_was_found_in_the_words_of_junit() -> None:
    read = JUnitXml.fromstring(as_junit([REPORT, BROKEN]).encode())
    assert (read.tests, read.failures, read.errors, read.skipped) == (5, 1, 1, 2)
    first, second = read
    assert (first.name, first.tests, first.failures, first.errors, first.skipped) == ("runs/model.pt", 4, 1, 0, 2)
    assert first.time == pytest.approx(3.25)
    kinds = [[type(one) for one in case.result] for case in first]
    assert kinds == [[], [Failure], [Skipped], [Skipped]]
    (failed,) = [case for case in first if case.name == "bn"]
    assert failed.classname == "runs/model.pt"
    assert failed.result[0].message == CHECKS[1].sentence
    assert [type(one) for case in second for one in case.result] == [Error]


def test_what_is_inconclusive_fails_where_the_gate_does() -> None:
    strict = CheckReport(REPORT.checkpoint, CHECKS, "", 1.0, inconclusive_fails=True)
    read = JUnitXml.fromstring(as_junit([strict]).encode())
    assert (read.failures, read.skipped) == (2, 1)
    assert [line.partition(" ")[0] for line in as_github([strict]).splitlines()] == ["::error", "::error", "::notice"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_text_in_junit(name: str) -> None:
    text = as_junit([CheckReport(name, [ReportedCheck(name, "fail", name)], name, 1.0)])
    assert text.isascii()
    ((case,),) = JUnitXml.fromstring(text.encode())
    assert (case.name, case.classname, case.result[0].message) == (shown(name),) * 3
    assert case.result[0].text == f"fail: {shown(name)}"


def runner_reads(line: str) -> tuple[str, dict[str, str], str] | None:
    """A line as GitHub's runner reads it (ActionCommand.TryParseV2)."""
    line = line.strip()
    head, separator, data = line.removeprefix("::").partition("::")
    if not line.startswith("::") or not separator:
        return None
    name, _, stated = head.partition(" ")
    pairs = (one.partition("=")[::2] for one in stated.split(",") if one)
    return name, {key: unescaped(value, ":,") for key, value in pairs}, unescaped(data)


def unescaped(text: str, further: str = "") -> str:
    for character in f"\r\n{further}%":
        text = text.replace(f"%{ord(character):02X}", character)
    return text


def test_github_gets_an_annotation_for_each_check_that_did_not_pass() -> None:
    read = [runner_reads(line) for line in as_github([REPORT, BROKEN]).splitlines()]
    assert read == [
        ("error", {"file": "runs/model.pt", "title": "bnsharp runs/model.pt: bn"}, CHECKS[1].sentence),
        ("error", {"file": "b.pt", "title": "bnsharp b.pt: load"}, "NaN or infinite"),
        ("warning", {"file": "runs/model.pt", "title": "bnsharp runs/model.pt: noise"}, CHECKS[2].sentence),
        ("notice", {"title": "bnsharp runs/model.pt"}, REPORT.verdict),
        ("notice", {"title": "bnsharp b.pt"}, "ERROR"),
    ]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_text_for_github(name: str) -> None:
    lines = as_github([CheckReport(name, [ReportedCheck(name, "fail", name)], name, 1.0)]).split("\n")
    printable = shown(name)
    title = f"bnsharp {printable}"
    assert [runner_reads(line) for line in lines] == [
        ("error", {"file": printable, "title": f"{title}: {printable}"}, printable.rstrip()),
        ("notice", {"title": title}, printable.rstrip()),
    ]


def test_a_summary_has_as_many_reports_as_fit() -> None:
    whole = as_markdown([REPORT] * 3)
    assert fitting([REPORT] * 3, len(whole.encode()) + 10) == whole
    part = fitting([REPORT] * 3, len(whole.encode()) - 10)
    assert part.endswith("1 checkpoint left out.\n")
    assert part.count("### ") == 2
