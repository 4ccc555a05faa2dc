"""What can be said of a checkpoint without data: its network, its norms, and its blocks on random inputs."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bnsharp_cli import __version__
from bnsharp_cli.errors import NotMeasurableError, UsageError, named
from bnsharp_cli.io.checkpoints.checkpoint import opened_checkpoint
from bnsharp_cli.io.checkpoints.samples import checkpoint_path
from bnsharp_cli.io.data.library_preprocessing import (
    choose_preprocessing,
    without_unfollowed,
)
from bnsharp_cli.io.data.preprocessing_override import PreprocessingOverride
from bnsharp_cli.io.files.printable_text import one_line
from bnsharp_cli.io.networks.identify import identify
from bnsharp_cli.io.networks.known_networks import text_head
from bnsharp_cli.io.networks.loaded_network import fitting_network, loaded_network
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.norms import NormCall, NormInterception, NormTreatment
from bnsharp_cli.measurement.surface.progress import Progress
from bnsharp_cli.report.inspection import inspection_entries
from bnsharp_cli.report.inspection_record import InspectedNetwork, Inspection, Norms
from bnsharp_cli.workflows.inspection_options import InspectionOptions
from bnsharp_cli.workflows.measured_network import Spelling
from bnsharp_cli.workflows.options import CheckpointSource
from bnsharp_cli.workflows.random_texts import random_texts
from bnsharp_cli.workflows.reporter import SILENT, Reporter

_SIZES = (32, 64, 28, 8, 16, 48, 96, 128, 160, 192, 224, 240, 256, 288, 299, 320, 384, 448, 512)
_LENGTHS = (128, 1024, 16384)
_LARGER = 4
_SAMPLES, _FEW_SAMPLES = 8, 2


@dataclass(frozen=True)
class InspectedCheckpoint:
    """The inspection of one file.

    Attributes:
        inspection: what was found.
        options: how the blocks were looked for.
        seconds: how long it took, in seconds.
    """

    inspection: Inspection
    options: InspectionOptions
    seconds: float

    def document(self, spelling: Spelling = str) -> dict[str, Any]:
        """Plain containers, in the JSON schema ``bnsharp/1``; sentences in it name arguments by ``spelling``."""
        options = self.options
        return {
            "schema": "bnsharp/1",
            "command": "inspect",
            "version": __version__,
            **inspection_entries(self.inspection, spelling),
            "options": {"partition": options.partition, "seed": options.seed, "image_size": options.image_size},
            "cost": {"seconds": self.seconds},
        }


def inspect_file(
    checkpoint: Path | None,
    source: CheckpointSource | None = None,
    options: InspectionOptions | None = None,
    *,
    reporter: Reporter = SILENT,
) -> InspectedCheckpoint:
    """Read a checkpoint and find out all that it tells without data. Nothing in the file is executed.

    Args:
        checkpoint: a file or ``sample:NAME``; None for the embedded sample.
        source: which of its weights are taken, and which network they belong to.
        options: how the blocks are looked for.
        reporter: told how far the search for blocks is.

    Raises:
        BnsharpError: what cannot be opened, with its remedy.
    """
    began = time.monotonic()
    source, options = source or CheckpointSource(), options or InspectionOptions()
    inspection = _inspected(checkpoint_path(checkpoint), source, options, reporter.progress)
    return InspectedCheckpoint(inspection, options, time.monotonic() - began)


def _inspected(path: Path, source: CheckpointSource, options: InspectionOptions, progress: Progress) -> Inspection:
    module = None
    with opened_checkpoint(path, source.key) as opened:
        identity = identify(opened.outline, source.arch, dict(source.arch_option or {}))
        if identity.spec:
            module = fitting_network(identity, opened.outline, options.seed)
        checkpoint = opened.read()
    notes = [*checkpoint.notes, *identity.notes, *oddities(checkpoint.state_dict)]
    if not identity.spec:
        return Inspection(checkpoint, identity, None, None, tuple(notes))
    module, remarks = loaded_network(identity, checkpoint, module, options.seed)
    head = text_head(identity.spec, checkpoint)
    if head is not None:
        notes += remarks
        return _of_texts(
            Inspection(checkpoint, identity, None, None, tuple(notes), head.words), module, options, progress
        )
    metadata, unfollowed = without_unfollowed(checkpoint.metadata)
    preprocessing, origin = choose_preprocessing(metadata, identity, module, PreprocessingOverride())
    notes += [*remarks, *filter(None, (unfollowed, origin))]
    size = options.image_size
    shape = input_shape(module, size or preprocessing.image_size, only=size is not None)
    if shape is None:
        option = named("image_size")
        notes.append(f"no random inputs that the network accepts were found: no blocks; {option} may help")
        return Inspection(checkpoint, identity, preprocessing, None, tuple(notes))
    images = torch.randn(_samples(module), *shape, generator=torch.Generator().manual_seed(options.seed))
    network = _dissect(module, images, options, progress)
    return Inspection(checkpoint, identity, preprocessing, network, tuple(notes))


def _of_texts(inspection: Inspection, module: nn.Module, options: InspectionOptions, progress: Progress) -> Inspection:
    """The inspection with the blocks of a network of texts, found on random tokens.

    Raises:
        UsageError: a size of images is given.
    """
    if options.image_size is not None:
        reason = f"{named('image_size')}: the network takes texts."
        raise UsageError(reason, "Leave it out.", argument="image_size", expected="none", found=options.image_size)
    try:
        texts = random_texts(module.config, _samples(module), options.seed)
        return replace(inspection, anatomy=_dissect(module, texts, options, progress))
    except NotMeasurableError as error:
        note = f"the network accepts no random texts, so there are no blocks: {error.reason}"
        return replace(inspection, notes=(*inspection.notes, note))


def input_shape(module: nn.Module, size: int | None = None, *, only: bool = False) -> tuple[int, ...] | None:
    """The shape of one input that the network accepts, by trying on the meta device; None if none is found.

    Small images are preferred, but none so small that a norm sees a single position where it would see more in a larger
    one: there a depthwise convolution shrinks to a factor, which the norm takes away.

    Args:
        module: a network of images, sequences or vectors, by its first layer.
        size: an image size that is tried too.
        only: no other is tried.

    Raises:
        UsageError: ``only``, and the network does not accept it.
    """
    accepted = None
    for shape in _shapes(module, size, only):
        positions = _positions(module, shape)
        if positions is None:
            continue
        larger = _positions(module, (shape[0], *(_LARGER * side for side in shape[1:]))) if len(shape) > 1 else None
        if only or not any(here == 1 < there for here, there in zip(positions, larger or (), strict=False)):
            return shape
        accepted = accepted or shape
    if only:
        raise UsageError(
            f"{named('image_size')}: the network does not accept {size} × {size}.",
            "Try another, or none.",
            argument="image_size",
            expected="a size that the network accepts",
            found=size,
        )
    return accepted


def oddities(tensors: Mapping[str, Tensor]) -> Iterator[str]:
    """What is unusual about some weights, though they can be measured, a line each."""
    for name, tensor in tensors.items():
        if tensor.ndim > 1 and len(tensor) > 1 and tensor.is_floating_point() and tensor.numel():
            zero = int((tensor.flatten(1) == 0).all(dim=1).sum())
            if zero:
                yield f"{one_line(name)}: {zero:,} of {len(tensor):,} rows are zero"
        elif name.endswith("running_var") and bool((tensor == 0).any()):
            yield f"{one_line(name)}: {int((tensor == 0).sum()):,} of {tensor.numel():,} variances are zero"


def _shapes(module: nn.Module, size: int | None, only: bool) -> Iterator[tuple[int, ...]]:
    layers = (part for part in module.modules() if isinstance(part, nn.Conv2d | nn.Conv1d | nn.Linear))
    first = next(layers, None)
    if isinstance(first, nn.Conv1d):
        yield from ((first.in_channels, length) for length in _LENGTHS)
    elif isinstance(first, nn.Linear) and not only:
        yield (first.in_features,)
    channels = first.in_channels if isinstance(first, nn.Conv2d) else 3
    sizes = [size] if only and size else [*_SIZES, *([size] if size else [])]
    yield from ((channels, side, side) for side in sizes)


def _positions(module: nn.Module, shape: tuple[int, ...]) -> list[int] | None:
    """How many positions each norm sees in an input of this shape; None if the network does not accept it."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    outline = {name: tensor.detach().to("meta") for name, tensor in tensors.items()}
    training, seen = module.training, []

    def observe(_: int, call: NormCall) -> None:
        seen.append(math.prod(call.arguments["input"].shape[2:]))

    try:
        with torch.no_grad(), torch.device("meta"), NormInterception(NormTreatment(), observe):
            functional_call(module.eval(), outline, (torch.empty(2, *shape),))
    except Exception:  # a network raises whatever it stumbles over
        return None
    finally:
        module.train(training)
    return seen


