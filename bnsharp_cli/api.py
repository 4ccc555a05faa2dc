"""The Python interface: measure a module in memory in three lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, Never, Unpack, overload

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.listeners import ProgressLike, following
from bnsharp_cli.measurement.blocks.blocks import Blocks
from bnsharp_cli.measurement.blocks.find_blocks import find_partitions
from bnsharp_cli.measurement.invariance.invariance_report import InvarianceReport
from bnsharp_cli.measurement.invariance.options import RESCALED_MEASURING, RescaleOptions
from bnsharp_cli.measurement.invariance.rescale_test import measure_copies
from bnsharp_cli.measurement.measures.keywords import MeasureKeywords, RescaleKeywords
from bnsharp_cli.measurement.measures.measure_all import measure_all
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.measurements import Measurements
from bnsharp_cli.measurement.measures.options import BatchNormPolicy, MeasureOptions, Partition
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.measures.selection import EVERY_MEASURE, Selection
from bnsharp_cli.measurement.measures.shared_options import ParameterSelection, require_ample
from bnsharp_cli.measurement.surface.adapters import OutputKey
from bnsharp_cli.measurement.surface.fixed_batches import BatchesLike
from bnsharp_cli.measurement.surface.opened_surface import (
    CriterionLike,
    DeviceLike,
    SurfaceSettings,
    opened_surface,
    require_choice,
)
from bnsharp_cli.measurement.surface.settings import EVERY_PARAMETER


@overload
def measure(  # type: ignore[overload-overlap]  # "all" is a text, and stands for a list
    model: nn.Module,
    batches: BatchesLike,
    criterion: CriterionLike = ...,
    *,
    measure: Literal["all"] | list[str] | tuple[str, ...],
    delta: float | Sequence[float] = ...,
    bn: BatchNormPolicy = ...,
    output: OutputKey | None = ...,
    device: DeviceLike | None = ...,
    progress: ProgressLike = ...,
    **options: Unpack[MeasureKeywords],
) -> Measurements: ...
@overload
def measure(
    model: nn.Module,
    batches: BatchesLike,
    criterion: CriterionLike = ...,
    name: str = ...,
    *,
    measure: str | None = None,
    delta: float = ...,
    bn: BatchNormPolicy = ...,
    output: OutputKey | None = ...,
    device: DeviceLike | None = ...,
    progress: ProgressLike = ...,
    **options: Unpack[MeasureKeywords],
) -> Measurement: ...
@overload
def measure(
    model: nn.Module,
    batches: BatchesLike,
    criterion: CriterionLike = ...,
    name: str = ...,
    *,
    measure: str | None = None,
    delta: Sequence[float],
    bn: BatchNormPolicy = ...,
    output: OutputKey | None = ...,
    device: DeviceLike | None = ...,
    progress: ProgressLike = ...,
    **options: Unpack[MeasureKeywords],
) -> Measurements: ...
def measure(  # noqa: PLR0913  one argument for each choice
    model: nn.Module,
    batches: BatchesLike,
    criterion: CriterionLike = functional.cross_entropy,
    name: str = "bn",
    *,
    measure: str | Sequence[str] | None = None,
    delta: float | Sequence[float] = MeasureOptions.delta,
    bn: BatchNormPolicy = "batch",
    output: OutputKey | None = None,
    device: DeviceLike | None = None,
    progress: ProgressLike = False,
    **options: Unpack[MeasureKeywords],
) -> Measurement | Measurements:
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

    Lists give :class:`Measurements`, which show themselves as a table and have ``plot()`` and ``to_frame()``:

    >>> profile = measure(model, batches, delta=[1e-3, 1e-2, 1e-1])
    >>> [one.details["delta"] for one in profile]
    [0.001, 0.01, 0.1]
    >>> measure(model, batches, measure=["bn", "keskar"])["keskar"].name
    'keskar'

    Args:
        model: a network. It is measured on the device of its first parameter, unless ``device`` names another.
        batches: a fixed list of (inputs, targets); each batch is kept whole. A loader is read once, into memory. Inputs
            are a tensor, a tuple (arguments of the network) or a mapping (keywords). A batch that is itself a mapping,
            as Hugging Face's are, holds its targets under ``labels``.
        criterion: the mean loss of a batch. torch's own are given the network's prediction: its tensor, or its
            ``logits`` or ``out``. Any other function is given all that the network returns. Floating tensors are
            float64 in both. A function that reads ``model`` is copied along with it; parameters of its own are fixed.
        name: ``bn`` (Definition 3.1), or another of those that ``bnsharp measures`` lists, such as ``keskar``.
        measure: names of several measures, in a list, or ``all``: then they are answered together. One name by itself
            is as good as ``name``.
        delta: the radius δ; several in a list or an array of one dimension give a profile.
        bn: ``batch`` for batch statistics (the paper's loss), ``running`` for eval mode.
        output: which of several outputs the loss takes: a key, an attribute or a position. None for the only one, for
            ``logits`` or for ``out``.
        device: the CPU or a CUDA device.
        progress: True shows on standard error how far it is, by tqdm if that is installed; a function is told, as a
            :class:`~bnsharp_cli.measurement.surface.progress.Standing`. The logger ``bnsharp_cli`` gets the same as
            lines of level INFO, now and then.
        **options: of :class:`~bnsharp_cli.measurement.measures.options.MeasureOptions`, and of single search rules and
            measures: power, parameters, search, step_size, …

    Returns:
        One measurement; or all of them, where ``measure`` or ``delta`` is a list or ``measure`` is ``all``.

    Raises:
        UsageError: an argument of another type or out of range, or an unknown option.
        UnfitMeasureError: a measure that does not exist for the network, its loss or the options.
        NotMeasurableError: a value that is not finite, a network that does not take the batches, or a loss that is no
            function of the weights that are handed in.
    """
    selection, single = _selected(name, measure, delta)
    runs = selection.runs(MeasureOptions.from_flat(**options))
    settings = surface_settings(runs[0], bn, output, device)
    with following(progress) as told, opened_surface(model, batches, criterion, settings, told) as surface:
        point = surface.point()
        (blocks,) = find_partitions(surface, point, (runs[0].partition,))
        found = measure_all(surface, point, blocks, selection.measure, runs)
        found = found.each(lambda one: one.noted(surface.conduct.notes))
        return found[0] if single else found


