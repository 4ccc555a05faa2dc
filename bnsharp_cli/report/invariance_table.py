"""The table of measures on copies that compute the same, for a terminal of 80 columns."""

from __future__ import annotations

from rich.table import Table

from bnsharp_cli.measurement.invariance.invariance_row import Invariance
from bnsharp_cli.measurement.invariance.invariance_table import InvarianceTable
from bnsharp_cli.report.terminal import SpellingConsole

_STYLES = {Invariance.SAME: "bold green", Invariance.ANYTHING: "bold red", Invariance.MOVES: "red"}


def print_table(out: SpellingConsole, table: InvarianceTable) -> None:
    """Print what was rescaled, a row for each measure, and the verdict on each in a sentence."""
    for line in table.lines:
        out.say(line)
    out.print()
    headings, *rows = table.cells
    grid = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for heading in headings:
        grid.add_column(heading, justify="left" if heading in {"measure", "verdict"} else "right", no_wrap=True)
    for cells, row in zip(rows, table.rows, strict=True):
        *others, verdict = cells
        grid.add_row(*others, out.text(verdict, _STYLES.get(row.verdict, "")))
    out.print(grid)
    out.print()
    for row in table.rows:
        out.say(row.marked_sentence)
    for note in table.notes:
        out.say(note)
