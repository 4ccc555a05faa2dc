"""Runs the cells of an experiment, each for several seeds, and keeps what is done."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bnsharp_cli import api
from bnsharp_cli.errors import BnsharpError, CheckpointRefusedError, UsageError
from bnsharp_cli.io.files import atomic_writing as atomic
from bnsharp_cli.io.files.printable_text import kind_and_line
from bnsharp_cli.measurement.surface.data_stream import Batch
from bnsharp_cli.report.json import render_line
from bnsharp_cli.training.examples import Examples, Resident
from bnsharp_cli.training.loop import evaluate
from bnsharp_cli.training.recipes import Cell
from bnsharp_cli.workflows.progress import Display
from bnsharp_cli.workflows.trainee import Trainee, Wanted, open_trainee, with_seed
from bnsharp_cli.workflows.training_run import Run, Settings

_SUBSET_SEED = 0
_MEASURED_BATCH = 256
MEASURES = ("bn", "delta-linf")


@dataclass(frozen=True)
class Place:
    """Where an experiment finds its data and keeps its results.

    Attributes:
        folder: of networks, figures and results.
        data: a data spec for each of the paper's data sets.
        data_root: see ``bnsharp train``.
        download: see ``bnsharp train``.
        device: where to compute.
        samples: of the training split that are used, and of the test split after each epoch; None for all. The final
            networks are judged by the whole test split.
        measured: samples that each final network is measured on.
    """

    folder: Path
    data: Mapping[str, str]
    data_root: Path | None
    download: bool
    device: torch.device
    samples: int | None
    measured: int

    @property
    def results(self) -> Path:
        """One JSON document a run."""
        return self.folder / "results.jsonl"


Started = Callable[[int, int], Display]
"""Told the number of a run and its epochs before it starts; what shows its progress."""


class Experiment:
    """All runs of some cells.

    Args:
        cells: what to run.
        seeds: how many times each.
        place: where.

    Raises:
        UsageError: the folder holds results of other options.
    """

    def __init__(self, cells: Sequence[Cell], seeds: int, place: Place) -> None:
        self.cells, self.seeds, self.place = cells, seeds, place
        self._opened: dict[tuple[str, str], tuple[Trainee, Trainee]] = {}
        self._end = 0
        self.done = self._read()

    @property
    def runs(self) -> list[tuple[Cell, int]]:
        """Every cell with every seed; all cells once before any is repeated."""
        return [(cell, seed) for seed in range(self.seeds) for cell in self.cells]

    def left(self) -> list[tuple[Cell, int]]:
        """The runs without a result."""
        return [run for run in self.runs if _key(*run) not in self.done]

    def gradients(self, samples: int) -> int:
        """Gradients of single samples that the runs left cost, with so many training samples."""
        return sum(
            options.epochs * (samples // size) * size * options.own_options.gradients_per_step
            for options in [cell.options for cell, _ in self.left()]
            for size in [min(options.batch_size, samples)]
        )

    def execute(self, started: Started) -> Iterator[Mapping[str, Any]]:
        """Do what is left, one result after the other, each kept before it is given out."""
        for number, (cell, seed) in enumerate(self.left()):
            result = self._run(cell, seed, started(number, cell.options.epochs))
            self._end = atomic.append_at(self.place.results, self._end, render_line(result))
            self.done[_key(cell, seed)] = result
            yield result

    def trainee(self, cell: Cell) -> Trainee:
        """The cell's network and data; data are opened once."""
        data = self.place.data.get(cell.data, cell.data)
        if (cell.arch, data) not in self._opened:
            place = self.place
            wanted = Wanted(cell.arch, None, data, place.data_root, place.download, None, "cross-entropy", 0)
            trainee = open_trainee(wanted, place.device, 1)
            self._opened = {(cell.arch, data): (trainee, _parts(trainee, place.samples))}
        return self._opened[cell.arch, data][1]

    def path(self, cell: Cell, seed: int) -> Path:
        """Of the cell's last network."""
        name = re.sub(r"[^\w.]+", "-", f"{cell.experiment} {cell.data} {cell.name} seed{seed}")
        return self.place.folder / f"{name}.pt"

    def _run(self, cell: Cell, seed: int, display: Display) -> dict[str, Any]:
        trainee = with_seed(self.trainee(cell), seed)
        options = replace(cell.options, seed=seed)
        device = self.place.device
        training = trainee.training(options, device)
        settings = Settings(self.path(cell, seed), resume=True, measure_every=0, measure_samples=2, track=None)
        run = Run(trainee, training, settings, display)
        figures = run.execute()
        display.phase("measuring")
        ((whole, _),) = self._opened.values()
        test = evaluate(trainee.module, whole.test, trainee.judge(device), device=device)
        measured = self._measured(trainee)
        display.phase("")
        return {
            **_identity(cell, seed),
            "train_loss": figures["train"].loss,
            "train_accuracy": figures["train"].accuracy,
            "test_loss": test.loss,
            "test_accuracy": test.accuracy,
            "gradients": training.gradients,
            "batch_size": training.batch_size,
            "measures": measured,
        }

    def _measured(self, trainee: Trainee) -> dict[str, Any]:
        """The final network's sharpness on samples that it was trained on."""
        batches = fixed_batches(trainee.train, self.place.measured)
        found = {}
        for name in MEASURES:
            try:
                measured = api.measure(trainee.module, batches, trainee.criterion.criterion, name)
            except BnsharpError as error:
                found[name] = {"error": error.reason}
            else:
                document = measured.to_dict()
                found[name] = {key: document[key] for key in ("value", "status", "uncertainty")}
        return found

    def _read(self) -> dict[tuple[str, str, int], Mapping[str, Any]]:
        try:
            text = self.place.results.read_text()
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointRefusedError(
                f"{self.place.results} cannot be read: {kind_and_line(error)}.", "Name another folder."
            ) from error
        whole = text[: text.rfind("\n") + 1]
        self._end = len(whole.encode())
        try:
            records = [json.loads(line) for line in whole.splitlines()]
            done = {(record["name"], record["data"], record["seed"]): record for record in records}
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointRefusedError(
                f"{self.place.results} does not hold results of this command.", "Name another folder."
            ) from error
        for cell, seed in self.runs:
            known = done.get(_key(cell, seed))
            if known is not None and any(known.get(k) != v for k, v in _identity(cell, seed).items()):
                raise UsageError(
                    f"{self.place.results} has {cell.name} with other options.", "Name another folder with --output."
                )
        return done


