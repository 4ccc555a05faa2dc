"""A comparison as tables: for a terminal, for Markdown, for a spreadsheet and for a paper."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence

from rich.table import Table

from bnsharp_cli.errors import shown
from bnsharp_cli.measurement.comparison.comparison import NetworkComparison, figure
from bnsharp_cli.report.table_text import latex_table, markdown_row
from bnsharp_cli.report.terminal import SpellingConsole

COLUMNS = ("measure", "delta", "first", "second", "ratio", "verdict")
"""What a table can be sorted by."""

Row = tuple[str, ...]
_KEYS: dict[str, Callable[[NetworkComparison], tuple[float, str]]] = {
    "measure": lambda one: (0.0, one.measure),
    "delta": lambda one: (one.delta or 0.0, one.measure),
    "first": lambda one: (one.values[0], one.measure),
    "second": lambda one: (one.values[1], one.measure),
    "ratio": lambda one: (math.inf if one.ratio is None else one.ratio, one.measure),
    "verdict": lambda one: (0.0, one.verdict),
}


def sorted_by(comparisons: Sequence[NetworkComparison], column: str | None) -> list[NetworkComparison]:
    """The comparisons in ascending order of a column, or as they are."""
    return sorted(comparisons, key=_KEYS[column]) if column else [*comparisons]


def pairs_of(comparisons: Sequence[NetworkComparison]) -> list[tuple[str, str]]:
    """The pairs of networks, in their order."""
    return [*dict.fromkeys(one.networks for one in comparisons)]


def print_comparisons(out: SpellingConsole, comparisons: Sequence[NetworkComparison]) -> None:
    """Print a table for every pair of networks."""
    for pair in pairs_of(comparisons):
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading, justify in zip(_headings(pair), ("left", "left", "right", "right", "left"), strict=True):
            table.add_column(heading, justify="right" if justify == "right" else "left", no_wrap=heading != "verdict")
        for one in comparisons:
            if one.networks == pair:
                table.add_row(*_cells(one))
        out.print(table)
        out.print()


def as_markdown(comparisons: Sequence[NetworkComparison]) -> str:
    """A table of Markdown for every pair of networks."""
    tables = []
    for pair in pairs_of(comparisons):
        rows = [_headings(pair), ("---",) * 2 + ("---:",) * 2 + ("---",), *_rows(comparisons, pair)]
        tables.append("".join(map(markdown_row, rows)))
    return "\n".join(tables)


def as_csv(comparisons: Sequence[NetworkComparison]) -> str:
    """One line for each comparison, numbers in full."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = ("measure", "delta", "first", "second", "first_value", "second_value", "ratio", "difference", "low", "high")
    writer.writerow([*names, "verdict"])
    for one in comparisons:
        numbers = (*one.values, one.ratio, one.difference, one.by.low, one.by.high)
        writer.writerow([one.measure, one.delta, *one.networks, *numbers, one.verdict])
    return stream.getvalue()


def as_latex(comparisons: Sequence[NetworkComparison]) -> str:
    """A ``tabular`` for every pair of networks, for a document in UTF-8."""
    tables = (latex_table("llrrl", _headings(pair), [*_rows(comparisons, pair)]) for pair in pairs_of(comparisons))
    return "\n".join(tables)


FORMATS: dict[str, Callable[[Sequence[NetworkComparison]], str]] = {
    "markdown": as_markdown,
    "csv": as_csv,
    "latex": as_latex,
}
"""Tables as text, by the name of the form."""


def _headings(pair: tuple[str, str]) -> Row:
    return ("measure", "δ", *pair, "verdict")


def _rows(comparisons: Sequence[NetworkComparison], pair: tuple[str, str]) -> Iterator[Row]:
    yield from (_cells(one) for one in comparisons if one.networks == pair)


def _cells(one: NetworkComparison) -> Row:
    delta = "" if one.delta is None else f"{one.delta:g}"
    return (shown(one.measure), delta, *(figure(one.measure, value, 4) for value in one.values), one.sentence)
