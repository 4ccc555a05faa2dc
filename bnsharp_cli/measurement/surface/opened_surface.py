"""The loss surface of a network that is in memory, computed on a private copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from bnsharp_cli.errors import UsageError, named, shown
from bnsharp_cli.measurement.surface.adapters import (
    CheckedCriterion,
    OutputKey,
    adapt,
    criterion_name,
    require_criterion,
    takes_tensor,
    usable_output,
)
from bnsharp_cli.measurement.surface.arithmetic import undisturbed
from bnsharp_cli.measurement.surface.caches import return_no_cache
from bnsharp_cli.measurement.surface.data_stream import Batch, Stream
from bnsharp_cli.measurement.surface.examination import examined, varied_over
from bnsharp_cli.measurement.surface.fixed_batches import BatchesLike, fixed_batches
from bnsharp_cli.measurement.surface.foreign_errors import OUT_OF_MEMORY, kind_and_first_line, told_of_memory
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.module_pool import NOTHING, private_pair, unwrapped
from bnsharp_cli.measurement.surface.parameter_choice import choose_parameters
from bnsharp_cli.measurement.surface.progress import SILENT_PROGRESS, Progress
from bnsharp_cli.measurement.surface.row_surface import RowSurface
from bnsharp_cli.measurement.surface.settings import SMALL_MEMORY, LayoutSetting, MemorySetting
from bnsharp_cli.measurement.surface.shared_memory import require_unshared
from bnsharp_cli.measurement.surface.whole_network import require_one_device, require_whole

CriterionLike = Callable[[Any, Any], Any]
"""A function from what the network returns and the targets of a batch to their mean loss."""

DeviceLike = torch.device | str

_DEVICES = ("cpu", "cuda")
"""Where there is float64."""


@dataclass(frozen=True)
class SurfaceSettings:
    """How the loss of a network in memory is computed.

    Attributes:
        bn: ``batch`` or ``running`` statistics.
        output: which of several outputs the criterion takes, or None.
        device: where to compute; None for the device of the first parameter.
        precision: ``float64``, or anything else for float32.
        layout: the memory layout of convolutions on the CPU.
        parameters: which of them are varied; see :func:`choose_parameters`.
        memory: ``small`` for a surface that holds no second copy of the weights.
    """

    bn: str
    output: OutputKey | None
    device: DeviceLike | None
    precision: str
    layout: LayoutSetting
    parameters: Sequence[str]
    memory: MemorySetting = "ample"


@contextmanager
def opened_surface(
    model: nn.Module,
    batches: BatchesLike,
    criterion: CriterionLike,
    settings: SurfaceSettings,
    progress: Progress = SILENT_PROGRESS,
) -> Iterator[LossSurface]:
    """The surface of a private copy, while nothing around the call has a say in how it is computed.

    Raises:
        UsageError: a model, batches, a criterion or settings that are not usable.
        NotMeasurableError: the network is not here as a whole; it and the loss do not run, or are no function of the
            weights that are handed in.
    """
    require_choice("bn", settings.bn, ("batch", "running"))
    require_criterion(criterion)
    bare = _bare(model)
    choice = choose_parameters(bare, settings.parameters)
    place = _default_device(bare) if settings.device is None else _usable_device(settings.device)
    with undisturbed(place), told_of_memory():
        given = batches if isinstance(batches, Stream) else fixed_batches(batches)
        surface_with = partial(_surface, bare, criterion, given, settings, place)
        require_unshared(bare, criterion, surface_with)
        surface = replace(surface_with(), progress=progress)
        yield varied_over(examined(surface), choice)


def _surface(
    bare: nn.Module,
    criterion: CriterionLike,
    batches: Sequence[Batch],
    settings: SurfaceSettings,
    place: torch.device,
    exchange: Mapping[int, Any] = NOTHING,
) -> LossSurface:
    """The surface of a private copy, that takes some objects instead of others."""
    module, loss = _copied(bare, criterion, place, exchange)
    return_no_cache(module)
    adapt(module, takes_tensor(criterion), usable_output(settings.output))
    return surface_kind(settings.memory).of(
        module,
        batches,
        CheckedCriterion(loss, f"'{criterion_name(criterion)}'", place, own=loss is not criterion),
        batch_statistics=settings.bn == "batch",
        dtype=arithmetic(settings.precision),
        device=place,
        layout=settings.layout,
    )


def _bare(model: nn.Module) -> nn.Module:
    """The network itself, checked."""
    if not isinstance(model, nn.Module):
        raise UsageError.of_type("model", "a torch.nn.Module", model, "Pass a network.")
    try:
        model = unwrapped(model)
        parameters = list(model.parameters())
    except Exception as error:  # a user's module answers as it likes
        found = kind_and_first_line(error)
        raise UsageError(
            f"{named('model')}: its parameters cannot be listed: {found}",
            "Mend the network.",
            argument="model",
            expected="a torch.nn.Module",
            found=found,
        ) from error
    require_whole(model)
    require_one_device(model)
    if isinstance(model, torch.jit.ScriptModule):
        raise UsageError.of_type("model", "a network of Python code", model, "Pass what torch.jit compiled.")
    if not parameters or any(parameter.is_meta or is_lazy(parameter) for parameter in parameters):
        what = "has parameters without values" if parameters else "has no parameters"
        reason = f"{named('model')}: {type(model).__name__} {what}."
        raise UsageError(reason, "Pass a network with weights.", argument="model", expected="weights", found=model)
    sparse = next((name for name, tensor in model.named_parameters() if tensor.layout is not torch.strided), None)
    if sparse is not None:
        reason = f"{named('model')}: expected dense parameters, found that {shown(sparse)} is sparse."
        remedy = "Keep it dense: torch.nn.Parameter(weight.to_dense())."
        raise UsageError(reason, remedy, argument="model", expected="dense parameters", found=sparse)
    return model


def _default_device(model: nn.Module) -> torch.device:
    """The device of its first parameter, or the CPU if that device has no float64."""
    device = next(model.parameters()).device
    return device if device.type in _DEVICES else torch.device("cpu")


def _usable_device(device: Any) -> torch.device:
    """The device that the caller names.

    Raises:
        UsageError: it is no device, has no float64, or is not there.
    """
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError, ValueError):  # torch raises any of these for what is no device
        found = None
    if found is None or isinstance(device, int) or found.type not in _DEVICES:
        raise UsageError.of("device", "cpu or a CUDA device", device, "For example cuda.")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        many = torch.cuda.device_count()
        raise UsageError.of("device", "a device of this machine", device, f"torch finds {many} CUDA devices.")
    return found


def _copied(
    model: nn.Module, criterion: CriterionLike, place: torch.device, exchange: Mapping[int, Any]
) -> tuple[nn.Module, CriterionLike]:
    try:
        return private_pair(model, criterion, place, exchange)
    except OUT_OF_MEMORY:
        raise
    except Exception as error:  # a module may keep anything, such as a tensor with a graph behind it
        raise UsageError(
            f"The model cannot be copied: {(str(error).splitlines() or [''])[0]}",
            "Detach the tensors that it keeps, or pass the part of it that is the network.",
            argument="model",
            expected="a network that can be copied",
        ) from error


def surface_kind(memory: MemorySetting) -> type[LossSurface]:
    """The class of the surface that a setting of the memory asks for."""
    return RowSurface if memory == SMALL_MEMORY else LossSurface


def arithmetic(precision: str) -> torch.dtype:
    """In which the network computes: float32 for ``auto``."""
    return {"float64": torch.float64, "bfloat16": torch.bfloat16}.get(precision, torch.float32)


def require_choice(argument: str, found: Any, choices: tuple[str, ...]) -> None:
    """Refuse what is none of the words.

    Raises:
        UsageError: it is not.
    """
    if not isinstance(found, str) or found not in choices:
        words = " or ".join(choices) if len(choices) == 2 else f"one of {', '.join(choices)}"
        raise UsageError.of(argument, words, found, f"For example {choices[0]}.")
