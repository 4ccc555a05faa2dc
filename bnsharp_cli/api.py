"""The Python interface: measure a module in memory in three lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bnsharp_cli.errors import UsageError
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks as _found
from bnsharp_cli.measurement.blocks.find_blocks import find_partitions
from bnsharp_cli.measurement.invariance import rescale_test as invariance
from bnsharp_cli.measurement.invariance.invariance_report import InvarianceReport
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.surface.adapters import CheckedCriterion, Nested, adapt, named, takes_tensor
from bnsharp_cli.measurement.surface.execution import Batch, Stream, private_copy, unwrapped
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.outputs import converted

Batches = Iterable[Any]
"""Of (inputs, targets), or of mappings that hold the targets under one of ``LABELS``."""

Criterion = Callable[[Any, Any], Any]
"""From what the network returns and the targets of a batch to their mean loss."""

LABELS = ("labels", "label", "targets", "target")


def measure(
    model: nn.Module,
    batches: Batches,
    criterion: Criterion = functional.cross_entropy,
    name: str = "bn",
    *,
    bn: str = "batch",
    device: torch.device | str | None = None,
    **options: Any,
) -> Measurement:
    """Measure the sharpness of ``model``, which is left exactly as it is.

    Neither the model's mode and device nor gradient modes and autocast around the call make a difference, and torch's
    random state is afterwards what it was.

    Args:
        model: a network; where it is, is where it is measured, unless ``device`` says otherwise.
        batches: a fixed list of (inputs, targets), each kept whole; a loader is read once, into memory. Inputs are a
            tensor, a tuple (arguments of the network) or a mapping (keywords). A batch that is a mapping itself, as
            Hugging Face's are, holds its targets under ``labels``.
        criterion: mean loss of a batch. torch's own are given the network's prediction: its tensor, or what it calls
            ``logits`` or ``out``. Any other function is given all that the network returns. Floating tensors are
            float64 in both.
        name: ``bn`` (Definition 3.1), ``delta-lp``, ``delta-linf`` or ``keskar``.
        bn: ``batch`` for batch statistics (the paper's loss), ``running`` for eval mode.
        device: where to compute.
        **options: of :class:`~bnsharp_cli.measurement.measures.options.MeasureOptions`: delta, power, search, …

    Raises:
        UsageError: an unknown name or option, batches or a criterion that cannot be meant.
        NotMeasurableError: a value that is not finite, or a network that does not take the batches.
    """
    if name not in MEASURES:
        raise UsageError(f"name: expected one of {', '.join(MEASURES)}, found '{name}'.", "Name a measure.")
    resolved = resolved_options(options)
    with _surface(model, batches, criterion, bn, device, resolved) as surface:
        point = surface.point()
        return MEASURES[name](surface, point, _found(surface, point, resolved.partition), resolved)


def rescale_test(
    model: nn.Module,
    batches: Batches,
    criterion: Criterion = functional.cross_entropy,
    *,
    bn: str = "batch",
    tolerance: float | None = None,
    device: torch.device | str | None = None,
    **options: Any,
) -> InvarianceReport:
    """Measure copies of ``model`` that compute the same function; see ``bnsharp rescale-test``.

    Args:
        model: as for :func:`measure`.
        batches: as for :func:`measure`.
        criterion: as for :func:`measure`.
        bn: as for :func:`measure`.
        tolerance: allowed relative deviation; None for the stated rounding floor, never below 1e-9.
        device: as for :func:`measure`.
        **options: as for :func:`measure`; precision defaults to float64 here.

    Raises:
        UsageError: as for :func:`measure`.
        NotMeasurableError: nothing is scale-invariant, or the value is below its rounding floor.
    """
    resolved = resolved_options({"precision": "float64", **options})
    with _surface(model, batches, criterion, bn, device, resolved) as surface:
        point = surface.point()
        blocks, extended = find_partitions(surface, point)
        return invariance.rescale_test(surface, point, blocks, extended, resolved, tolerance=tolerance)


def find_blocks(
    model: nn.Module,
    batches: Batches,
    criterion: Criterion = functional.cross_entropy,
    partition: str = "paper",
) -> Blocks:
    """The scale-invariant rows of ``model``, for :class:`~bnsharp_cli.training.sgds.Sgds`; the model stays as it is.

    Args:
        model: as for :func:`measure`.
        batches: as for :func:`measure`; one is enough.
        criterion: as for :func:`measure`.
        partition: ``paper`` or ``extended``.

    Raises:
        UsageError: batches that cannot be meant.
    """
    with _surface(model, batches, criterion, "batch", None, MeasureOptions.from_flat(partition=partition)) as surface:
        return _found(surface, surface.point(), partition)


def resolved_options(given: Mapping[str, Any]) -> MeasureOptions:
    """Options of the measures by name.

    Raises:
        UsageError: an unknown one, or a value that cannot be meant.
    """
    return MeasureOptions.from_flat(**given)


@contextmanager
def _surface(
    model: nn.Module,
    batches: Batches,
    criterion: Criterion,
    bn: str,
    device: torch.device | str | None,
    options: MeasureOptions,
) -> Iterator[LossSurface]:
    """The surface of a private copy, while nothing around the call has a say in how it is computed."""
    if bn not in {"batch", "running"}:
        raise UsageError(f"bn: expected batch or running, found '{bn}'.", "Name a batch-norm policy.")
    if not callable(criterion):
        raise UsageError(f"criterion: expected a function, found a {type(criterion).__name__}.", "Pass a loss.")
    bare = _bare(model)
    place = torch.device(device) if device is not None else _place(bare)
    with _undisturbed(place):
        module = _copied(bare, place)
        adapt(module, takes_tensor(criterion))
        yield LossSurface.of(
            module,
            batches if isinstance(batches, Stream) else fixed_batches(batches),
            CheckedCriterion(criterion, f"'{named(criterion)}'", place),
            batch_statistics=bn == "batch",
            dtype=torch.float64 if options.precision == "float64" else torch.float32,
            device=place,
        )


def _bare(model: nn.Module) -> nn.Module:
    """The network itself, checked."""
    if not isinstance(model, nn.Module):
        raise UsageError(f"model: expected a torch.nn.Module, found a {type(model).__name__}.", "Pass a network.")
    model = unwrapped(model)
    parameters = list(model.parameters())
    if not parameters or any(parameter.is_meta for parameter in parameters):
        what = "has parameters without values" if parameters else "has no parameters"
        raise UsageError(f"model: {type(model).__name__} {what}.", "Pass a network with weights.")
    return model


def _place(model: nn.Module) -> torch.device:
    """Where its first parameter is; the CPU for devices that have no float64."""
    device = next(model.parameters()).device
    return device if device.type in {"cpu", "cuda"} else torch.device("cpu")


def _copied(model: nn.Module, place: torch.device) -> nn.Module:
    try:
        return private_copy(model, place)
    except Exception as error:  # a module may keep anything, such as a tensor with a graph behind it
        raise UsageError(
            f"The model cannot be copied: {(str(error).splitlines() or [''])[0]}",
            "Detach the tensors that it keeps, or pass the part of it that is the network.",
        ) from error


@contextmanager
def _undisturbed(place: torch.device) -> Iterator[None]:
    """No inference mode, no autocast, no TF32, gradients on; torch's random state is put back."""
    cuda = place.type == "cuda"
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.random.fork_rng(devices=[place] if cuda else []))
        stack.enter_context(torch.autocast(place.type, enabled=False))
        if cuda:
            stack.enter_context(_ieee())
        yield


