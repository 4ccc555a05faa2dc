"""A table of one line a row: rich's own takes ten seconds for the tensors of a long file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

_GAP, _ELLIPSIS = "  ", "…"
_LEAST = 12


@dataclass(frozen=True)
class Column:
    """One column of the table.

    Attributes:
        heading: above its cells.
        right: whether they are flush right.
        shrinks: whether they are cut where the terminal is too narrow for all columns.
    """

    heading: str
    right: bool = False
    shrinks: bool = False


def print_table(out: Console, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print a table without lines, its headings bold.

    Args:
        out: where it is printed; its width is kept as far as the columns that shrink allow.
        columns: from the left.
        rows: a printable text for each column.
    """
    headings = tuple(column.heading for column in columns)
    natural = [max(map(cell_len, cells)) for cells in zip(headings, *rows, strict=True)]
    widths = _fitted(columns, natural, out.width - len(_GAP) * (len(columns) - 1))
    out.print(Text(_line(columns, widths, headings), "bold"), no_wrap=True, overflow="ignore", crop=False)
    if rows:
        out.out("\n".join(_line(columns, widths, row) for row in rows), highlight=False)


def _fitted(columns: Sequence[Column], natural: Sequence[int], room: int) -> list[int]:
    """The widths of columns, those that shrink made smaller from the left until all have room."""
    widths = list(natural)
    for number, column in enumerate(columns):
        excess = sum(widths) - room
        if column.shrinks and excess > 0:
            widths[number] = min(widths[number], max(widths[number] - excess, _LEAST))
    return widths


def _line(columns: Sequence[Column], widths: Sequence[int], cells: Sequence[str]) -> str:
    fitted = (_cell(column, width, cell) for column, width, cell in zip(columns, widths, cells, strict=True))
    return _GAP.join(fitted).rstrip()


def _cell(column: Column, width: int, cell: str) -> str:
    taken = cell_len(cell)
    if taken > width:
        return set_cell_size(cell, width - 1) + _ELLIPSIS
    return " " * (width - taken) + cell if column.right else cell + " " * (width - taken)