def _key(cell: Cell, seed: int) -> tuple[str, str, int]:
    return cell.name, cell.data, seed


def _identity(cell: Cell, seed: int) -> dict[str, Any]:
    """What a result belongs to, as JSON gives it back."""
    entry = {**asdict(cell), "options": replace(cell.options, seed=seed).to_dict(), "seed": seed}
    plain: dict[str, Any] = json.loads(render_line(entry))
    return plain


def _parts(trainee: Trainee, samples: int | None) -> Trainee:
    return replace(trainee, train=_part(trainee.train, samples), test=_part(trainee.test, samples))


def _part(examples: Examples, samples: int | None) -> Examples:
    """So many of the examples, the same for every cell and seed."""
    if samples is None or samples >= len(examples):
        return examples
    chosen = torch.randperm(len(examples), generator=torch.Generator().manual_seed(_SUBSET_SEED))[:samples]
    ((inputs, targets),) = examples.batches([chosen.sort().values])
    return Resident(inputs, targets)


def fixed_batches(examples: Examples, samples: int) -> list[Batch]:
    """So many of the examples, at most, in batches that are the same for every network."""
    count = min(samples, len(examples))
    size = min(_MEASURED_BATCH, count)
    generator = torch.Generator().manual_seed(_SUBSET_SEED)
    order = torch.randperm(len(examples), generator=generator)[: count // size * size]
    return [*examples.batches(torch.split(order, size))]
