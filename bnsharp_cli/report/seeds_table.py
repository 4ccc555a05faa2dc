"""What several seeds say of one network: a row for each measure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from bnsharp_cli.measurement.measures.seed_spread import SeedSpread, deviation_of, mean_of
from bnsharp_cli.report.status_marks import STATUS_MARKS, meanings_of_marks
from bnsharp_cli.report.terminal import SpellingConsole, joined_subjects, meaning


def print_spreads(
    out: SpellingConsole, documents: Sequence[Mapping[str, Any]], spreads: Sequence[SeedSpread], legend: bool
) -> None:
    """Print the mean and the spread of the loss, the accuracy and each measure over the seeds.

    Args:
        out: where it is printed.
        documents: one for each seed.
        spreads: of each measure at each radius.
        legend: whether what the measures are is said.
    """
    rows = [*_figures(documents, {spread.name for spread in spreads}), *map(_cells, spreads)]
    heading, *subjects = joined_subjects([row[:2] for row in rows])
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(heading, no_wrap=True)
    for name in ("mean", "over seeds", "lowest … highest", "± error"):
        table.add_column(name, justify="right", no_wrap=True)
    for subject, row in zip(subjects, rows, strict=True):
        table.add_row(subject, *row[2:])
    out.print(table)
    out.print()
    if legend:
        for name in dict.fromkeys(spread.measured[0].name for spread in spreads):
            out.say(f"{name}: {meaning(name)}")
    seeds = [document["data"]["seed"] for document in documents]
    out.say(
        f"over seeds: standard deviation of one seed's value, seeds {seeds[0]} to {seeds[-1]}; ± error: the largest "
        "error of one seed's value"
    )
    for line in meanings_of_marks(spread.status for spread in spreads):
        out.say(line)
    for spread in spreads:
        if len(spread.measured) < len(seeds):
            out.say(f"{spread.name}: has no value for {len(seeds) - len(spread.measured)} of {len(seeds)} seeds")


def _figures(documents: Sequence[Mapping[str, Any]], measured: set[str]) -> Iterator[list[str]]:
    """The loss and the accuracy, as far as they are known and are none of the measures."""
    for name in ("loss", "accuracy"):
        values = [document[name] for document in documents]
        if None not in values and name not in measured:
            yield [name, "", *_numbers(mean_of(values), deviation_of(values), min(values), max(values)), "–"]


def _cells(spread: SeedSpread) -> list[str]:
    error = spread.largest_error
    return [
        spread.measured[0].name,
        "" if spread.delta is None else f"{spread.delta:g}",
        *_numbers(spread.mean, spread.deviation, spread.lowest, spread.highest, STATUS_MARKS.get(spread.status, "")),
        "–" if error is None else f"{error[1]:.1e}",
    ]


def _numbers(mean: float, deviation: float | None, lowest: float, highest: float, mark: str = "") -> list[str]:
    spread = "–" if deviation is None else f"± {deviation:.1e}"
    return [f"{mark}{mean:.6g}", spread, f"{lowest:.4g} … {highest:.4g}"]
