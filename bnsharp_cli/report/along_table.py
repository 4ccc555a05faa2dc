"""The stages of a training as tables, a row each: for a terminal, for Markdown, for a spreadsheet and for a paper."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from rich.table import Table

from bnsharp_cli.errors import shown
from bnsharp_cli.measurement.comparison.comparison import COMPARED_FIRST, figure
from bnsharp_cli.measurement.comparison.value_interval import ValueInterval
from bnsharp_cli.report.table_text import latex_table, markdown_row
from bnsharp_cli.report.terminal import SpellingConsole

Stage = tuple[str, Sequence[ValueInterval]]
"""The name of a checkpoint, and its values."""

_DIGITS = 3
_ROOM = 80
_APART = 2


def print_stages(out: SpellingConsole, stages: Sequence[Stage]) -> None:
    """Print a row for each stage; columns that do not fit beside each other stand in another table below."""
    headings, rows = _cells(stages)
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    for group in _groups(widths):
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column(headings[0], overflow="fold")
        for place in group:
            table.add_column(headings[place], justify="right", no_wrap=True)
        for row in rows:
            table.add_row(row[0], *(row[place] for place in group))
        out.print(table)
        out.print()


def stages_as_csv(stages: Sequence[Stage]) -> str:
    """One line for each value, numbers in full."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("checkpoint", "measure", "delta", "value", "low", "high"))
    for name, values in stages:
        writer.writerows((shown(name), one.measure, one.delta, one.value, one.low, one.high) for one in values)
    return stream.getvalue()


def stages_as_markdown(stages: Sequence[Stage]) -> str:
    """A table of Markdown."""
    headings, rows = _cells(stages)
    marks = ["---", *["---:"] * (len(headings) - 1)]
    return "".join(map(markdown_row, (headings, marks, *rows)))


def stages_as_latex(stages: Sequence[Stage]) -> str:
    """A ``tabular``, for a document in UTF-8."""
    headings, rows = _cells(stages)
    return latex_table("l" + "r" * (len(headings) - 1), headings, rows)


STAGE_FORMATS = {"markdown": stages_as_markdown, "csv": stages_as_csv, "latex": stages_as_latex}
"""Tables of stages as text, by the name of the form."""


def common_values(stages: Sequence[Stage]) -> list[tuple[str, float | None]]:
    """The measures and radii that every stage has, in the order of the first."""
    each = [{(one.measure, one.delta) for one in values} for _, values in stages]
    return [(one.measure, one.delta) for one in stages[0][1] if all((one.measure, one.delta) in own for own in each)]


def label_of(measure: str, delta: float | None) -> str:
    """A measure and its radius as a heading."""
    return shown(measure) if delta is None else f"{shown(measure)}, δ = {delta:g}"


def _cells(stages: Sequence[Stage]) -> tuple[list[str], list[list[str]]]:
    """The headings, and a row of cells for each stage."""
    wanted = common_values(stages)
    rows = []
    for name, values in stages:
        by_kind = {(one.measure, one.delta): one for one in values}
        rows.append([shown(name), *(_cell(by_kind[kind]) for kind in wanted)])
    return ["checkpoint", *(label_of(*kind) for kind in wanted)], rows


def _cell(one: ValueInterval) -> str:
    """A value with its interval; that of losses, accuracies and gaps is left to pictures and documents."""
    value = figure(one.measure, one.value, _DIGITS + (one.measure in COMPARED_FIRST))
    if one.measure in COMPARED_FIRST or one.low is None or one.high is None:
        return value
    return f"{value} ({figure(one.measure, one.low, _DIGITS)} … {figure(one.measure, one.high, _DIGITS)})"


def _groups(widths: Sequence[int]) -> list[list[int]]:
    """The columns behind the first that fit beside it, as many as there is room for in each table."""
    groups: list[list[int]] = []
    left = 0
    for place, width in [*enumerate(widths)][1:]:
        if not groups or width + _APART > left:
            groups.append([])
            left = _ROOM - min(widths[0], _ROOM // 3)
        groups[-1].append(place)
        left -= width + _APART
    return groups