def _samples(module: nn.Module) -> int:
    """How many random inputs it takes to find blocks: batch norms need some."""
    has_batch_norm = any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())
    return _SAMPLES if has_batch_norm else _FEW_SAMPLES


def _dissect(module: nn.Module, inputs: Tensor, options: InspectionOptions, progress: Progress) -> InspectedNetwork:
    targets = torch.zeros(len(inputs), dtype=torch.int64)
    surface = replace(LossSurface.of(module, [(inputs, targets)]), progress=progress)
    point = surface.point()
    blocks = find_blocks(surface, point, options.partition, options.seed)
    return InspectedNetwork(module, point, blocks, _norms(surface, point, inputs), tuple(inputs.shape))


def _norms(surface: LossSurface, point: Mapping[str, Tensor], inputs: Tensor) -> tuple[Norms, ...]:
    calls: list[NormCall] = []
    with torch.no_grad():
        surface.outputs(dict(point), inputs, lambda _, call: calls.append(call))
    owners: dict[tuple[str, float | None], dict[str, None]] = {}
    for number, call in enumerate(calls):
        kind = (call.kind, call.arguments.get("eps"))
        owners.setdefault(kind, {})[call.owner or f"({number})"] = None
    return tuple(Norms(kind, epsilon, tuple(names)) for (kind, epsilon), names in owners.items())
