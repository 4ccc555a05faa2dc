"""What a command measures: a checkpoint, its network and its batches, opened and checked."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import typer
from torch import nn

from bnsharp_cli import __version__
from bnsharp_cli.cli.arguments import parse_numbers, parse_options
from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import DataRefusedError, NotMeasurableError, UsageError
from bnsharp_cli.io.checkpoints.checkpoint import Checkpoint, load_checkpoint
from bnsharp_cli.io.data.batches import DrawnBatches, draw_batches
from bnsharp_cli.io.data.criteria import NamedCriterion, open_criterion
from bnsharp_cli.io.data.library_preprocessing import PreprocessingOverride, choose_preprocessing
from bnsharp_cli.io.data.naming import naming
from bnsharp_cli.io.data.open_data import open_data
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.files.printable_text import kind_and_line
from bnsharp_cli.io.networks.identify import identify
from bnsharp_cli.io.networks.load_weights import load_weights
from bnsharp_cli.io.networks.network_identity import GUESS, NetworkIdentity
from bnsharp_cli.measurement.invariance.copies import restored_scales
from bnsharp_cli.measurement.surface.adapters import CheckedCriterion, adapt
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.norms import NormTreatment
from bnsharp_cli.workflows import torchrun as processes
from bnsharp_cli.workflows.allocator import release_freed_memory
from bnsharp_cli.workflows.device import chosen_device

EMBEDDED = "digits-small-batch"


@dataclass(frozen=True)
class Request:
    """What the user asked for: see ``cli.arguments`` for each entry."""

    checkpoint: Path | None
    key: str | None
    arch: str | None
    arch_option: Sequence[str] | None
    data: str | None
    split: str
    data_root: Path | None
    download: bool
    loss: str | None
    samples: int | None
    batch_size: int
    seed: int
    image_size: int | None
    mean: str | None
    std: str | None
    bn: str
    device: str
    precision: str
    quiet: bool


@dataclass(frozen=True)
class Subject:
    """A checkpoint, ready to be measured."""

    request: Request
    checkpoint: Checkpoint
    identity: NetworkIdentity
    module: nn.Module
    data: str
    preprocessing: Preprocessing
    criterion: NamedCriterion
    batches: DrawnBatches
    surface: LossSurface
    point: Point
    loss: float
    accuracy: float | None

    @property
    def architecture(self) -> str:
        """The constructor of the network."""
        return self.identity.spec

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        return sum(tensor.numel() for tensor in self.point.values())

    def document(self, command: str) -> dict[str, Any]:
        """The part of the JSON document that every command shares."""
        request, batches = self.request, self.batches
        return {
            "schema": "bnsharp/1",
            "command": command,
            "version": __version__,
            "checkpoint": {
                "path": str(self.checkpoint.path),
                "sha256": self.checkpoint.sha256,
                "format": self.checkpoint.format,
                "key": self.checkpoint.key,
                "notes": list(self.checkpoint.notes),
                "architecture": self.architecture,
                "architecture_source": self.identity.source,
                "parameters": self.parameters,
            },
            "data": {
                "spec": self.data,
                "split": request.split,
                "samples": batches.samples,
                "batch_size": batches.batch_size,
                "seed": request.seed,
                "sha256": batches.sha256,
                "preprocessing": self.preprocessing.to_dict(),
            },
            "environment": {
                "torch": torch.__version__,
                "device": str(self.surface.device),
                "dtype": str(self.surface.dtype).removeprefix("torch."),
                "threads": torch.get_num_threads(),
                "world_size": self.surface.processes.count,
            },
            "loss": self.loss,
            "accuracy": self.accuracy,
        }


def embedded_checkpoint(name: str = EMBEDDED) -> Path:
    """A sample checkpoint that travels with the package (beside it in a source checkout).

    Raises:
        UsageError: no such sample.
    """
    package = Path(__file__).resolve().parents[1]
    folders = [package / "sample_checkpoints", package.parent / "sample_checkpoints"]
    for folder in folders:
        if (folder / f"{name}.pt").is_file():
            return folder / f"{name}.pt"
    known = sorted({path.stem for folder in folders for path in folder.glob("*.pt")})
    raise UsageError(f"There is no sample checkpoint '{name}'.", f"Samples: {', '.join(known)}.")


def open_subject(request: Request) -> Subject:
    """Load checkpoint and data, build the network and evaluate it once.

    Raises:
        BnsharpError: whatever does not fit, with its remedy.
    """
    device = chosen_device(request.device)
    checkpoint = load_checkpoint(checkpoint_path(request.checkpoint), request.key)
    module, identity = _network(request, checkpoint)
    checkpoint = replace(checkpoint, notes=(*checkpoint.notes, *load_weights(module, checkpoint)))
    for note in checkpoint.notes:
        notice(request, note)
    spec = _data_spec(request, checkpoint)
    mean, std = map(parse_numbers, (request.mean, request.std), ("--mean", "--std"))
    override = PreprocessingOverride(request.image_size, mean, std)
    preprocessing, origin = choose_preprocessing(checkpoint.metadata, identity, module, override)
    if origin:
        notice(request, origin)
    criterion = open_criterion(request.loss, _entries(checkpoint.metadata.get("training")).get("loss"))
    adapt(module, criterion.tensor_only)
    told = partial(progress, request)
    with naming(spec):
        split = open_data(spec, request.split, request.data_root, request.download, told)
        batches = draw_batches(split, request.samples, request.batch_size, request.seed, preprocessing, progress=told)
    if batches.notice:
        notice(request, batches.notice)
    surface = LossSurface.of(
        module,
        batches.batches,
        CheckedCriterion(criterion.criterion, f"'{criterion.name}'", device),
        batch_statistics=request.bn == "batch",
        dtype=torch.float64 if request.precision == "float64" else torch.float32,
        device=device,
        processes=processes.current(),
    )
    point = surface.point()
    with naming(spec):
        answers = _require_fit(surface, point, batches, criterion)
    folders = len(getattr(split, "classes", ()))
    if folders and criterion.of_classes and answers not in {0, folders}:
        notice(request, f"{folders} class folders for {answers} classes: class i is the i-th folder by name")
    if checkpoint.norm_epsilon:
        scales = restored_scales(surface, point, checkpoint.norm_epsilon)
        surface = surface.with_norms(treatment=NormTreatment(request.bn == "batch", input_scales=scales))
    release_freed_memory()
    loss, accuracy = surface.loss_and_accuracy(point)
    if not math.isfinite(loss):
        raise NotMeasurableError(
            f"The loss ({criterion.name}) is {loss}.", "Check the data, the preprocessing and --loss."
        )
    _announce(request, identity, accuracy)
    return Subject(
        request,
        checkpoint,
        identity,
        module,
        spec,
        preprocessing,
        criterion,
        batches,
        surface,
        point,
        loss,
        accuracy if criterion.of_classes else None,
    )


def notice(request: Request, text: str) -> None:
    """A line for the user on stderr."""
    if not request.quiet:
        typer.echo(f"bnsharp: {text}", err=True)


def progress(request: Request, text: str) -> None:
    """A line on stderr that the next one overwrites; only on a terminal."""
    if not request.quiet and sys.stderr.isatty():
        typer.echo(f"\r\x1b[2K{text}", err=True, nl=False)


def checkpoint_path(given: Path | None) -> Path:
    """The file that an argument means: ``sample:NAME`` is one of the samples, nothing the embedded one."""
    if given is None:
        return embedded_checkpoint()
    prefix, colon, name = str(given).partition(":")
    return embedded_checkpoint(name) if prefix == "sample" and colon else given


def _network(request: Request, checkpoint: Checkpoint) -> tuple[nn.Module, NetworkIdentity]:
    identity = identify(checkpoint, request.arch, parse_options(request.arch_option))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return identity.build(checkpoint), identity


def _announce(request: Request, identity: NetworkIdentity, accuracy: float | None) -> None:
    """Say that the network is a guess, and what speaks for it."""
    if identity.source != GUESS:
        return
    judge = "loss" if accuracy is None else f"accuracy of {accuracy:.2%}"
    for note in identity.notes:
        notice(request, note)
    notice(
        request,
        f"{identity.spec} is a guess from the names and shapes of the weights, in which strides and activations leave "
        f"no trace: let the {judge} decide, and say so with --arch",
    )


def _data_spec(request: Request, checkpoint: Checkpoint) -> str:
    stated = checkpoint.metadata.get("data")
    if request.data is not None:
        return request.data
    if stated == "digits":
        return "digits"
    trained_on = f" (it was trained on '{stated}' data)" if isinstance(stated, str) else ""
    raise UsageError(
        f"{checkpoint.path} needs data to be measured on{trained_on}.",
        "Name it with --data, for example --data folder:DIR or --data npz:FILE.",
    )


def _require_fit(surface: LossSurface, point: Point, batches: DrawnBatches, criterion: NamedCriterion) -> int:
    """Refuse images that the network does not accept and labels that it cannot be compared with.

    Returns:
        How many classes the network answers for; 0 if that cannot be said.
    """
    inputs, labels = (part[:2] for part in surface.batches[0])
    try:
        with torch.no_grad():
            outputs = surface.outputs(point, inputs)
    except UsageError:
        raise
    except Exception as error:  # a network raises whatever it stumbles over
        cause = error.__cause__ or error
        raise DataRefusedError(
            f"The network does not accept images of {tuple(inputs.shape[1:])}: {kind_and_line(cause)}.",
            "Use the data, the preprocessing and the architecture that belong together.",
        ) from error
    if outputs:
        criterion.require_targets(outputs[0], labels, batches.labels)
    return outputs[0].shape[1] if outputs and outputs[0].ndim > 1 else 0


def _entries(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
