"""The paper's numbers beside ours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.ticker import MaxNLocator
from rich.table import Table
from rich.text import Text

from bnsharp_cli.figures import new_axes
from bnsharp_cli.report.plots import save
from bnsharp_cli.report.terminal import SpellingConsole
from bnsharp_cli.training.paper_experiments import PublishedResult

AccuracyCurve = Sequence[float]
"""Test accuracy in percent after each epoch."""


@dataclass(frozen=True)
class MeanAndError:
    """The mean over seeds with its standard error.

    Attributes:
        mean: of the values.
        error: standard error of the mean; None for a single value.

    >>> MeanAndError.of([1.0, 3.0])
    MeanAndError(mean=2.0, error=1.0)
    """

    mean: float
    error: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> MeanAndError:
        """The mean of at least one value, and its standard error."""
        mean = math.fsum(values) / len(values)
        if len(values) < 2:
            return cls(mean, None)
        variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
        return cls(mean, math.sqrt(variance / len(values)))


@dataclass(frozen=True)
class ReproducedResult:
    """A cell of an experiment with the results of its seeds.

    Attributes:
        cell: the training and the paper's number.
        results: one for each seed that is done.
    """

    cell: PublishedResult
    results: Sequence[Mapping[str, Any]]

    @property
    def accuracy(self) -> MeanAndError | None:
        """Test accuracy of the last networks in percent."""
        return MeanAndError.of([100 * result["test_accuracy"] for result in self.results]) if self.results else None

    def measured(self, name: str) -> MeanAndError | None:
        """A measure of the last networks, where it has a value for each."""
        values = [result["measures"][name].get("value") for result in self.results]
        return MeanAndError.of(values) if values and all(value is not None for value in values) else None

    def unresolved(self, name: str) -> bool:
        """Whether a value is below its rounding floor, or a lower bound that was still rising."""
        return any(result["measures"][name].get("status") in _WEAK for result in self.results)

    @property
    def gradients(self) -> int:
        """Gradients of single samples in each run."""
        return self.results[0]["gradients"] * self.results[0]["batch_size"] if self.results else 0


_WEAK = {"below-resolution", "iteration-limit"}


def print_reproduction(out: SpellingConsole, rows: Sequence[ReproducedResult], notes: Sequence[str]) -> None:
    """Print a row for each cell, with mean ± standard error over the seeds and the paper's number, then the notes."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    several = len({row.cell.data for row in rows}) > 1
    for heading in ("", *(["data"] if several else [])):
        table.add_column(heading)
    for heading in ("runs", "test %", "paper", "gradients", "BN-Sharpness", "δ-L∞"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        bn = row.measured("bn")
        mark = "*" if bn and row.unresolved("bn") else ""
        table.add_row(
            Text(row.cell.name),
            *([Text(row.cell.data)] if several else []),
            str(len(row.results)),
            _spread(row.accuracy, 2),
            f"{row.cell.published:.2f}" if math.isfinite(row.cell.published) else "-",
            _short(row.gradients),
            f"{_values(bn)}{mark}",
            _values(row.measured("delta-linf")),
        )
    out.print(table)
    out.print()
    for note in notes:
        out.say(note)


def _spread(spread: MeanAndError | None, digits: int) -> str:
    if spread is None:
        return "-"
    error = "" if spread.error is None else f" ± {spread.error:.{digits}f}"
    return f"{spread.mean:.{digits}f}{error}"


def _values(spread: MeanAndError | None) -> str:
    if spread is None:
        return "-"
    error = "" if spread.error is None else f" ± {spread.error:.1g}"
    return f"{spread.mean:.3g}{error}"


def _short(count: int) -> str:
    """1234567 as 1.23 M."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(count)


def plot_curves(path: Path, curves: Mapping[str, AccuracyCurve], title: str) -> None:
    """Draw the test accuracy of each cell, epoch by epoch.

    Args:
        path: where to write the picture.
        curves: by the names of the cells.
        title: above the picture.
    """
    figure, axes = new_axes(title)
    for name, values in curves.items():
        axes.plot(range(1, len(values) + 1), values, label=name, lw=1.4)
    axes.set(xlabel="epoch", ylabel="test accuracy, %")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=8)
    save(figure, path)
