"""Numbers and intervals as the tables of a page show them."""

from __future__ import annotations

import math

from bnsharp_cli.report.pages.page import PageCell

NO_NUMBER = "–"


def number_cell(value: float | None, digits: int = 4) -> PageCell:
    """A number with some significant digits.

    >>> number_cell(0.0123456).text, number_cell(None).text, number_cell(1e300).text
    ('0.01235', '–', '1e+300')
    """
    if value is None or not math.isfinite(value):
        return PageCell(NO_NUMBER)
    return PageCell(f"{value:.{digits}g}", float(value))


def count_cell(value: int | None) -> PageCell:
    """A whole number.

    >>> count_cell(21612).text
    '21,612'
    """
    return PageCell(NO_NUMBER) if value is None else PageCell(f"{value:,}", float(value))


def share_cell(value: float | None) -> PageCell:
    """A share in percent.

    >>> share_cell(0.9944).text
    '99.44 %'
    """
    if value is None or not math.isfinite(value):
        return PageCell(NO_NUMBER)
    return PageCell(f"{100 * value:.4g} %", float(value))


def interval_cell(low: float | None, high: float | None) -> PageCell:
    """An interval, sorted by its lower end.

    >>> interval_cell(0.009, 0.017).text
    '0.009 … 0.017'
    """
    if low is None or high is None:
        return PageCell(NO_NUMBER)
    return PageCell(f"{low:.3g} … {high:.3g}", float(low))


def radius_cell(delta: float | None) -> PageCell:
    """A radius δ as a cell."""
    return PageCell(NO_NUMBER) if delta is None else PageCell(f"{delta:g}", float(delta))
