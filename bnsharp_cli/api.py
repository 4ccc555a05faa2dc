"""The Python interface: measure a module in memory in three lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, Never, Unpack

import torch
from torch import nn
from torch.nn import functional
from torch.nn.parameter import is_lazy

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.blocks.find_blocks import find_partitions
from bnsharp_cli.measurement.invariance.invariance_report import InvarianceReport
from bnsharp_cli.measurement.invariance.options import RESCALED_MEASURING, RescaleOptions
from bnsharp_cli.measurement.invariance.rescale_test import measure_copies
from bnsharp_cli.measurement.measures.keywords import MeasureKeywords, RescaleKeywords
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.options import BatchNormPolicy, MeasureOptions, Partition
from bnsharp_cli.measurement.measures.registry import MEASURES
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
from bnsharp_cli.measurement.surface.data_stream import Stream
from bnsharp_cli.measurement.surface.examination import examined
from bnsharp_cli.measurement.surface.fixed_batches import BatchesLike, fixed_batches
from bnsharp_cli.measurement.surface.foreign_errors import OUT_OF_MEMORY, kind_and_first_line, told_of_memory
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.module_pool import private_pair, unwrapped

CriterionLike = Callable[[Any, Any], Any]
"""A function from what the network returns and the targets of a batch to their mean loss."""

DeviceLike = torch.device | str

_DEVICES = ("cpu", "cuda")
"""Where there is float64."""


def measure(
    model: nn.Module,
    batches: BatchesLike,
    criterion: CriterionLike = functional.cross_entropy,
    name: str = "bn",
    *,
    bn: BatchNormPolicy = "batch",
    output: OutputKey | None = None,
    device: DeviceLike | None = None,
    **options: Unpack[MeasureKeywords],
) -> Measurement:
    """Measure the sharpness of ``model``, which is left exactly as it is.

    The model's mode and device, gradient modes and autocast around the call make no difference. torch's random state
    is the same before and after the call.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Tanh())
    >>> batches = [(torch.randn(32, 4), torch.randint(8, (32,))) for _ in range(2)]
    >>> result = measure(model, batches, delta=1e-2)
    >>> result.status.value
    'converged'
    >>> 0.99 < result.details["limit_ratio"] < 1.01
    True

    Args:
        model: a network. It is measured on the device of its first parameter, unless ``device`` names another.
        batches: a fixed list of (inputs, targets); each batch is kept whole. A loader is read once, into memory. Inputs
            are a tensor, a tuple (arguments of the network) or a mapping (keywords). A batch that is itself a mapping,
            as Hugging Face's are, holds its targets under ``labels``.
        criterion: the mean loss of a batch. torch's own are given the network's prediction: its tensor, or its
            ``logits`` or ``out``. Any other function is given all that the network returns. Floating tensors are
            float64 in both. A function that reads ``model`` is copied along with it; parameters of its own are fixed.
        name: ``bn`` (Definition 3.1), ``delta-lp``, ``delta-linf`` or ``keskar``.
        bn: ``batch`` for batch statistics (the paper's loss), ``running`` for eval mode.
        output: which of several outputs the loss takes: a key, an attribute or a position. None for the only one, for
            ``logits`` or for ``out``.
        device: the CPU or a CUDA device.
        **options: of :class:`~bnsharp_cli.measurement.measures.options.MeasureOptions`, and of single search rules and
            measures: delta, power, search, step_size, …

    Raises:
        UsageError: an argument of another type or out of range, or an unknown option.
        NotMeasurableError: a value that is not finite, a network that does not take the batches, or a loss that is no
            function of the weights that are handed in.
    """
    _require_choice("name", name, tuple(MEASURES))
    resolved = MeasureOptions.from_flat(**options)
    with _surface(model, batches, criterion, bn, device, resolved, output) as surface:
        point = surface.point()
        (blocks,) = find_partitions(surface, point, (resolved.partition,))
        return MEASURES[name](surface, point, blocks, resolved).noted(surface.conduct.notes)


def rescale_test(
    model: nn.Module,
    batches: BatchesLike,
    criterion: CriterionLike = functional.cross_entropy,
    *,
    bn: BatchNormPolicy = "batch",
    output: OutputKey | None = None,
    tolerance: float | None = None,
    epsilon: Literal["exact", "stored"] = "exact",
    device: DeviceLike | None = None,
    **options: Unpack[RescaleKeywords],
) -> InvarianceReport:
    """Measure copies of ``model`` that compute the same function, and judge whether BN-Sharpness stays the same.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Tanh())
    >>> report = rescale_test(model, [(torch.randn(32, 4), torch.randint(8, (32,)))], ball_samples=2)
    >>> report.invariant
    True
    >>> len(report.copies)
    11

    Args:
        model: as for :func:`measure`.
        batches: as for :func:`measure`.
        criterion: as for :func:`measure`.
        bn: as for :func:`measure`.
        output: as for :func:`measure`.
        tolerance: allowed relative deviation, positive; None for the stated rounding floor, never below 1e-9.
        epsilon: ``exact`` rescales the ε of the norms with the weights, channel by channel, so that T_a is exact;
            ``stored`` measures the copies with the ε of the network.
        device: as for :func:`measure`.
        **options: as for :func:`measure`. Here precision defaults to float64 and ball_samples to 16, and the partition
            is the paper's, which is the one that T_a respects.

    Raises:
        UsageError: as for :func:`measure`, or another partition.
        NotMeasurableError: nothing is scale-invariant, or the value is below its rounding floor.
    """
    resolved = MeasureOptions.from_flat(**{**RESCALED_MEASURING, **options})
    if resolved.partition != "paper":
        raise UsageError.of("partition", "paper", resolved.partition, "The test is of T_a, which rescales its blocks.")
    wanted = RescaleOptions(tolerance=tolerance, epsilon=epsilon)
    with _surface(model, batches, criterion, bn, device, resolved, output) as surface:
        point = surface.point()
        blocks, extended = find_partitions(surface, point, ("paper", "extended"))
        stored = wanted.epsilon == "stored"
        report = measure_copies(
            surface, point, blocks, extended, resolved, tolerance=wanted.tolerance, stored_epsilon=stored
        )
        return replace(report, notes=surface.conduct.notes)


def find_blocks(
    model: nn.Module,
    batches: BatchesLike,
    criterion: CriterionLike = functional.cross_entropy,
    partition: Partition = "paper",
    *,
    output: OutputKey | None = None,
    **unknown: Never,
) -> Blocks:
    """The scale-invariant rows of ``model``, for :class:`~bnsharp_cli.training.sgds.Sgds`; the model stays as it is.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Tanh())
    >>> blocks = find_blocks(model, [(torch.randn(32, 4), torch.randint(8, (32,)))])
    >>> blocks.invariant
    8
    >>> [(tensor.name, tensor.invariant) for tensor in blocks.tensors]
    [('0.weight', 8), ('0.bias', 0), ('1.weight', 0), ('1.bias', 0)]

    Args:
        model: as for :func:`measure`.
        batches: as for :func:`measure`; one is enough.
        criterion: as for :func:`measure`.
        partition: ``paper`` or ``extended``.
        output: as for :func:`measure`.
        **unknown: nothing; any other argument is refused as :func:`measure` does.

    Raises:
        UsageError: an argument that is unknown or of another type, or an unknown partition.
        NotMeasurableError: a network that does not take the batches.
    """
    for name, found in dict[str, object](unknown).items():
        raise UsageError.of(name, f"no argument of {find_blocks.__name__}", found, f"Leave {named(name)} out.")
    options = MeasureOptions.from_flat(partition=partition)
    with _surface(model, batches, criterion, "batch", None, options, output) as surface:
        (blocks,) = find_partitions(surface, surface.point(), (options.partition,))
        return blocks


@contextmanager
def _surface(
    model: nn.Module,
    batches: BatchesLike,
    criterion: CriterionLike,
    bn: str,
    device: DeviceLike | None,
    options: MeasureOptions,
    output: OutputKey | None,
) -> Iterator[LossSurface]:
    """The surface of a private copy, while nothing around the call has a say in how it is computed."""
    _require_choice("bn", bn, ("batch", "running"))
    require_criterion(criterion)
    bare = _bare(model)
    place = _default_device(bare) if device is None else _usable_device(device)
    with undisturbed(place), told_of_memory():
        module, loss = _copied(bare, criterion, place)
        adapt(module, takes_tensor(criterion), usable_output(output))
        surface = LossSurface.of(
            module,
            batches if isinstance(batches, Stream) else fixed_batches(batches),
            CheckedCriterion(loss, f"'{criterion_name(criterion)}'", place, own=loss is not criterion),
            batch_statistics=bn == "batch",
            dtype=torch.float64 if options.precision == "float64" else torch.float32,
            device=place,
        )
        yield examined(surface)


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
    if isinstance(model, torch.jit.ScriptModule):
        raise UsageError.of_type("model", "a network of Python code", model, "Pass what torch.jit compiled.")
    if not parameters or any(parameter.is_meta or is_lazy(parameter) for parameter in parameters):
        what = "has parameters without values" if parameters else "has no parameters"
        reason = f"{named('model')}: {type(model).__name__} {what}."
        raise UsageError(reason, "Pass a network with weights.", argument="model", expected="weights", found=model)
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


def _copied(model: nn.Module, criterion: CriterionLike, place: torch.device) -> tuple[nn.Module, CriterionLike]:
    try:
        return private_pair(model, criterion, place)
    except OUT_OF_MEMORY:
        raise
    except Exception as error:  # a module may keep anything, such as a tensor with a graph behind it
        raise UsageError(
            f"The model cannot be copied: {(str(error).splitlines() or [''])[0]}",
            "Detach the tensors that it keeps, or pass the part of it that is the network.",
            argument="model",
            expected="a network that can be copied",
        ) from error


def _require_choice(argument: str, found: Any, choices: tuple[str, ...]) -> None:
    if not isinstance(found, str) or found not in choices:
        words = " or ".join(choices) if len(choices) == 2 else f"one of {', '.join(choices)}"
        raise UsageError.of(argument, words, found, f"For example {choices[0]}.")