def rescale_test(  # noqa: PLR0913  one argument for each choice
    model: nn.Module,
    batches: BatchesLike,
    criterion: CriterionLike = functional.cross_entropy,
    *,
    bn: BatchNormPolicy = "batch",
    output: OutputKey | None = None,
    tolerance: float | None = None,
    epsilon: Literal["exact", "stored"] = "exact",
    device: DeviceLike | None = None,
    progress: ProgressLike = False,
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
        progress: as for :func:`measure`.
        **options: as for :func:`measure`. Here precision defaults to float64 and ball_samples to 16, and the partition
            is the paper's, which is the one that T_a respects.

    Raises:
        UsageError: as for :func:`measure`, or another partition.
        NotMeasurableError: nothing is scale-invariant, or the value is below its rounding floor.
    """
    resolved = MeasureOptions.from_flat(**{**RESCALED_MEASURING, **options})
    require_ample(resolved.memory)
    if resolved.partition != "paper":
        raise UsageError.of("partition", "paper", resolved.partition, "The test is of T_a, which rescales its blocks.")
    wanted = RescaleOptions(tolerance=tolerance, epsilon=epsilon)
    settings = surface_settings(resolved, bn, output, device)
    with following(progress) as told, opened_surface(model, batches, criterion, settings, told) as surface:
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
    parameters: ParameterSelection = EVERY_PARAMETER,
    output: OutputKey | None = None,
    progress: ProgressLike = False,
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
        parameters: those that are varied, as for :func:`measure`: ``all``, ``trainable`` or globs. The blocks are of
            these alone, and a joint block that loses a member is none.
        output: as for :func:`measure`.
        progress: as for :func:`measure`.
        **unknown: nothing; any other argument is refused as :func:`measure` does.

    Raises:
        UsageError: an argument that is unknown or of another type, or an unknown partition.
        NotMeasurableError: a network that does not take the batches.
    """
    for name, found in dict[str, object](unknown).items():
        raise UsageError.of(name, f"no argument of {find_blocks.__name__}", found, f"Leave {named(name)} out.")
    options = MeasureOptions.from_flat(partition=partition, parameters=parameters)
    settings = surface_settings(options, output=output)
    with following(progress) as told, opened_surface(model, batches, criterion, settings, told) as surface:
        (blocks,) = find_partitions(surface, surface.point(), (options.partition,))
        return blocks


def surface_settings(
    options: MeasureOptions, bn: str = "batch", output: OutputKey | None = None, device: DeviceLike | None = None
) -> SurfaceSettings:
    """How the loss is computed, from arguments of :func:`measure`."""
    return SurfaceSettings(bn, output, device, options.precision, options.layout, options.parameters, options.memory)


def _selected(name: Any, measure: Any, delta: Any) -> tuple[Selection, bool]:
    """What is to be measured at which radii, and whether one measurement was asked for and not a list.

    Raises:
        UsageError: an unknown measure, two ways of naming it, or what is no radius.
    """
    if measure is None:
        require_choice("name", name, tuple(MEASURES))
    elif name != "bn":
        reason = f"{named('name')} and {named('measure')} both say what to measure."
        remedy = f"Give {named('measure')} alone."
        raise UsageError(reason, remedy, argument="measure", expected="one of the two", found=measure)
    asked = name if measure is None else measure
    names, radii = _several(asked), _several(delta)
    if radii is None:
        MeasureOptions(delta=delta)  # says what is no radius by itself
    selection = Selection((asked,) if names is None else names, (delta,) if radii is None else radii)
    return selection, names is None and radii is None and asked != EVERY_MEASURE


def _several(given: Any) -> tuple[Any, ...] | None:
    """The entries of a list, a tuple, a range or an array of one dimension; None for anything else."""
    if isinstance(given, list | tuple | range):
        return tuple(given)
    if isinstance(given, Tensor | np.ndarray) and given.ndim == 1:
        return tuple(given.tolist())
    return None
