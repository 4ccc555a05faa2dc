"""How a comparison is shown; nothing heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.option_records import OptionRecord, option


@dataclass(frozen=True)
class TableOptions(OptionRecord):
    """The form of the tables on stdout.

    Attributes:
        table: for a terminal, or as text for another program.
        sort: the column that rows are sorted by; None for the order of the measures.
        along: whether the networks are stages of one training, a row each, instead of rivals.
    """

    table: Literal["terminal", "markdown", "csv", "latex"] = option(
        "terminal", "Tables for a terminal, or as markdown, csv or latex.", expected="terminal, markdown, csv or latex"
    )
    sort: Literal["measure", "delta", "first", "second", "ratio", "verdict"] | None = option(
        None, "Column that rows are sorted by.", expected="one of measure, delta, first, second, ratio, verdict"
    )
    along: bool = option(False, "One row for each checkpoint, in the order of the numbers in their names.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.along and self.sort is not None:
            raise UsageError(
                f"{named('along')} sorts rows by the numbers in names, {named('sort')} by a column.",
                "Leave one out.",
                argument="sort",
                expected="one order",
                found=self.sort,
            )
