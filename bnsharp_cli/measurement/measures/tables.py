"""Records as tables: text of at most 80 columns, HTML for notebooks, and pandas where it is installed."""

from __future__ import annotations

import html
import importlib
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from bnsharp_cli.errors import BnsharpError

WIDTH = 80
_INSIDE = "\u00a0"
"""Stands for the spaces at which no line is broken."""


def folded(words: Sequence[str], indent: str) -> str:
    """Phrases on lines of at most 80 columns, each phrase kept whole where it fits on a line.

    >>> print(folded(["one phrase,", "the next"], "  "))
    one phrase, the next
    """
    kept = [word.replace(" ", _INSIDE) if len(word) < WIDTH - len(indent) else word for word in words]
    lines = textwrap.fill(" ".join(kept), WIDTH, subsequent_indent=indent, break_on_hyphens=False)
    return lines.replace(_INSIDE, " ")


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells in columns, the first row being the headings.

    >>> print(aligned([["measure", "value"], ["bn", "0.5"]]))
    measure  value
    bn       0.5
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in padded)


def as_html(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as a table for notebooks, the first row being the headings; every cell is escaped.

    >>> as_html([["value"], ["<1>"]])
    '<table><tr><th>value</th></tr><tr><td>&lt;1&gt;</td></tr></table>'
    """
    heading, *others = rows
    lines = [_html_row(heading, "th"), *(_html_row(row, "td") for row in others)]
    return f"<table>{''.join(lines)}</table>"


def _html_row(cells: Sequence[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"


def as_frame(rows: Sequence[Mapping[str, Any]], instead: str = "to_dict()") -> Any:
    """Rows as a ``pandas.DataFrame``.

    Args:
        rows: by column.
        instead: what has the same without pandas, for the error.

    Raises:
        BnsharpError: pandas is not installed.
    """
    try:
        pandas = importlib.import_module("pandas")
    except ImportError as error:
        raise BnsharpError(
            "pandas is not installed.",
            f"Install it with `pip install pandas`, or use {instead}.",
            expected="pandas",
            found="no such package",
        ) from error
    return pandas.DataFrame([*rows])
