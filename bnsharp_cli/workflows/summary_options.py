"""How several measurements are put side by side; nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.measurement.measures.selection import Selection, column_name
from bnsharp_cli.option_records import OptionRecord, option, same_option
from bnsharp_cli.workflows.table_options import TableOptions

_FIGURES = ("network", "loss", "accuracy")
_TEST_FIGURES = ("test-loss", "test-accuracy", "gap")
_MOST_SEEDS = 1000


@dataclass(frozen=True)
class SummaryOptions(OptionRecord):
    """The table of all networks that ends ``measure`` of several.

    Attributes:
        table: for a terminal, after the results of each; or as text for another program, alone.
        sort: the column that the networks are sorted by, in ascending order; None for the order in which they came.
    """

    table: Literal["terminal", "markdown", "csv", "latex"] = same_option(TableOptions, "table")
    sort: str | None = option(
        None,
        "Column that the table of all networks is sorted by: network, loss, accuracy, test-loss, test-accuracy, "
        "gap, or a measure, at one of several radii as in bn@0.01.",
        metavar="COLUMN",
        complete=lambda _: (*_FIGURES, *_TEST_FIGURES),
    )

    def require_column(self, selection: Selection, on_test_data: bool) -> None:
        """Refuse to sort by what the table will not have, before anything is measured.

        Args:
            selection: the measures and radii.
            on_test_data: whether there are test data.

        Raises:
            UsageError: with the columns that it will have.
        """
        columns = [*_FIGURES, *(_TEST_FIGURES if on_test_data else ()), *_measures(selection)]
        if self.sort is not None and self.sort not in columns:
            some = ", ".join(columns)
            raise UsageError.of("sort", f"one of {some}", self.sort, f"Name one of them, or add {named('measure')}.")


@dataclass(frozen=True)
class SeedOptions(OptionRecord):
    """Repetitions with other seeds.

    Attributes:
        seeds: how many seeds are used, from ``seed`` on.
    """

    seeds: int = option(
        1,
        f"Measure with so many seeds, from {named('seed')} on: other samples, starts and random points each time.",
        minimum=1,
        maximum=_MOST_SEEDS,
    )

    def all_from(self, seed: int) -> Sequence[int]:
        """The seeds of all repetitions."""
        return range(seed, seed + self.seeds)


def _measures(selection: Selection) -> list[str]:
    """The columns that measures may have; each measure also by its name alone, for its first radius."""
    several = len(selection.delta) > 1
    at_radii = (column_name(name, delta, several) for name in selection.names for delta in selection.delta)
    return [*dict.fromkeys([*selection.names, *at_radii])]
