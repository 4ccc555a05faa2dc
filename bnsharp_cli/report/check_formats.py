"""What checks found, for other programs: Markdown, JUnit's XML, and the workflow commands of GitHub.

Names of files and of what lies in them come from strangers. In each format they stay text: they make no markup, end no
line, and give no command to the program that reads them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from xml.etree import ElementTree

from bnsharp_cli.errors import counted, shown
from bnsharp_cli.io.files.sample_folders import SAMPLE_PREFIX

PASS, FAIL, INCONCLUSIVE, SKIP, ERROR = "pass", "fail", "inconclusive", "skip", "error"
"""How a check ends; an error is what kept a checkpoint from being checked."""

_HEADINGS = ("outcome", "check", "what was found")
_MARKUP = re.compile(r"[\\`*_\[\]<>|~&#@]|(?<=[a-z]):(?=//)|(?<=www)\.", re.IGNORECASE)
_PROPERTY = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A", ":": "%3A", ",": "%2C"})
_DATA = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})


class ReportedCheck(NamedTuple):
    """One check and how it ended.

    Attributes:
        name: of the check.
        outcome: one of the words above.
        sentence: why, as the command prints it.
    """

    name: str
    outcome: str
    sentence: str


@dataclass(frozen=True)
class CheckReport:
    """The checks of one checkpoint.

    Attributes:
        checkpoint: as the command line names it.
        checks: in their order; one error where it could not be checked.
        verdict: one line on all of them.
        seconds: how long they took.
        inconclusive_fails: whether the gate stays shut for what is inconclusive.
    """

    checkpoint: str
    checks: Sequence[ReportedCheck]
    verdict: str
    seconds: float
    inconclusive_fails: bool = False

    @property
    def place(self) -> dict[str, str]:
        """The file that a program may point at; none for a sample."""
        return {} if self.checkpoint.startswith(SAMPLE_PREFIX) else {"file": self.checkpoint}

    def fails(self, check: ReportedCheck) -> bool:
        """Whether a check keeps the gate shut."""
        return check.outcome in {FAIL, ERROR} or (check.outcome == INCONCLUSIVE and self.inconclusive_fails)


def as_markdown(reports: Sequence[CheckReport]) -> str:
    r"""A heading and a table for each checkpoint.

    >>> print(as_markdown([CheckReport("a|b.pt", [ReportedCheck("bn", "pass", "0.2")], "PASSED", 1.0)]), end="")
    ### bnsharp check: a\|b.pt
    <BLANKLINE>
    **PASSED**
    <BLANKLINE>
    | outcome | check | what was found |
    | --- | --- | --- |
    | pass | bn | 0.2 |
    """
    return "\n".join("".join(f"{line}\n" for line in _section(report)) for report in reports)


def _section(report: CheckReport) -> Iterator[str]:
    yield f"### bnsharp check: {_plain(report.checkpoint)}"
    yield ""
    yield f"**{_plain(report.verdict)}**"
    yield ""
    yield _row(_HEADINGS)
    yield _row(["---"] * len(_HEADINGS))
    for check in report.checks:
        outcome = check.outcome if check.outcome in {PASS, SKIP} else f"**{check.outcome}**"
        yield _row([outcome, _plain(check.name), _plain(check.sentence)])


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """A text that Markdown shows as it is, also inside a table, and makes no link of."""
    return _MARKUP.sub(lambda found: f"\\{found[0]}", shown(text))


def as_junit(reports: Sequence[CheckReport]) -> str:
    """A test suite for each checkpoint and a test case for each check, in ASCII.

    What is inconclusive is a skipped test, unless it keeps the gate shut.
    """
    every = _element("testsuites", name="bnsharp check", **_counts(reports))
    for report in reports:
        suite = _element("testsuite", name=report.checkpoint, **_counts([report]))
        suite.extend(_case(report, check) for check in report.checks)
        every.append(suite)
    ElementTree.indent(every)
    body = ElementTree.tostring(every, encoding="us-ascii", xml_declaration=False).decode()
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _counts(reports: Sequence[CheckReport]) -> dict[str, str]:
    every = [(report, check) for report in reports for check in report.checks]
    errors = sum(check.outcome == ERROR for _, check in every)
    failures = sum(report.fails(check) for report, check in every) - errors
    skipped = sum(check.outcome in {SKIP, INCONCLUSIVE} and not report.fails(check) for report, check in every)
    numbers = {"tests": len(every), "failures": failures, "errors": errors, "skipped": skipped}
    seconds = sum(report.seconds for report in reports)
    return {**{name: str(number) for name, number in numbers.items()}, "time": f"{seconds:.3f}"}


def _case(report: CheckReport, check: ReportedCheck) -> ElementTree.Element:
    case = _element("testcase", classname=report.checkpoint, name=check.name, **report.place)
    sentence = shown(check.sentence)
    if check.outcome == PASS:
        ElementTree.SubElement(case, "system-out").text = sentence
        return case
    kind = "error" if check.outcome == ERROR else "failure" if report.fails(check) else "skipped"
    found = ElementTree.SubElement(case, kind, message=sentence, type=check.outcome)
    found.text = f"{check.outcome}: {sentence}"
    return case


def _element(tag: str, **attributes: str) -> ElementTree.Element:
    return ElementTree.Element(tag, {name: shown(value) for name, value in attributes.items()})


def as_github(reports: Sequence[CheckReport]) -> str:
    """A workflow command for each check that did not pass, what keeps the gate shut first, and one for each verdict.

    >>> print(as_github([CheckReport("a.pt", [ReportedCheck("bn", "fail", "5 %, 3 allowed")], "FAILED", 1.0)]))
    ::error file=a.pt,title=bnsharp a.pt%3A bn::5 %25, 3 allowed
    ::notice title=bnsharp a.pt::FAILED
    """
    every = [(report, check) for report in reports for check in report.checks if check.outcome not in {PASS, SKIP}]
    every.sort(key=lambda one: not one[0].fails(one[1]))  # a step shows the first ten
    lines = [
        _command(
            "error" if report.fails(check) else "warning",
            {**report.place, "title": f"bnsharp {report.checkpoint}: {check.name}"},
            check.sentence,
        )
        for report, check in every
    ]
    lines += [_command("notice", {"title": f"bnsharp {report.checkpoint}"}, report.verdict) for report in reports]
    return "\n".join(lines)


def _command(name: str, properties: dict[str, str], message: str) -> str:
    stated = ",".join(f"{key}={shown(value).translate(_PROPERTY)}" for key, value in properties.items())
    return f"::{name} {stated}::{shown(message).translate(_DATA)}"


def fitting(reports: Sequence[CheckReport], most: int) -> str:
    """The Markdown of as many reports as fit in ``most`` bytes, with the number of those left out."""
    kept, size = list[str](), 0
    for report in reports:
        section = as_markdown([report])
        size += len(section.encode()) + 1
        if size > most:
            kept.append(f"{counted(len(reports) - len(kept), 'checkpoint')} left out.\n")
            break
        kept.append(section)
    return "\n".join(kept)


FORMATS_OF_CHECKS: dict[str, Callable[[Sequence[CheckReport]], str]] = {"markdown": as_markdown, "junit": as_junit}
"""Formats that hold all reports together."""
