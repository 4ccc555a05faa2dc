"""Runs the cells of an experiment of the paper, each for several seeds, and keeps what is done."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bnsharp_cli import api
from bnsharp_cli.errors import BnsharpError
from bnsharp_cli.io.checkpoints.run_files import RunFiles
from bnsharp_cli.measurement.surface.data_stream import Batch
from bnsharp_cli.measurement.surface.progress import duration
from bnsharp_cli.report.json_document import render_line
from bnsharp_cli.training.evaluation import evaluate
from bnsharp_cli.training.examples import Examples, ExamplesInMemory
from bnsharp_cli.training.paper_experiments import PublishedResult
from bnsharp_cli.workflows.experiment_results import COMPARED_MEASURES, ResultsFile, result_key
from bnsharp_cli.workflows.input_files import input_files
from bnsharp_cli.workflows.output_files import require_outputs
from bnsharp_cli.workflows.reporter import SILENT, Reporter
from bnsharp_cli.workflows.training_options import TrainingRunOptions, TrainingTask
from bnsharp_cli.workflows.training_run import TrainingRun
from bnsharp_cli.workflows.training_setup import TrainingSetup, open_setup, with_seed

_SUBSET_SEED = 0
_MEASURED_BATCH = 256


@dataclass(frozen=True)
class ExperimentConditions:
    """What is the same for all runs of an experiment.

    Attributes:
        folder: the folder of networks, figures and results.
        data: a data spec for each of the paper's data sets.
        data_root: folder of torchvision's data sets; None for torchvision's own.
        download: whether torchvision may download what is missing.
        device: where to compute.
        samples: of the training split that are used, and of the test split after each epoch; None for all. The final
            networks are judged by the whole test split.
        measured_samples: that each final network is measured on.
    """

    folder: Path
    data: Mapping[str, str]
    data_root: Path | None
    download: bool
    device: torch.device
    samples: int | None
    measured_samples: int


class Experiment:
    """All runs of some cells.

    Args:
        cells: what to run.
        seeds: how many times each.
        conditions: what is the same for all runs.
        reporter: told what a run costs and how far it is.

    Raises:
        UsageError: the folder holds results of other options.
        CheckpointRefusedError: the file of results holds something else.
    """

    def __init__(
        self,
        cells: Sequence[PublishedResult],
        seeds: int,
        conditions: ExperimentConditions,
        reporter: Reporter = SILENT,
    ) -> None:
        self.cells, self.seeds, self.conditions, self._reporter = cells, seeds, conditions, reporter
        self._opened: dict[tuple[str, str], tuple[TrainingSetup, TrainingSetup]] = {}
        self.results = ResultsFile(conditions.folder / "results.jsonl")
        self.done = self.results.read([_identity(*run) for run in self.runs])

    @property
    def runs(self) -> list[tuple[PublishedResult, int]]:
        """Every cell with every seed; all cells once before any is repeated."""
        return [(cell, seed) for seed in range(self.seeds) for cell in self.cells]

    def left(self) -> list[tuple[PublishedResult, int]]:
        """The runs without a result."""
        return [(cell, seed) for cell, seed in self.runs if (cell.name, cell.data, seed) not in self.done]

    def require_writable(self, picture: Path) -> None:
        """Refuse, before any work, files that could not be written after it.

        Args:
            picture: that is drawn of all runs.

        Raises:
            UsageError: naming the first of them.
        """
        left = self.left()
        of_runs = [path for run in left for path in RunFiles(self.path(*run)).every]
        written = [picture, *([self.results.path, *of_runs] if left else [])]
        inputs = input_files([], *self.conditions.data.values())
        require_outputs([("output", path) for path in written], inputs)

    def gradients(self, samples: int) -> int:
        """Gradients of single samples that the runs left cost, with so many training samples."""
        return sum(
            options.epochs * (samples // size) * size * options.own_options.gradients_per_step
            for options in [cell.options for cell, _ in self.left()]
            for size in [min(options.batch_size, samples)]
        )

    def execute(self) -> Iterator[Mapping[str, Any]]:
        """Run what is left, after announcing its cost; each result is written to the file before it is yielded."""
        left = self.left()
        if not left:
            return
        samples = len(self.setup(left[0][0]).train)
        total, began = self.gradients(samples), time.monotonic()
        self._reporter.notice(f"{len(left)} of {len(self.runs)} runs to train, {total:,} gradients of single samples")
        for number, (cell, seed) in enumerate(left):
            self._reporter.notice(f"run {number + 1}/{len(left)}: {cell.name} on {cell.data}, seed {seed}")
            result = self._run(cell, seed)
            self.results.append(result)
            self.done[result_key(result)] = result
            yield result
            to_do = self.gradients(samples)
            if to_do:
                seconds = (time.monotonic() - began) * to_do / (total - to_do)
                self._reporter.notice(f"about {duration(seconds)} to go")

    def setup(self, cell: PublishedResult) -> TrainingSetup:
        """The cell's network and data; data are opened once."""
        given = self.conditions
        data = given.data.get(cell.data, cell.data)
        if (cell.arch, data) not in self._opened:
            task = TrainingTask(cell.arch, data=data, data_root=given.data_root, download=given.download)
            setup = open_setup(task, 0, given.device, 1)
            self._opened = {(cell.arch, data): (setup, _parts(setup, given.samples))}
        return self._opened[cell.arch, data][1]

    def path(self, cell: PublishedResult, seed: int) -> Path:
        """The file of the cell's last network."""
        name = re.sub(r"[^\w.]+", "-", f"{cell.experiment} {cell.data} {cell.name} seed{seed}")
        return self.conditions.folder / f"{name}.pt"

    def _run(self, cell: PublishedResult, seed: int) -> dict[str, Any]:
        setup, device = with_seed(self.setup(cell), seed), self.conditions.device
        training = setup.training(replace(cell.options, seed=seed), device, reporter=self._reporter)
        options = TrainingRunOptions(output=self.path(cell, seed), resume=True)
        figures = TrainingRun(setup, training, options, self._reporter).execute()
        self._reporter.activity("measuring")
        ((whole, _),) = self._opened.values()
        test = evaluate(setup.module, whole.test, setup.judge(device), device=device)
        measured = self._measured(setup)
        self._reporter.activity("")
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

    def _measured(self, setup: TrainingSetup) -> dict[str, Any]:
        """The final network's sharpness on samples that it was trained on."""
        batches = measured_batches(setup.train, self.conditions.measured_samples)
        found = {}
        for name in COMPARED_MEASURES:
            try:
                told = self._reporter.standing
                measured = api.measure(setup.module, batches, setup.criterion.criterion, name, progress=told)
            except BnsharpError as error:
                found[name] = {"error": error.reason}
            else:
                document = measured.to_dict()
                found[name] = {key: document[key] for key in ("value", "status", "uncertainty")}
        return found


