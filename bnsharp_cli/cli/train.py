"""``bnsharp train``: train a network and write a checkpoint that the other commands can measure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnsharp_cli.cli import arguments, results, rule_arguments
from bnsharp_cli.errors import UsageError
from bnsharp_cli.workflows import torchrun as processes
from bnsharp_cli.workflows.progress import Display

if TYPE_CHECKING:
    import torch

    from bnsharp_cli.training.evaluation import LossAndAccuracy
    from bnsharp_cli.training.options import TrainingOptions
    from bnsharp_cli.workflows.trainee import Wanted
    from bnsharp_cli.workflows.training_run import Run, Settings

EXAMPLE = "Example: bnsharp train --arch lenet-bn --data digits --rule sgd --epochs 30 --output digits.pt"


def train(
    output: Annotated[Path, typer.Option(help="Where to write the checkpoint; other files of the run go beside it.")],
    arch: arguments.TrainedArch = "lenet-bn",
    arch_option: arguments.ArchOption = None,
    data: arguments.Data = "digits",
    data_root: arguments.DataRoot = None,
    download: arguments.Download = False,
    image_size: arguments.ImageSize = None,
    augment: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Random crop, flip, or crop,flip of every batch of images.")
    ] = None,
    loss: arguments.TrainedLoss = "cross-entropy",
    rule: rule_arguments.Name = "sgd",
    epochs: Annotated[int, typer.Option(help="Passes over the training data.")] = 20,
    batch_size: Annotated[int, typer.Option(help="Samples in a batch, over all processes.")] = 128,
    learning_rate: Annotated[float, typer.Option(help="Learning rate of the first epoch.")] = 0.1,
    momentum: Annotated[float, typer.Option(help="Momentum, in [0, 1).")] = 0.9,
    nesterov: Annotated[bool, typer.Option("--nesterov", help="Use Nesterov's momentum.")] = False,
    weight_decay: Annotated[float, typer.Option(help="Factor of the L2 penalty.")] = 0.0,
    clip_gradient: Annotated[
        float | None, typer.Option(metavar="NORM", help="Shorten gradients that are longer than this.")
    ] = None,
    schedule: Annotated[
        str, typer.Option(help="Learning rate over the epochs: step (at each --milestone) or cosine (to 0).")
    ] = "step",
    milestone: Annotated[
        list[int] | None, typer.Option(help="Epoch at which the learning rate is decayed; repeatable.")
    ] = None,
    decay: Annotated[float, typer.Option(help="Factor of the learning rate at each milestone.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Seed of the initial weights and the batches.")] = 0,
    amp: Annotated[str | None, typer.Option(metavar="FORMAT", help="Mixed precision on CUDA: bf16 or fp16.")] = None,
    device: arguments.Device = "auto",
    measure_every: Annotated[
        int, typer.Option(metavar="EPOCHS", help="Measure BN-Sharpness every so many epochs; 0 for never.")
    ] = 0,
    measure_samples: Annotated[int, typer.Option(help="Samples that it is measured on.")] = 1024,
    track: Annotated[
        str | None, typer.Option(metavar="WHERE", help="Send figures to tensorboard:DIR, mlflow:URI or wandb:PROJECT.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run that was interrupted, if there is one.")
    ] = False,
    delta: rule_arguments.Delta = None,
    power: rule_arguments.Power = None,
    coefficient: rule_arguments.Coefficient = None,
    growth: rule_arguments.Growth = None,
    search_steps: rule_arguments.SearchSteps = None,
    regulariser_gradient: rule_arguments.Form = None,
    regulariser_batches: rule_arguments.Batches = None,
    regulariser_clip: rule_arguments.Clip = None,
    rho: rule_arguments.Rho = None,
    langevin_steps: rule_arguments.LangevinSteps = None,
    scope: rule_arguments.Scope = None,
    scoping: rule_arguments.Scoping = None,
    quiet: arguments.Quiet = False,
) -> None:
    """Train a network and write it with its architecture, data, preprocessing and figures.

    For --output run.pt: run.pt is the last network, run.best.pt the best on the test split, run.metrics.jsonl has the
    figures of each epoch, run.state what --resume needs.
    """
    given = dict(locals())
    from bnsharp_cli.training.options import TrainingOptions
    from bnsharp_cli.workflows.device import chosen_device
    from bnsharp_cli.workflows.trainee import Wanted
    from bnsharp_cli.workflows.training_run import Settings

    arguments.require_seed(seed)
    own = rule_arguments.chosen_rule(rule, given, seed)
    changes = {
        "rule_options": own,
        "milestones": tuple(milestone or ()),
        "augment": tuple(augment.split(",")) if augment else (),
    }
    options = arguments.chosen(TrainingOptions, given, **changes)
    settings, wanted = arguments.chosen(Settings, given), arguments.chosen(Wanted, given)
    place = chosen_device(device)
    if amp is not None and place.type != "cuda":
        raise UsageError("--amp needs a CUDA device.", "Leave it out, or name one with --device cuda.")
    results.require_writable(output)
    run, figures = _run(wanted, options, settings, place, quiet)
    _report(run, figures)


def _run(
    wanted: Wanted, options: TrainingOptions, settings: Settings, device: torch.device, quiet: bool
) -> tuple[Run, dict[str, LossAndAccuracy]]:
    """Train to the end."""
    from bnsharp_cli.workflows.trainee import open_trainee
    from bnsharp_cli.workflows.training_run import Run

    shared = processes.current()
    display = Display(quiet, options.epochs)
    trainee = open_trainee(wanted, device, shared.count, display.phase)
    training = trainee.training(options, device, shared)
    run = Run(trainee, training, settings, display)
    try:
        return run, run.execute()
    except KeyboardInterrupt:
        if run.kept:
            display.notice(f"epoch {run.kept} of {options.epochs} is kept; --resume goes on from there")
        raise


def _report(run: Run, figures: dict[str, LossAndAccuracy]) -> None:
    with results.on_stdout():
        for name, part in figures.items():
            typer.echo(_line(name, part))
        if run.best is not None and processes.is_first():
            typer.echo(f"{_line('best', run.best.figures)}  in epoch {run.best.epoch}: {run.files.best.name}")
            typer.echo(f"wrote {run.files.output} ({run.files.output.stat().st_size / 1000:.0f} kB)")


def _line(name: str, figures: LossAndAccuracy) -> str:
    accuracy = "" if figures.accuracy is None else f"  accuracy {figures.accuracy:.2%}"
    return f"{name:5}  loss {figures.loss:.4g}{accuracy}"
