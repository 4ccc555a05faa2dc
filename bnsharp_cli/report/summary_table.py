"""All networks of one command in one table: a row for each network, a column for each measure."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from bnsharp_cli.errors import shown
from bnsharp_cli.io.checkpoints.samples import checkpoint_title
from bnsharp_cli.io.files.printable_text import shown_path
from bnsharp_cli.io.files.sample_folders import sample_title
from bnsharp_cli.measurement.measures.measurement import Status
from bnsharp_cli.measurement.measures.seed_spread import SeedSpread, deviation_of, mean_of
from bnsharp_cli.measurement.measures.selection import column_name
from bnsharp_cli.report.status_marks import STATUS_MARKS, meanings_of_marks
from bnsharp_cli.report.table_text import latex_table, markdown_row
from bnsharp_cli.report.terminal import SpellingConsole

_WIDEST_NAME = 32
_GAP = 2
_NOTHING = "–"
_FIGURES: Mapping[str, tuple[str, str, str]] = {
    "loss": ("", "loss", ""),
    "accuracy": ("", "accuracy", ""),
    "test-loss": ("test", "loss", "loss_error"),
    "test-accuracy": ("test", "accuracy", "accuracy_error"),
    "gap": ("test", "gap", "gap_error"),
}
"""Figures of a network: the part of a document that they are in, their entry there and that of their standard error."""

MeasuredColumn = tuple[str, float | None]
"""A measure, and its radius if it has one."""


@dataclass(frozen=True)
class SummaryCell:
    """A value of one network.

    Attributes:
        value: the number; the mean, where it was measured with several seeds.
        error: its largest error; with several seeds the standard deviation of one seed's value.
        status: how it came about; the worst one of several.
        share: whether it is a share, which is shown in percent.
    """

    value: float
    error: float | None = None
    status: Status = Status.COMPUTED
    share: bool = False

    @property
    def texts(self) -> tuple[str, str]:
        """The value and its error, which a table aligns at the sign between."""
        if self.share:
            return f"{self.value:.2%}", "" if self.error is None else f" ± {self.error:.2%}"
        mark = STATUS_MARKS.get(self.status, "")
        return f"{mark}{self.value:.4g}", "" if self.error is None else f" ± {self.error:.1g}"


@dataclass(frozen=True)
class SummaryRow:
    """One network of the table.

    Attributes:
        path: of its checkpoint.
        cells: the loss, the accuracy and the like as far as they are known, then the measures.
    """

    path: Path
    cells: Mapping[MeasuredColumn, SummaryCell]

    @classmethod
    def of(cls, documents: Sequence[Mapping[str, Any]], spreads: Sequence[SeedSpread]) -> SummaryRow:
        """A network by its documents, one for each seed, and what was measured over them."""
        cells: dict[MeasuredColumn, SummaryCell] = {(name, None): cell for name, cell in _figures(documents)}
        cells |= {(one.name, one.delta): _cell(one) for one in spreads}
        return cls(Path(documents[0]["checkpoint"]["path"]), cells)

    def key(self, column: str) -> tuple[bool, float, str]:
        """The order by a column; what has no value there comes last."""
        meant = (cell for each, cell in self.cells.items() if column in (each[0], column_name(*each, several=True)))
        cell = next(meant, None)
        missing = column != "network" and (cell is None or math.isnan(cell.value))
        return missing, 0.0 if cell is None or missing else cell.value, str(self.path)


def _figures(documents: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, SummaryCell]]:
    """What is known of the network on its data and on test data."""
    for name, (place, entry, of_error) in _FIGURES.items():
        parts = [document if not place else document.get(place) for document in documents]
        known = [part for part in parts if part is not None and part[entry] is not None]
        if len(known) == len(parts):
            values: list[float] = [part[entry] for part in known]
            error = deviation_of(values) if len(values) > 1 else known[0].get(of_error)
            yield name, SummaryCell(mean_of(values), error, share="accuracy" in name)


def _cell(spread: SeedSpread) -> SummaryCell:
    if len(spread.measured) > 1:
        return SummaryCell(spread.mean, spread.deviation, spread.status)
    error = spread.largest_error
    return SummaryCell(spread.values[0], None if error is None else error[1], spread.status)


def sorted_rows(rows: Sequence[SummaryRow], column: str | None) -> list[SummaryRow]:
    """The rows in ascending order of a column, or as they are."""
    return [*rows] if column is None else sorted(rows, key=lambda row: row.key(column))


def print_summary(out: SpellingConsole, rows: Sequence[SummaryRow], lost: Sequence[Path], seeds: int) -> None:
    """Print the table, in several parts where it is wider than the terminal; then what its signs mean.

    Args:
        out: where it is printed.
        rows: the networks.
        lost: checkpoints that could not be measured.
        seeds: with how many each was measured.
    """
    if rows:
        names, columns = _names(rows), _text_columns(rows)
        for part in _parts(columns, out.width - min(_WIDEST_NAME, max(map(len, ["network", *names])))):
            table = Table(box=None, pad_edge=False, header_style="bold")
            table.add_column("network", overflow="fold", max_width=_WIDEST_NAME)
            for heading, _ in part:
                table.add_column(heading, justify="right", no_wrap=True)
            for number, name in enumerate(names):
                table.add_row(name, *(cells[number] for _, cells in part))
            out.print(table)
            out.print()
    if lost:
        out.say(f"not measured: {', '.join(shown_path(path) for path in lost)}")
    for sentence in _legend(rows, seeds):
        out.say(sentence)


def _legend(rows: Sequence[SummaryRow], seeds: int) -> list[str]:
    cells = [cell for row in rows for cell in row.cells.values()]
    said = []
    if any(cell.error is not None for cell in cells):
        over = f"mean ± standard deviation of one seed's value, over {seeds} seeds"
        said.append(over if seeds > 1 else "±: the largest error of each value")
    return [*said, *meanings_of_marks(cell.status for cell in cells)]


def _parts(columns: Sequence[tuple[str, Sequence[str]]], room: int) -> list[list[tuple[str, Sequence[str]]]]:
    """The columns in parts that fit beside the names, each as full as it can be."""
    parts: list[list[tuple[str, Sequence[str]]]] = [[]]
    left = room
    for heading, cells in columns:
        width = _GAP + max(map(len, [heading, *cells]))
        if width > left and parts[-1]:
            parts.append([])
            left = room
        parts[-1].append((heading, cells))
        left -= width
    return parts


def _text_columns(rows: Sequence[SummaryRow]) -> list[tuple[str, list[str]]]:
    """Each column as text, values and errors aligned."""
    found = []
    for column in _columns(rows):
        cells = [row.cells.get(column) for row in rows]
        texts = [(_NOTHING, "") if cell is None else cell.texts for cell in cells]
        room = max(len(error) for _, error in texts)
        found.append((column_name(*column, _several(rows)), [value + error.ljust(room) for value, error in texts]))
    return found


def _columns(rows: Sequence[SummaryRow]) -> list[MeasuredColumn]:
    """The measures that any network has, in their order."""
    return [*dict.fromkeys(column for row in rows for column in row.cells)]


def _several(rows: Sequence[SummaryRow]) -> bool:
    return len({delta for _, delta in _columns(rows) if delta is not None}) > 1


def _names(rows: Sequence[SummaryRow]) -> list[str]:
    """The names of the checkpoints, with as much of their folders as tells them apart."""
    titles = [checkpoint_title(row.path) for row in rows]
    if len({*titles}) == len({row.path for row in rows}):
        return [shown(title) for title in titles]
    shared = 0
    parts = [row.path.parts for row in rows]
    while all(len(each) > shared + 1 and each[shared] == parts[0][shared] for each in parts):
        shared += 1
    return [shown(str(Path(*each[shared:]))) for each in parts]


def _plain(rows: Sequence[SummaryRow]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of text without alignment."""
    columns = [("network", _names(rows)), *_text_columns(rows)]
    cells = [[" ".join(each[number].split()) for _, each in columns] for number in range(len(rows))]
    return [heading for heading, _ in columns], cells


