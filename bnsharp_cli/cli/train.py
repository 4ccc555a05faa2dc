"""``bnsharp train``: train a network and write a checkpoint that the other commands can measure."""

from __future__ import annotations

import math
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnsharp_cli.cli import arguments, processes, results
from bnsharp_cli.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bnsharp_cli.io.criteria import Loss
    from bnsharp_cli.io.splits import Split
    from bnsharp_cli.training.loop import Figures, TrainingOptions

EXAMPLE = "Example: bnsharp train --arch lenet-bn --data digits --rule sgd --epochs 30 --output digits.pt"
_REGULAR_EPOCHS = 10


def train(
    output: Annotated[Path, typer.Option(help="Where to write the checkpoint.")],
    arch: arguments.TrainedArch = "lenet-bn",
    arch_option: arguments.ArchOption = None,
    data: arguments.Data = "digits",
    data_root: arguments.DataRoot = None,
    download: arguments.Download = False,
    loss: arguments.TrainedLoss = "cross-entropy",
    rule: Annotated[str, typer.Option(help="Training rule: sgd.")] = "sgd",
    epochs: Annotated[int, typer.Option(help="Passes over the training data.")] = 20,
    batch_size: Annotated[int, typer.Option(help="Samples in a batch.")] = 128,
    learning_rate: Annotated[float, typer.Option(help="Learning rate of the first epoch.")] = 0.1,
    momentum: Annotated[float, typer.Option(help="Momentum, in [0, 1).")] = 0.9,
    nesterov: Annotated[bool, typer.Option("--nesterov", help="Use Nesterov's momentum.")] = False,
    weight_decay: Annotated[float, typer.Option(help="Factor of the L2 penalty.")] = 0.0,
    milestone: Annotated[
        list[int] | None, typer.Option(help="Epoch at which the learning rate is decayed; repeatable.")
    ] = None,
    decay: Annotated[float, typer.Option(help="Factor of the learning rate at each milestone.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Seed of the initial weights and the batches.")] = 0,
    quiet: arguments.Quiet = False,
) -> None:
    """Train a network and write it with its architecture, data, preprocessing and figures."""
    given = dict(locals())
    from bnsharp_cli.io.criteria import open_loss
    from bnsharp_cli.io.data import naming, open_data
    from bnsharp_cli.training.loop import TrainingOptions

    processes.require_alone("train")
    arguments.require_seed(seed)
    options = arguments.chosen(TrainingOptions, given, milestones=tuple(milestone or ()))
    results.require_writable(output)
    criterion = open_loss(loss)
    with naming(data):
        splits = [open_data(data, split, data_root, download) for split in ("train", "test")]
        _train_and_save(output, arch, arguments.parse_options(arch_option), data, splits, criterion, options, quiet)


def _train_and_save(
    output: Path,
    arch: str,
    arch_options: dict[str, object],
    data: str,
    splits: list[Split],
    criterion: Loss,
    options: TrainingOptions,
    quiet: bool,
) -> None:
    import torch

    from bnsharp_cli.io.checkpoint import save_checkpoint
    from bnsharp_cli.io.data import channel_statistics
    from bnsharp_cli.training.loop import evaluate
    from bnsharp_cli.training.loop import train as run

    preprocessing = channel_statistics(splits[0])
    examples = []
    for split in splits:
        images, labels = split.load(torch.arange(len(split)), preprocessing)
        examples.append((preprocessing.normalise(images), labels))
    module, resolved = _untrained(arch, arch_options, examples[0], options.seed)
    _require_fit(arch, module, examples, criterion)
    run(module, examples[0], options, partial(_progress, options.epochs, quiet), criterion.criterion)
    figures = {
        name: evaluate(module, part, criterion.criterion)
        for name, part in zip(("train", "test"), examples, strict=True)
    }
    save_checkpoint(
        output,
        module.state_dict(),
        architecture=arch,
        architecture_options=resolved,
        data=data if data == "digits" else data.partition(":")[0],
        preprocessing=preprocessing.to_dict(),
        training={
            **options.to_dict(),
            "loss": criterion.name,
            **{f"{name}_{key}": getattr(part, key) for name, part in figures.items() for key in ("loss", "accuracy")},
        },
    )
    _report(output, figures)


def _untrained(
    arch: str, arch_options: dict[str, object], examples: tuple[Tensor, Tensor], seed: int
) -> tuple[nn.Module, dict[str, object]]:
    """The network with seeded weights, and its options with what the data decides."""
    import torch

    from bnsharp_cli.io.architecture import build_architecture
    from bnsharp_cli.io.constructors import OWN

    inputs, labels = examples
    resolved = dict(arch_options)
    if arch in OWN:
        classes = math.prod(labels.shape[1:]) if labels.is_floating_point() else int(labels.max()) + 1
        resolved = {"in_channels": inputs.shape[1], "classes": classes, **resolved}
    if arch == "lenet-bn":
        resolved = {"image_size": inputs.shape[-1], **resolved}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_architecture(arch, resolved), resolved


def _require_fit(arch: str, module: nn.Module, examples: list[tuple[Tensor, Tensor]], criterion: Loss) -> None:
    """Refuse a network that does not accept the images, and labels that it cannot be compared with."""
    import torch

    from bnsharp_cli.io.text import kind_and_line

    images = examples[0][0][:2]
    try:
        with torch.no_grad():
            outputs = module.eval()(images)
    except Exception as error:  # a network raises whatever it stumbles over
        raise UsageError(
            f"{arch} does not accept images of {tuple(images.shape[1:])}: {kind_and_line(error)}.",
            "Choose another --arch, or its --arch-option.",
        ) from error
    if not isinstance(outputs, torch.Tensor) or outputs.ndim == 1:
        raise UsageError(f"{arch} does not answer with one tensor (N, classes).", "Choose another --arch.")
    labels = torch.cat([labels for _, labels in examples])
    span = None if labels.is_floating_point() else (int(labels.min()), int(labels.max()))
    criterion.require_targets(outputs, labels, span)


def _progress(epochs: int, quiet: bool, epoch: int, loss: float) -> None:
    """One line an epoch on a terminal; every tenth where BNSHARP_PROGRESS asks for it, as in a log."""
    logged = "BNSHARP_PROGRESS" in os.environ and (epoch + 1) % _REGULAR_EPOCHS == 0
    if not quiet and (sys.stderr.isatty() or logged):
        typer.echo(f"epoch {epoch + 1}/{epochs}  training loss {loss:.4g}", err=True)


def _report(output: Path, figures: dict[str, Figures]) -> None:
    with results.on_stdout():
        for name, part in figures.items():
            accuracy = "" if part.accuracy is None else f"  accuracy {part.accuracy:.2%}"
            typer.echo(f"{name:5}  loss {part.loss:.4g}{accuracy}")
        typer.echo(f"wrote {output} ({output.stat().st_size / 1000:.0f} kB)")
