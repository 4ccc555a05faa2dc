"""Tables of one line a row."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence

import pytest
from rich.cells import cell_len
from rich.console import Console

from bnsharp_cli.report.quick_table import Column, print_table

COLUMNS = (Column("module", shrinks=True), Column("shape"), Column("numbers", right=True))


def printed(rows: Sequence[tuple[str, ...]], width: int = 80, **options: bool) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False, **options)  # type: ignore[arg-type]
    print_table(console, COLUMNS, rows)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_cells_are_aligned_by_what_they_take_on_a_terminal() -> None:
    assert printed([("conv", "6×1", "54"), ("畳み込み", "10", "1,000"), ("[red]x", "", "7")]) == [
        "module    shape  numbers",
        "conv      6×1         54",
        "畳み込み  10       1,000",
        "[red]x                 7",
    ]


@pytest.mark.parametrize("width", [36, 40, 57])
@pytest.mark.parametrize("name", ["a" * 100, "畳" * 50, "a" + "畳" * 50])
def test_long_names_are_cut_and_no_number_is(width: int, name: str) -> None:
    heading, line = printed([(name, "64 × 64 × 3", "36,864")], width)
    assert cell_len(heading) <= cell_len(line) == width
    assert line.split("…")[1].split() == ["64", "×", "64", "×", "3", "36,864"]


def test_numbers_are_whole_even_where_there_is_no_room() -> None:
    assert printed([("a" * 20, "64 × 64", "36,864")], width=5)[1] == "a" * 11 + "…  64 × 64   36,864"


def test_no_rows_are_a_heading() -> None:
    assert printed([]) == ["module  shape  numbers"]


def test_headings_are_bold_on_a_terminal() -> None:
    heading, line = printed([("a", "1", "1")], force_terminal=True)
    assert heading.startswith("\x1b[1mmodule")
    assert line == "a       1            1"


def test_the_tensors_of_a_long_file_are_printed_at_once() -> None:
    rows = [(f"│  └─ weight{number}", "64 × 64 × 3 × 3", "36,864") for number in range(30_000)]
    began = time.process_time()
    assert len(printed(rows)) == 1 + len(rows)
    assert time.process_time() - began < 2  # rich's own table took 9
