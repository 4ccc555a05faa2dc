"""Copies that compute the same: what every measure says of them, and how far BN-Sharpness moves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from bnsharp_cli.measurement.invariance.invariance_row import ORIGINAL, Invariance, InvarianceRow, ValueOnCopy, factor
from bnsharp_cli.measurement.measures.survival import Rescaling
from bnsharp_cli.report.pages.page import PageBlock, PageCell, PageColumn, PageHeading, PageList, PageTable, Tone
from bnsharp_cli.report.pages.reported import JsonRecord, ReportedNetwork, is_several
from bnsharp_cli.report.pages.value_blocks import MOST_ROWS
from bnsharp_cli.report.pages.wording import NO_NUMBER, number_cell

_MOST_COPIES, _MOST_NETWORKS = 16, 6
_TONES: dict[Invariance, Tone] = {
    Invariance.SAME: "good",
    Invariance.ANYTHING: "bad",
    Invariance.MOVES: "bad",
    Invariance.UNRESOLVED: "unsure",
}
_DARKEST, _DECADES = 6, 3.0
"""The darkest shade, and the powers of ten from which on a ratio has it."""


def copy_blocks(networks: Sequence[ReportedNetwork]) -> list[PageBlock]:
    """Every rescale test: of all measures, and of BN-Sharpness."""
    own = [one for one in networks if "invariance" in one.record or "copies" in one.record]
    blocks: list[PageBlock] = []
    for one in own[:_MOST_NETWORKS]:
        if is_several(own):
            blocks.append(PageHeading(one.name))
        if "invariance" in one.record:
            blocks += _of_all_measures(one.record["invariance"])
        if "copies" in one.record:
            blocks += _of_copies(one.record)
    return blocks


def _of_all_measures(found: JsonRecord) -> Iterator[PageBlock]:
    columns = (
        PageColumn("measure"),
        PageColumn("verdict"),
        PageColumn("value", numeric=True),
        PageColumn("largest / smallest", numeric=True),
        PageColumn("why"),
    )
    rows = [_verdict_cells(row) for row in found["rows"]]
    yield PageTable.cut("Does the number belong to the function?", columns, rows, MOST_ROWS)
    yield _ratios(found)
    yield PageList([*_rescalings(found)])


def _verdict_cells(row: JsonRecord) -> list[PageCell]:
    verdict, ratio = Invariance(row["verdict"]), row.get("ratio")
    tool = f" ({row['tool']})" if row["tool"] else ""
    return [
        PageCell(f"{row['measure']}{tool}"),
        PageCell(verdict.meaning, tone=_TONES.get(verdict, "")),
        number_cell(row.get("value"), 3),
        PageCell(NO_NUMBER) if "value" not in row else _factor_cell(math.inf if ratio is None else ratio),
        PageCell(row["sentence"].removeprefix(f"{row['measure']}{tool}: {verdict.meaning}").removeprefix(", ")),
    ]


def _factor_cell(ratio: float) -> PageCell:
    return PageCell(factor(ratio), float(ratio))


def _ratios(found: JsonRecord) -> PageTable:
    """Every value divided by that of the network itself, the darker the farther from one."""
    names = [one["name"] for one in found["copies"]][:_MOST_COPIES]
    columns = [PageColumn("measure"), *(PageColumn(name, numeric=True) for name in names)]
    rows = [
        [PageCell(row["measure"]), *(_ratio(row, name) for name in names)] for row in found["rows"] if "values" in row
    ]
    notes = (
        "=: the same within its errors; ≈: its errors hide whether it is; ±: another sign, or of nothing something. "
        "The darker, the farther from one.",
    )
    return PageTable.cut("The value on each copy, divided by that of the network", columns, rows, MOST_ROWS, notes)


def _ratio(row: JsonRecord, copy: str) -> PageCell:
    readings = {name: ValueOnCopy(**reading) for name, reading in row["values"].items()}
    if copy not in readings or ORIGINAL not in readings:
        return PageCell(NO_NUMBER)
    ratio = InvarianceRow(row["measure"], readings).times(copy)
    if ratio == 1 or math.isnan(ratio):
        return PageCell("=" if ratio == 1 else "≈", 1.0, shade=0)
    if math.isinf(ratio) or ratio <= 0:
        return PageCell("±", ratio, shade=_DARKEST)
    return PageCell(f"× {ratio:.3g}", ratio, shade=_shade(ratio))


def _shade(ratio: float) -> int:
    """How dark the field of a ratio is.

    >>> _shade(1.001), _shade(2.0), _shade(0.5), _shade(1e9)
    (1, 1, 1, 6)
    """
    return min(_DARKEST, 1 + int(abs(math.log10(ratio)) / _DECADES * _DARKEST))


def _rescalings(found: JsonRecord) -> Iterator[str]:
    for kind in Rescaling:
        own = [one for one in found["copies"] if one["kind"] == kind.value]
        if own:
            drift = max(abs(one["loss_drift"]) for one in own)
            yield f"{kind}, {kind.meaning}: {', '.join(one['name'] for one in own)}; the loss moves by {drift:.0e}."
        elif kind.value in found["missing"]:
            yield f"{kind}, {kind.meaning}: {found['missing'][kind.value]}."


def _of_copies(record: JsonRecord) -> Iterator[PageBlock]:
    measures = [name for name in ("delta-l2", "delta-linf") if all(name in one["measures"] for one in record["copies"])]
    names = ("copy", "change of the loss", *measures, "bn", "deviation of bn", "allowed")
    columns = [PageColumn(name, numeric=place > 0) for place, name in enumerate(names)]
    rows = [
        [
            PageCell(copy["name"]),
            number_cell(copy["loss_drift"], 2),
            *(number_cell(copy["measures"][name]["value"], 3) for name in measures),
            number_cell(copy["measures"]["bn"]["value"] if "bn" in copy["measures"] else None, 9),
            number_cell(copy["deviation"], 2),
            number_cell(copy["tolerance"], 2),
        ]
        for copy in record["copies"]
    ]
    note = "bn is BN-Sharpness; delta-l2 and delta-linf are classical sharpness in a Euclidean ball."
    yield PageTable.cut("Copies of the network that compute the same", columns, rows, MOST_ROWS, (note,))
