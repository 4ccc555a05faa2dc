"""A training run: its epochs, its figures, its files, and how it goes on after an interruption."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from bnsharp_cli import api
from bnsharp_cli.errors import BnsharpError, CheckpointRefusedError, NotMeasurableError, named
from bnsharp_cli.integrations.trackers import Tracker, open_tracker
from bnsharp_cli.io.checkpoints.checkpoint import save_checkpoint
from bnsharp_cli.io.checkpoints.run_files import RunFiles
from bnsharp_cli.io.data.batches import draw_batches
from bnsharp_cli.io.data.recorded_data import data_record
from bnsharp_cli.io.files.atomic_writing import append_at
from bnsharp_cli.io.files.printable_text import kind_and_line, one_line, shown_path
from bnsharp_cli.measurement.surface.data_stream import Batch
from bnsharp_cli.report.json_document import render_line
from bnsharp_cli.training.evaluation import LossAndAccuracy, evaluate
from bnsharp_cli.training.loop import Training
from bnsharp_cli.training.saved_state import UnfitStateError
from bnsharp_cli.workflows import torchrun
from bnsharp_cli.workflows.earlier_run import extension_notice, require_no_loss, require_replaceable
from bnsharp_cli.workflows.reporter import SILENT, Reporter
from bnsharp_cli.workflows.run_identity import changed, recorded, require_same, versions, what_decides
from bnsharp_cli.workflows.run_state import BestEpoch, RunState, read_run_state, require_same_figures
from bnsharp_cli.workflows.training_options import TrainingRunOptions
from bnsharp_cli.workflows.training_setup import TrainingSetup

_MEASURED_BATCH = 256


class TrainingRun:
    """A run from its first epoch, or from where it was, to its last.

    Each epoch ends with its figures, then its networks, then the state, each written whole. What a process that was
    killed had written of an epoch without its state is written over, with the same bytes, when the run goes on.

    Args:
        setup: what is trained.
        training: how, with nothing done yet.
        options: the rest; that its files can be written was seen before anything was opened.
        reporter: told how far the run is.

    Raises:
        UsageError: a run that would be lost or that was made with other options.
        CheckpointRefusedError: the file is not the state of a run.
    """

    def __init__(
        self, setup: TrainingSetup, training: Training, options: TrainingRunOptions, reporter: Reporter = SILENT
    ) -> None:
        self._setup, self._training, self._options, self._reporter = setup, training, options, reporter
        self.files = RunFiles(options.output)
        self.best: BestEpoch | None = None
        self.kept = self._metrics = 0
        self._tracked: dict[str, str] = {}
        self._told = False
        judge, shared = setup.judge(training.device), torchrun.current()
        self._evaluate = partial(evaluate, criterion=judge, device=training.device, processes=shared)
        self._decided = what_decides(setup, training)
        self._continue()
        if torchrun.is_first():
            self.files.remove_leftovers()

    def execute(self) -> dict[str, LossAndAccuracy]:
        """Train the epochs that are left; the figures of the last network on each split.

        Raises:
            NotMeasurableError: the loss became NaN or infinite; the files hold the last good epoch.
        """
        training, epochs = self._training, self._training.options.epochs
        rule = training.rule
        with ExitStack() as stack:
            tracker = self._tracker(stack)
            if training.epoch < epochs:
                self._reporter.begin(
                    training.epoch, epochs, training.steps, rule.gradients_per_step, training.batch_size
                )
            while training.epoch < epochs:
                self._epoch(tracker)
        self._reporter.activity("evaluating")
        parts = {"train": self._setup.train, "test": self._setup.test}
        figures = {name: self._evaluate(training.module, examples) for name, examples in parts.items()}
        self._reporter.activity("")
        self._save(self.files.output, figures)
        return figures

    def _epoch(self, tracker: Tracker | None) -> None:
        training, began = self._training, time.monotonic()
        rate = training.learning_rate
        try:
            loss = training.run_epoch(self._reporter.step)
            test = self._evaluate(training.module, self._setup.test)
        except NotMeasurableError as error:
            raise self._stopped(error) from error
        every = self._options.measure_every
        sharpness = self._sharpness() if every and training.epoch % every == 0 else None
        figures = {
            "learning_rate": rate,
            "train_loss": loss,
            "test_loss": test.loss,
            "test_accuracy": test.accuracy,
            "bn_sharpness": sharpness,
            "gradients": training.gradients,
            "seconds": time.monotonic() - began,
        }
        if tracker is not None:
            self._track(tracker, {name: value for name, value in figures.items() if value is not None})
        self._commit(figures, test)
        shown = {"loss": loss, "test loss": test.loss, "accuracy": test.accuracy, "bn": sharpness}
        self._reporter.epoch(shown)

    def _commit(self, figures: Mapping[str, Any], test: LossAndAccuracy) -> None:
        """Make the epoch count."""
        best = BestEpoch(self._training.epoch, test)
        if self.best is not None and self.best.figures.merit >= test.merit:
            best = self.best
        if torchrun.is_first():
            self._write(figures, test, best)
        self.best = best
        self.kept = self._training.epoch

    def _write(self, figures: Mapping[str, Any], test: LossAndAccuracy, best: BestEpoch) -> None:
        files = self.files
        if not self._metrics:
            files.begin()
        line = render_line({"epoch": self._training.epoch, **figures})
        self._metrics = append_at(files.metrics, self._metrics, line)
        for path in (files.best, files.output) if best.figures is test else (files.output,):
            self._save(path, {"test": test})
        files.save_state(
            {
                "run": recorded(self._decided),
                "versions": versions(),
                "best": {"epoch": best.epoch, **vars(best.figures)},
                "metrics": self._metrics,
                "tracker": self._tracked,
                **self._training.state_dict(),
            }
        )

    def _save(self, path: Path, figures: Mapping[str, LossAndAccuracy]) -> None:
        if not torchrun.is_first():
            return
        training, setup = self._training, self._setup
        save_checkpoint(
            path,
            training.module.state_dict(),
            architecture=setup.task.arch,
            architecture_options=dict(setup.architecture_options),
            data=setup.data,
            data_source=data_record(setup.task.data, setup.task.data_root, path),
            preprocessing=setup.preprocessing.to_dict(),
            training={
                **training.options.to_dict(),
                "loss": setup.criterion.name,
                "processes": torchrun.current().count,
                "epoch": training.epoch,
                **{f"{name}_{key}": value for name, part in figures.items() for key, value in vars(part).items()},
            },
        )

    def _sharpness(self) -> float | None:
        """BN-Sharpness of the present network, as ``bnsharp measure`` finds it on so many samples."""
        self._reporter.activity("measuring BN-Sharpness")
        criterion, seed = self._setup.criterion.criterion, self._training.options.seed
        try:
            told = self._reporter.standing
            return api.measure(self._training.module, self._measured, criterion, seed=seed, progress=told).value
        except BnsharpError as error:
            reason = error.marked_reason
        except Exception as error:  # measuring is not worth a training run, whatever fails
            reason = kind_and_line(error)
        self._reporter.notice(f"BN-Sharpness was not measured: {reason}")
        return None

    @cached_property
    def _measured(self) -> Sequence[Batch]:
        setup, samples = self._setup, min(self._options.measure_samples, len(self._setup.train))
        size, seed = min(_MEASURED_BATCH, samples), self._training.options.seed
        return draw_batches(setup.split, samples, size, seed, setup.preprocessing).batches

    def _tracker(self, stack: ExitStack) -> Tracker | None:
        spec, epoch = self._options.track, self._training.epoch
        if spec is None or not torchrun.is_first():
            return None
        earlier = self._tracked.get(spec, "")
        tracker = open_tracker(spec, self.files.output.stem, recorded(self._decided), earlier, epoch)
        stack.callback(self._close, tracker)
        self._tracked = {spec: tracker.identity}
        return tracker

    def _track(self, tracker: Tracker, figures: Mapping[str, float]) -> None:
        try:
            tracker.log(self._training.epoch, figures)
        except Exception as error:  # a tracker whose server is gone raises anything; training goes on
            self._lost(f"epoch {self._training.epoch} was not sent", error)

    def _close(self, tracker: Tracker) -> None:
        try:
            tracker.close()
        except Exception as error:  # the run is over and its files are what counts
            self._lost("the tracker did not end the run", error)

    def _lost(self, what: str, error: Exception) -> None:
        """Say once that the tracker failed; it is tried again all the same."""
        if not self._told:
            self._told = True
            self._reporter.notice(f"{named('track')}: {what}: {kind_and_line(error)}; later failures are not reported")

    def _stopped(self, error: NotMeasurableError) -> NotMeasurableError:
        kept = f" {shown_path(self.files.output)} holds epoch {self.kept}." if self.kept else ""
        return NotMeasurableError(
            error.marked_reason, f"{error.marked_remedy}{kept}", subject=error.subject, **error.fields
        )

    def _continue(self) -> None:
        """Go on with what is there, if that is what the user wants.

        Raises:
            UsageError: it is not, and an earlier run would be lost; or the run had other options.
            CheckpointRefusedError: what is there is no run of this network.
        """
        content = None if self._options.overwrite else self.files.load_state()
        if content is None:
            require_replaceable(self.files, self._options)
            return
        try:
            self._take_over(read_run_state(content), content)
        except UnfitStateError as error:
            raise CheckpointRefusedError(
                f"{shown_path(self.files.state)} is not the state of such a run: {one_line(error)}.",
                f"Add {named('overwrite')} in place of {named('resume')} to start anew.",
            ) from error

    def _take_over(self, state: RunState, content: Mapping[str, Any]) -> None:
        """Take over a run whose ``state`` was checked, once the training in ``content`` is found to fit too."""
        if not self._options.resume:
            require_no_loss(state, self.files)
        extended = require_same(self.files.state, state.decided, self._decided)
        require_same_figures(state, self.files.metrics)
        now = self._training.options
        self._training.options = earlier = replace(now, epochs=state.epochs)  # its counts and rates are judged by these
        self._training.load_state_dict(content)
        self._training.options = now
        if extended:
            self._reporter.notice(extension_notice(state, earlier, now))
        self.kept, self._metrics, self.best = state.epoch, state.metrics, state.best
        self._tracked = dict(state.tracked)
        if torchrun.is_first():
            append_at(self.files.metrics, self._metrics, "")
        for name, was, now in changed(state.versions, versions()):
            self._reporter.notice(f"not bit for bit as without the interruption: {name} {one_line(was)}, now {now}")
