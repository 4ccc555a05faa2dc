"""Networks side by side: a table of verdicts and a picture of ratios for every pair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bnsharp_cli.measurement.comparison.comparison import figure
from bnsharp_cli.report.pages.inline_svg import inline
from bnsharp_cli.report.pages.page import (
    PageBlock,
    PageCell,
    PageColumn,
    PageFigure,
    PageHeading,
    PageList,
    PageTable,
    Tone,
)
from bnsharp_cli.report.pages.page_figures import RatioRow, draw_ratios_of
from bnsharp_cli.report.pages.reported import JsonRecord, ReportedDocument, titles_of_networks
from bnsharp_cli.report.pages.value_blocks import MOST_ROWS
from bnsharp_cli.report.pages.wording import NO_NUMBER, interval_cell, number_cell, radius_cell, share_cell

_MOST_PAIRS, _MOST_RATIOS = 8, 24
_TONES: dict[str, Tone] = {"undecided": "unsure"}


def comparison_blocks(documents: Sequence[ReportedDocument]) -> list[PageBlock]:
    """The tables and pictures of every comparison."""
    own = [one for one in documents if one.command == "compare"]
    return [block for number, one in enumerate(own, 1) for block in _of_document(one, number)]


def compared_rows(document: JsonRecord) -> Sequence[JsonRecord]:
    """What was compared, over the seeds where there are several."""
    rows: Sequence[JsonRecord] = document.get("over_seeds") or document["comparison"]
    return rows


def _of_document(one: ReportedDocument, number: int) -> Iterator[PageBlock]:
    rows, titles = compared_rows(one.document), titles_of_networks(one.document)
    yield PageList([f"{name} is {title}" for name, title in titles.items()])
    pairs = list(dict.fromkeys(tuple(row["networks"]) for row in rows))
    for place, (first, second) in enumerate(pairs[:_MOST_PAIRS], 1):
        if len(pairs) > 1:
            yield PageHeading(f"{first} beside {second}")
        of_pair = [row for row in rows if [*row["networks"]] == [first, second]]
        yield _table((first, second), of_pair)
        yield from _picture((first, second), of_pair, f"ratios-{number}-{place}")
    if len(pairs) > _MOST_PAIRS:
        yield PageList([f"{len(pairs) - _MOST_PAIRS} more pairs are in the JSON document."])
    if one.document["notes"]:
        yield PageList([*one.document["notes"]][:MOST_ROWS])


def _table(pair: tuple[str, str], rows: Sequence[JsonRecord]) -> PageTable:
    names = ("measure", "δ", *pair, "ratio or difference", "95 % interval", "verdict")
    columns = [PageColumn(name, numeric=0 < place < len(names) - 1) for place, name in enumerate(names)]
    notes = (
        f"Ratio: {pair[0]} over {pair[1]}, on the whole split or on fresh data as far as that is estimated; of "
        "accuracies and gaps, which may be zero, the difference.",
    )
    return PageTable.cut(f"{pair[0]} and {pair[1]}", columns, [_cells(row) for row in rows], MOST_ROWS, notes)


def _cells(row: JsonRecord) -> list[PageCell]:
    values = [
        PageCell(NO_NUMBER) if value is None else PageCell(figure(row["measure"], value, 4), float(value))
        for value in row["values"]
    ]
    by_difference = row.get("ratio") is None
    middle = row.get("difference") if by_difference else row["ratio"]
    in_percent = by_difference and "accuracy" in row["measure"]
    return [
        PageCell(row["measure"]),
        radius_cell(row["delta"]),
        *values,
        share_cell(middle) if in_percent else number_cell(middle, 3),
        _ends(row, in_percent),
        PageCell(row["sentence"], tone=_TONES.get(row.get("verdict", ""), "")),
    ]


def _ends(row: JsonRecord, in_percent: bool) -> PageCell:
    low, high = (row.get("low"), row.get("high")) if "low" in row else (row.get("lowest"), row.get("highest"))
    if in_percent and low is not None and high is not None:
        return PageCell(f"{100 * low:.3g} … {100 * high:.3g} %", float(low))
    return interval_cell(low, high)


def _picture(pair: tuple[str, str], rows: Sequence[JsonRecord], name: str) -> Iterator[PageFigure]:
    known = [
        RatioRow(row["measure"] + ("" if row["delta"] is None else f", δ = {row['delta']:g}"), row["ratio"], low, high)
        for row in rows
        for low, high in [(row.get("low"), row.get("high"))]
        if row.get("ratio") and low and high and low > 0
    ][:_MOST_RATIOS]
    if known:
        title = f"Ratios of {pair[0]} to {pair[1]}"
        said = "; ".join(f"{one.label}: {one.ratio:.3g} ({one.low:.3g} … {one.high:.3g})" for one in known)
        caption = f"{title} with their 95 % intervals. An interval that holds 1, the dashed line, decides nothing."
        yield PageFigure(inline(draw_ratios_of(known, pair), name, title, said), title, said, caption)
