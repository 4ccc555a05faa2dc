"""``bnsharp train``: train a network and write a checkpoint that the other commands can measure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnsharp_cli.cli import results
from bnsharp_cli.cli.reporter import TerminalReporter
from bnsharp_cli.errors import shown
from bnsharp_cli.io.files.importing import importing_libraries
from bnsharp_cli.training.options import TrainingOptions
from bnsharp_cli.workflows import torchrun
from bnsharp_cli.workflows.options import Computing, Messages
from bnsharp_cli.workflows.training_options import TrainingRunOptions, TrainingTask

if TYPE_CHECKING:
    from bnsharp_cli.training.evaluation import LossAndAccuracy
    from bnsharp_cli.workflows.training import TrainedNetwork

EXAMPLE = "Example: bnsharp train --arch lenet-bn --data digits --rule sgd --epochs 30 --output digits.pt"


def train(
    running: TrainingRunOptions,
    task: TrainingTask,
    training: TrainingOptions,
    computing: Computing,
    messages: Messages,
) -> None:
    """Train a network and write it with its architecture, data, preprocessing and figures.

    For --output run.pt: run.pt is the last network, run.best.pt the best on the test split, run.metrics.jsonl has the
    figures of each epoch, run.state what --resume needs.
    """
    with importing_libraries():
        from bnsharp_cli.workflows.training import train_network

    with TerminalReporter(messages.quiet) as reporter:
        trained = train_network(running, task, training, computing=computing, reporter=reporter)
    with results.on_stdout():
        _print(trained)


def _print(trained: TrainedNetwork) -> None:
    for name, part in trained.figures.items():
        print(_line(name, part))
    best, files = trained.best, trained.files
    if best is not None and torchrun.is_first():
        print(f"{_line('best', best.figures)}  in epoch {best.epoch}: {shown(files.best.name)}")
        print(f"wrote {shown(files.output)} ({files.output.stat().st_size / 1000:.0f} kB)")


def _line(name: str, figures: LossAndAccuracy) -> str:
    accuracy = "" if figures.accuracy is None else f"  accuracy {figures.accuracy:.2%}"
    return f"{name:5}  loss {figures.loss:.4g}{accuracy}"
