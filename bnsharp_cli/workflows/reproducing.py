"""Repeats an experiment of the paper and shows its numbers beside ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnsharp_cli.errors import UsageError
from bnsharp_cli.io.checkpoints.run_files import RunFiles
from bnsharp_cli.io.files.atomic_writing import make_folder
from bnsharp_cli.report.reproduction import ReproducedResult, plot_curves
from bnsharp_cli.training.paper_experiments import BUDGETS, PublishedResult, cells
from bnsharp_cli.workflows.device import computing_on
from bnsharp_cli.workflows.experiment import Experiment, ExperimentConditions
from bnsharp_cli.workflows.experiment_results import read_accuracies
from bnsharp_cli.workflows.options import Computing
from bnsharp_cli.workflows.reporter import SILENT, Reporter
from bnsharp_cli.workflows.training_options import ReproductionOptions


@dataclass(frozen=True)
class Reproduction:
    """An experiment with all its results.

    Attributes:
        experiment: ``figure-1``, ``table-1`` or ``table-2``.
        budget: which part of it was done.
        rows: one for each cell.
        results: file of all results.
        picture: file of the test accuracies epoch by epoch.
    """

    experiment: str
    budget: str
    rows: Sequence[ReproducedResult]
    results: Path
    picture: Path

    def document(self) -> dict[str, Any]:
        """Plain containers, in the JSON schema ``bnsharp/1``."""
        return {
            "schema": "bnsharp/1",
            "command": "reproduce",
            "experiment": self.experiment,
            "budget": self.budget,
            "results": [result for row in self.rows for result in row.results],
        }

    def notes(self) -> list[str]:
        """What the numbers are and what they are not, a line each."""
        first = self.rows[0].cell
        notes = ["Test accuracy of the last network, mean ± standard error over the runs."]
        if self.budget != "full":
            notes.append(
                f"Not the paper's experiment: {first.arch} on {first.data}, {first.options.epochs} epochs of its 200, "
                f"batches of {first.options.batch_size}."
            )
        if any(row.unresolved("bn") for row in self.rows):
            notes.append("* below its rounding floor, or a lower bound that was still rising.")
        return notes


def wanted_cells(experiment: str, options: ReproductionOptions) -> list[PublishedResult]:
    """The cells of an experiment that are run.

    Raises:
        UsageError: an unknown experiment, budget or cell.
    """
    every = cells(experiment, options.budget)
    names = list(dict.fromkeys(cell.name for cell in every))
    for name in options.only:
        if name not in names:
            raise UsageError.of("only", f"one of {', '.join(names)}", name, "Name one.")
    return [cell for cell in every if not options.only or cell.name in options.only]


def reproduce_experiment(
    experiment: str,
    options: ReproductionOptions,
    *,
    computing: Computing | None = None,
    reporter: Reporter = SILENT,
) -> Reproduction:
    """Do what is left of an experiment; what is done is kept in the folder.

    Args:
        experiment: a name in :data:`~bnsharp_cli.training.paper_experiments.EXPERIMENTS`.
        options: how, and where to.
        computing: where to compute.
        reporter: told what it costs and how far it is.

    Raises:
        BnsharpError: what cannot be opened or trained, with its remedy.
    """
    wanted = wanted_cells(experiment, options)
    picture = options.output / f"{experiment}.png"
    make_folder(options.output)
    with computing_on((computing or Computing()).device) as device:
        conditions = ExperimentConditions(
            options.output,
            {"cifar10": options.cifar10, "cifar100": options.cifar100},
            options.data_root,
            options.download,
            device,
            BUDGETS[options.budget].samples,
            options.measured_samples,
        )
        runs = Experiment(wanted, options.seeds, conditions, reporter)
        runs.require_writable(picture)
        for _ in runs.execute():
            pass
    rows = [
        ReproducedResult(cell, [runs.done[cell.name, cell.data, seed] for seed in range(runs.seeds)])
        for cell in runs.cells
    ]
    plot_curves(picture, _curves(runs, rows), f"{experiment}, budget {options.budget}: test accuracy")
    return Reproduction(experiment, options.budget, rows, runs.results.path, picture)


def _curves(runs: Experiment, rows: Sequence[ReproducedResult]) -> dict[str, list[float]]:
    several = len({row.cell.data for row in rows}) > 1
    return {f"{row.cell.name} {row.cell.data}" if several else row.cell.name: _curve(runs, row) for row in rows}


def _curve(runs: Experiment, row: ReproducedResult) -> list[float]:
    """Mean test accuracy over the seeds, in percent, epoch by epoch."""
    epochs = row.cell.options.epochs
    every = [read_accuracies(RunFiles(runs.path(row.cell, result["seed"])).metrics, epochs) for result in row.results]
    return [100 * sum(same) / len(same) for same in zip(*every, strict=True)]
