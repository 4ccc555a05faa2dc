"""Checks and audits: what was held against what, and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

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
    return [
        *_tables(networks, "checks", "Checks{}", _CHECK_COLUMNS, _cells_of_check),
        *_tables(networks, "findings", "Stated errors{}, held against evidence", _FINDING_COLUMNS, _cells_of_finding),
    ]


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


def _cells_of_finding(finding: JsonRecord) -> list[PageCell]:
    word, tone = _HOLDS[finding["holds"]]
    numbers = (number_cell(finding[key], 2) for key in ("stated", "found"))
    return [PageCell(finding["name"]), PageCell(word, tone=tone), *numbers, PageCell(finding["sentence"])]


def _tables(
    networks: Sequence[ReportedNetwork],
    entry: str,
    title: str,
    columns: Sequence[PageColumn],
    cells: Callable[[JsonRecord], list[PageCell]],
) -> Iterator[PageTable]:
    """A table for each network whose record has this entry; in the title {} stands for the network."""
    for one in networks:
        if entry in one.record:
            of = f" of {one.name}" if is_several(networks) else ""
            rows = [cells(record) for record in one.record[entry]]
            yield PageTable.cut(title.replace("{}", of), columns, rows, MOST_ROWS)