def summary_markdown(rows: Sequence[SummaryRow]) -> str:
    """A table of Markdown."""
    headings, cells = _plain(rows)
    ruler = ["---", *("---:" for _ in headings[1:])]
    return "".join(map(markdown_row, [headings, ruler, *cells]))


def summary_latex(rows: Sequence[SummaryRow]) -> str:
    """A ``tabular``, for a document in UTF-8."""
    headings, cells = _plain(rows)
    return latex_table("l" + "r" * (len(headings) - 1), headings, cells)


def summary_csv(rows: Sequence[SummaryRow]) -> str:
    """One line for each network, numbers in full: of each measure its value, its error and its status."""
    stream, several = io.StringIO(), _several(rows)
    entries: dict[str, list[Any]] = {"network": [sample_title(row.path) or shown_path(row.path) for row in rows]}
    for column in _columns(rows):
        cells, name = [row.cells.get(column) for row in rows], column_name(*column, several)
        entries[name] = [None if cell is None else cell.value for cell in cells]
        errors = [None if cell is None else cell.error for cell in cells]
        if any(error is not None for error in errors):
            entries[f"{name}_error"] = errors
        if name not in _FIGURES:
            entries[f"{name}_status"] = [None if cell is None else cell.status.value for cell in cells]
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows([[*entries], *zip(*entries.values(), strict=True)])
    return stream.getvalue()


SUMMARY_FORMATS: Mapping[str, Callable[[Sequence[SummaryRow]], str]] = {
    "markdown": summary_markdown,
    "csv": summary_csv,
    "latex": summary_latex,
}
"""The table as text, by the name of the form."""