def _identity(cell: PublishedResult, seed: int) -> dict[str, Any]:
    """What a result belongs to, as JSON gives it back."""
    entry = {**asdict(cell), "options": replace(cell.options, seed=seed).to_dict(), "seed": seed}
    plain: dict[str, Any] = json.loads(render_line(entry))
    return plain


def _parts(setup: TrainingSetup, samples: int | None) -> TrainingSetup:
    return replace(setup, train=_part(setup.train, samples), test=_part(setup.test, samples))


def _part(examples: Examples, samples: int | None) -> Examples:
    """``samples`` of the examples, the same for every cell and seed."""
    if samples is None or samples >= len(examples):
        return examples
    chosen = torch.randperm(len(examples), generator=torch.Generator().manual_seed(_SUBSET_SEED))[:samples]
    ((inputs, targets),) = examples.batches([chosen.sort().values])
    return ExamplesInMemory(inputs, targets)


def measured_batches(examples: Examples, samples: int) -> list[Batch]:
    """At most ``samples`` of the examples, in batches that are the same for every network."""
    count = min(samples, len(examples))
    size = min(_MEASURED_BATCH, count)
    generator = torch.Generator().manual_seed(_SUBSET_SEED)
    order = torch.randperm(len(examples), generator=generator)[: count // size * size]
    return [*examples.batches(torch.split(order, size))]
