"""Checks as lines on a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from rich.table import Table

from bnsharp_cli.measurement.decision.outcome import Outcome
from bnsharp_cli.report.terminal import SpellingConsole

_STYLES = {
    Outcome.PASS: "green",
    Outcome.FAIL: "bold red",
    Outcome.INCONCLUSIVE: "bold yellow",
    Outcome.SKIP: "yellow",
}


class ShownCheck(Protocol):
    """What is shown of a check."""

    @property
    def name(self) -> str:
        """What the check is called."""

    @property
    def outcome(self) -> Outcome:
        """How the check ended."""

    @property
    def sentence(self) -> str:
        """Why it ended so; arguments are marked."""


def print_checks(out: SpellingConsole, checks: Iterable[ShownCheck]) -> None:
    """Print a row for each check: how it ended, its name, and why."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for check in checks:
        word = out.text(check.outcome.value.upper(), _STYLES[check.outcome])
        table.add_row(word, out.text(check.name), out.text(check.sentence))
    out.print(table)


def print_outcome(out: SpellingConsole, verdict: str, outcome: Outcome) -> None:
    """Print the last line of all, in the colour of its meaning."""
    out.print(out.text(verdict, "bold green" if outcome is Outcome.PASS else _STYLES[outcome]))
