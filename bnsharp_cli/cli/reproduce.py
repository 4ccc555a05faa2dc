"""``bnsharp reproduce``: the paper's figure 1 and tables 1 and 2, its numbers beside ours."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnsharp_cli.cli import arguments, results
from bnsharp_cli.errors import UsageError
from bnsharp_cli.workflows import torchrun as processes
from bnsharp_cli.workflows.progress import Display, duration

if TYPE_CHECKING:
    from bnsharp_cli.report.reproduction import Row
    from bnsharp_cli.training.paper_experiments import Cell
    from bnsharp_cli.workflows.experiment import Experiment

EXAMPLE = "Example: bnsharp reproduce figure-1 --budget smoke --output figure-1"


def reproduce(
    experiment: Annotated[str, typer.Argument(help="figure-1, table-1 or table-2.", show_default=False)],
    output: Annotated[Path, typer.Option(help="Folder of the networks, the results and the picture.")],
    budget: Annotated[
        str,
        typer.Option(help="smoke (embedded digits, two minutes), cpu (5,000 images, 20 epochs) or full (the paper's)."),
    ] = "smoke",
    seeds: Annotated[int, typer.Option(help="Runs of each cell.", min=1)] = 1,
    cifar10: Annotated[str, typer.Option(metavar="DATA", help="Where CIFAR-10 is, as in --data of train.")] = "cifar10",
    cifar100: Annotated[str, typer.Option(metavar="DATA", help="Where CIFAR-100 is.")] = "cifar100",
    only: Annotated[
        list[str] | None, typer.Option(metavar="CELL", help="Run this cell alone, such as SGDS-0; repeatable.")
    ] = None,
    measured_samples: Annotated[int, typer.Option(help="Samples that final networks are measured on.", min=2)] = 2048,
    data_root: arguments.DataRoot = None,
    download: arguments.Download = False,
    device: arguments.Device = "auto",
    as_json: arguments.Json = False,
    quiet: arguments.Quiet = False,
) -> None:
    """Train the cells of an experiment of the paper and print its numbers beside ours.

    What is done is kept in the folder: the same command goes on where it was interrupted, and more --seeds add runs.
    """
    from bnsharp_cli.training.paper_experiments import BUDGETS, cells
    from bnsharp_cli.workflows.device import chosen_device
    from bnsharp_cli.workflows.experiment import Experiment, Place

    processes.require_alone("reproduce")
    wanted = _chosen(cells(experiment, budget), only)
    results.require_writable(None, folder=output)
    output.mkdir(parents=True, exist_ok=True)
    data = {"cifar10": cifar10, "cifar100": cifar100}
    place = Place(output, data, data_root, download, chosen_device(device), BUDGETS[budget].samples, measured_samples)
    runs = Experiment(wanted, seeds, place)
    _execute(runs, quiet)
    _deliver(runs, experiment, budget, as_json)


def _chosen(cells: list[Cell], only: list[str] | None) -> list[Cell]:
    names = [cell.name for cell in cells]
    for name in only or ():
        if name not in names:
            raise UsageError(f"--only: expected one of {', '.join(dict.fromkeys(names))}, found '{name}'.", "Name one.")
    return [cell for cell in cells if not only or cell.name in only]


def _execute(runs: Experiment, quiet: bool) -> None:
    """Do what is left, after saying what it costs."""
    left = runs.left()
    if not left:
        return
    notes = Display(quiet, 0)
    samples = len(runs.trainee(left[0][0]).train)
    total, began, spent = runs.gradients(samples), time.monotonic(), 0
    notes.notice(f"{len(left)} runs of {len(runs.runs)}, {total:,} gradients of single samples")

    def started(number: int, epochs: int) -> Display:
        cell, seed = left[number]
        notes.notice(f"run {number + 1}/{len(left)}: {cell.name} on {cell.data}, seed {seed}")
        return Display(quiet, epochs)

    for _ in runs.execute(started):
        spent = total - runs.gradients(samples)
        if spent < total:
            seconds = (time.monotonic() - began) * (total - spent) / spent
            notes.notice(f"about {duration(seconds)} to go")


def _deliver(runs: Experiment, experiment: str, budget: str, as_json: bool) -> None:
    from bnsharp_cli.report.json_document import render
    from bnsharp_cli.report.reproduction import Row, plot_curves, print_reproduction
    from bnsharp_cli.report.terminal import console

    rows = [Row(cell, [runs.done[cell.name, cell.data, seed] for seed in range(runs.seeds)]) for cell in runs.cells]
    picture = runs.place.folder / f"{experiment}.png"
    curves = {
        f"{row.cell.name} {row.cell.data}" if len({r.cell.data for r in rows}) > 1 else row.cell.name: _curve(runs, row)
        for row in rows
    }
    plot_curves(picture, curves, f"{experiment}, budget {budget}: test accuracy")
    document = {"schema": "bnsharp/1", "command": "reproduce", "experiment": experiment, "budget": budget,
                "results": [result for row in rows for result in row.results]}  # fmt: skip
    with results.on_stdout():
        if as_json:
            typer.echo(render(document))
            return
        print_reproduction(console(), rows, _notes(budget, rows))
        typer.echo(f"wrote {runs.place.results} and {picture}")


def _curve(runs: Experiment, row: Row) -> list[float]:
    """Mean test accuracy over the seeds, in percent, epoch by epoch."""
    import json

    from bnsharp_cli.io.checkpoints.run_files import RunFiles

    every: list[list[Mapping[str, Any]]] = []
    for result in row.results:
        text = RunFiles(runs.path(row.cell, result["seed"])).metrics.read_text()
        every.append([json.loads(line) for line in text.splitlines()])
    return [100 * sum(epoch["test_accuracy"] for epoch in same) / len(same) for same in zip(*every, strict=True)]


def _notes(budget: str, rows: list[Row]) -> list[str]:
    first = rows[0].cell
    notes = ["Test accuracy of the last network, mean ± standard error over the runs."]
    if budget != "full":
        notes.append(
            f"Not the paper's experiment: {first.arch} on {first.data}, {first.options.epochs} epochs of its 200, "
            f"batches of {first.options.batch_size}."
        )
    if any(row.unresolved("bn") for row in rows):
        notes.append("* below its rounding floor, or a lower bound that was still rising.")
    return notes