@contextmanager
def _ieee() -> Iterator[None]:
    """Full float32 in convolutions and products on CUDA."""
    settings = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)  # type: ignore[attr-defined]  # stubs lag behind
    before = [setting.fp32_precision for setting in settings]
    try:
        for setting in settings:
            setting.fp32_precision = "ieee"
        yield
    finally:
        for setting, precision in zip(settings, before, strict=True):
            setting.fp32_precision = precision


def fixed_batches(batches: Batches) -> list[Batch]:
    """All batches, read once.

    Raises:
        UsageError: none, or not pairs of inputs and targets.
    """
    if isinstance(batches, Mapping | Tensor) or not isinstance(batches, Iterable):
        raise UsageError(f"batches: expected a list or a loader, found a {type(batches).__name__}.", _PAIRS)
    fixed = [_pair(batch) for batch in batches]
    if not fixed:
        raise UsageError("batches: expected at least one (inputs, targets) pair, found none.", "Pass a list.")
    return fixed


_PAIRS = "Pass a list of (inputs, targets), such as [(inputs, targets)]."


def _pair(batch: Any) -> Batch:
    if isinstance(batch, Mapping):
        label = next((name for name in LABELS if name in batch), None)
        if label is None:
            names = ", ".join(map(str, batch))
            raise UsageError(f"batches: no targets in {{{names}}}, expected one of {', '.join(LABELS)}.", _PAIRS)
        batch = ({key: value for key, value in batch.items() if key != label}, batch[label])
    if not isinstance(batch, list | tuple) or len(batch) != 2:
        found = f"{len(batch)} entries" if isinstance(batch, list | tuple) else f"a {type(batch).__name__}"
        raise UsageError(f"batches: expected (inputs, targets) in each batch, found {found}.", _PAIRS)
    inputs, targets = (_tensors(part) for part in batch)
    if not inputs.shape or not targets.shape:
        raise UsageError("batches: found a single number, expected a batch of examples.", _PAIRS)
    return inputs, targets


def _tensors(value: Any) -> Tensor:
    """A tensor that autograd may use, or tensors in containers that look like one."""
    if isinstance(value, Nested):
        return cast(Tensor, value)
    if isinstance(value, np.ndarray):
        return torch.as_tensor(value)
    usable = converted(lambda tensor: tensor.clone() if tensor.is_inference() else tensor.detach(), value)
    return usable if isinstance(usable, Tensor) else cast(Tensor, Nested.of(usable))
