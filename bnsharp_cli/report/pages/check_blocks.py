"""Checks and audits: what was held against what, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bnsharp_cli.report.pages.page import PageBlock, PageCell, PageColumn, PageTable, Tone
from bnsharp_cli.report.pages.reported import JsonRecord, ReportedNetwork, is_several
from bnsharp_cli.report.pages.value_blocks import MOST_ROWS
from bnsharp_cli.report.pages.wording import interval_cell, number_cell, share_cell

OUTCOME_TONES: dict[str, Tone] = {"pass": "good", "fail": "bad", "inconclusive": "unsure", "skip": ""}
_HOLDS: dict[bool | None, tuple[str, Tone]] = {
    True: ("holds", "good"),
    False: ("does not hold", "bad"),
    None: ("cannot be said", "unsure"),
}
_CHECK_COLUMNS = (
    PageColumn("check"),
    PageColumn("outcome"),
    PageColumn("value", numeric=True),
    PageColumn("interval", numeric=True),
    PageColumn("limit", numeric=True),
    PageColumn("what was found"),
)
_FINDING_COLUMNS = (
    PageColumn("statement"),
    PageColumn("verdict"),
    PageColumn("stated", numeric=True),
    PageColumn("found", numeric=True),
    PageColumn("what was compared"),
)


def check_blocks(networks: Sequence[ReportedNetwork]) -> list[PageBlock]:
    """A table for every network that was checked or audited."""
    return [*_checks(networks), *_findings(networks)]


def _checks(networks: Sequence[ReportedNetwork]) -> Iterator[PageTable]:
    for one in networks:
        if "checks" in one.record:
            of = f" of {one.name}" if is_several(networks) else ""
            rows = [_cells_of_check(check) for check in one.record["checks"]]
            yield PageTable.cut(f"Checks{of}", _CHECK_COLUMNS, rows, MOST_ROWS)


def _cells_of_check(check: JsonRecord) -> list[PageCell]:
    share = check["name"].endswith("accuracy") and (check["kind"] or "").startswith(("max", "min"))
    number = share_cell if share else number_cell
    low, high = check["low"], check["high"]
    interval = (
        PageCell(f"{100 * low:.4g} … {100 * high:.4g} %", float(low))
        if share and low is not None and high is not None
        else interval_cell(low, high)
    )
    return [
        PageCell(check["name"]),
        PageCell(check["outcome"], tone=OUTCOME_TONES[check["outcome"]]),
        number(check["value"]),
        interval,
        number(check["limit"]),
        PageCell(check["sentence"]),
    ]


def _findings(networks: Sequence[ReportedNetwork]) -> Iterator[PageTable]:
    for one in networks:
        if "findings" in one.record:
            of = f" of {one.name}" if is_several(networks) else ""
            rows = [_cells_of_finding(finding) for finding in one.record["findings"]]
            yield PageTable.cut(f"Stated errors{of}, held against evidence", _FINDING_COLUMNS, rows, MOST_ROWS)


def _cells_of_finding(finding: JsonRecord) -> list[PageCell]:
    word, tone = _HOLDS[finding["holds"]]
    numbers = (number_cell(finding[key], 2) for key in ("stated", "found"))
    return [PageCell(finding["name"]), PageCell(word, tone=tone), *numbers, PageCell(finding["sentence"])]
