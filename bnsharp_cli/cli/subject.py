"""What a command measures: a checkpoint, its network and its batches, opened and checked."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import typer
from torch import nn

from bnsharp_cli import __version__
from bnsharp_cli.cli import processes
from bnsharp_cli.cli.arguments import parse_options
from bnsharp_cli.core.allocator import release_freed_memory
from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import DataRefusedError, NotMeasurableError, UsageError
from bnsharp_cli.io.architecture import build_architecture
from bnsharp_cli.io.checkpoint import Checkpoint, fit, load_checkpoint
from bnsharp_cli.io.criteria import Loss, open_loss
from bnsharp_cli.io.data import Batches, draw_batches, naming, open_data
from bnsharp_cli.io.preprocessing import Preprocessing
from bnsharp_cli.io.text import kind_and_line
from bnsharp_cli.measurement.adapters import CheckedCriterion, adapt
from bnsharp_cli.measurement.copies import restored_scales
from bnsharp_cli.measurement.norms import NormTreatment
from bnsharp_cli.measurement.surface import LossSurface

EMBEDDED = "digits-small-batch"


@dataclass(frozen=True)
class Request:
    """What the user asked for: see ``cli.arguments`` for each entry."""

    checkpoint: Path | None
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
    bn: str
    device: str
    precision: str
    quiet: bool


@dataclass(frozen=True)
class Subject:
    """A checkpoint, ready to be measured."""

    request: Request
    checkpoint: Checkpoint
    architecture: str
    module: nn.Module
    data: str
    preprocessing: Preprocessing
    criterion: Loss
    batches: Batches
    surface: LossSurface
    point: Point
    loss: float
    accuracy: float | None

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
                "architecture": self.architecture,
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
    device = _device(request.device)
    checkpoint = load_checkpoint(_path(request.checkpoint))
    module, architecture = _network(request, checkpoint)
    spec = _data_spec(request, checkpoint)
    preprocessing = Preprocessing.from_dict(_entries(checkpoint.metadata.get("preprocessing")))
    criterion = open_loss(request.loss, _entries(checkpoint.metadata.get("training")).get("loss"))
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
    return Subject(
        request,
        checkpoint,
        architecture,
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


def _path(given: Path | None) -> Path:
    if given is None:
        return embedded_checkpoint()
    prefix, colon, name = str(given).partition(":")
    return embedded_checkpoint(name) if prefix == "sample" and colon else given


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in {"cpu", "cuda"}:
        raise UsageError(f"--device: expected auto, cpu or cuda, found '{name}'.", "Name a device.")
    return device if device.type == "cpu" else _gpu(device)


def _gpu(device: torch.device) -> torch.device:
    """One GPU, the process's own where several processes share a machine and none is named."""
    index = processes.local_rank() if device.index is None else device.index
    if index >= torch.cuda.device_count():
        raise UsageError(f"--device: torch sees {torch.cuda.device_count()} CUDA devices here.", "Use --device cpu.")
    torch.cuda.set_device(index)
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]  # torch's stubs lag behind
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    return torch.device("cuda", index)


def _network(request: Request, checkpoint: Checkpoint) -> tuple[nn.Module, str]:
    stated = checkpoint.metadata.get("architecture")
    spec = request.arch or (stated if isinstance(stated, str) else None)
    if spec is None:
        raise UsageError(
            f"{checkpoint.path} does not say which network its weights belong to.",
            "Name it with --arch, for example --arch torchvision:resnet18.",
        )
    options = {} if request.arch else _entries(checkpoint.metadata.get("architecture_options"))
    options = {**options, **parse_options(request.arch_option)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = build_architecture(spec, options, checkpoint.state_dict, trusted=request.arch is not None)
    fit(module, checkpoint)
    return module, spec


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


def _require_fit(surface: LossSurface, point: Point, batches: Batches, criterion: Loss) -> int:
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
