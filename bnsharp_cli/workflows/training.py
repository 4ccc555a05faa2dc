"""Trains a network to the end, or goes on where it was interrupted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.integrations.trackers import require_tracker
from bnsharp_cli.io.checkpoints.run_files import RunFiles
from bnsharp_cli.training.evaluation import LossAndAccuracy
from bnsharp_cli.training.options import TrainingOptions
from bnsharp_cli.workflows import torchrun
from bnsharp_cli.workflows.device import computing_on
from bnsharp_cli.workflows.input_files import input_files
from bnsharp_cli.workflows.options import Computing
from bnsharp_cli.workflows.output_files import require_outputs
from bnsharp_cli.workflows.reporter import SILENT, Reporter
from bnsharp_cli.workflows.run_state import BestEpoch
from bnsharp_cli.workflows.training_options import TrainingRunOptions, TrainingTask
from bnsharp_cli.workflows.training_run import TrainingRun
from bnsharp_cli.workflows.training_setup import open_setup


@dataclass(frozen=True)
class TrainedNetwork:
    """The network that training made.

    Attributes:
        files: where it is.
        figures: loss and accuracy of the last network on each split.
        best: the epoch with the best figures on the test split; None where no epoch was left.
    """

    files: RunFiles
    figures: Mapping[str, LossAndAccuracy]
    best: BestEpoch | None


def train_network(
    run_options: TrainingRunOptions,
    task: TrainingTask | None = None,
    training: TrainingOptions | None = None,
    *,
    computing: Computing | None = None,
    reporter: Reporter = SILENT,
) -> TrainedNetwork:
    """Train a network and write it.

    Args:
        run_options: where to, and what is done beside training.
        task: what is trained on what.
        training: how.
        computing: where to compute.
        reporter: told how far the run is.

    Raises:
        BnsharpError: what cannot be opened or trained, with its remedy.
    """
    task, training = task or TrainingTask(), training or TrainingOptions()
    if torchrun.is_first():
        _require_writable(run_options, task)
    with computing_on((computing or Computing()).device) as device:
        if training.amp is not None and device.type != "cuda":
            raise UsageError(
                f"{named('amp')} needs a CUDA device.",
                f"Leave it out, or name one with {named('device')} cuda.",
                argument="amp",
                expected="a CUDA device",
                found=str(device),
            )
        shared = torchrun.current()
        setup = open_setup(task, training.seed, device, shared.count, reporter)
        run = TrainingRun(setup, setup.training(training, device, shared, reporter), run_options, reporter)
        try:
            figures = run.execute()
        except KeyboardInterrupt:
            if run.kept:
                kept = f"epoch {run.kept} of {training.epochs} is kept"
                reporter.notice(f"{kept}; {named('resume')} goes on from there")
            raise
    return TrainedNetwork(run.files, figures, run.best)


def _require_writable(options: TrainingRunOptions, task: TrainingTask) -> None:
    """Refuse, before any work, files of the run that could not be written."""
    files = RunFiles(options.output)
    files.require_names_apart()
    inputs = input_files([], task.arch, task.data, task.loss)
    require_outputs([("output", path) for path in files.every], inputs)
    if options.track is not None:
        require_tracker(options.track, options.output.stem)
