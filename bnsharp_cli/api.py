"""The Python interface: measure a module in memory in three lines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bnsharp_cli.errors import UsageError
from bnsharp_cli.measurement import invariance
from bnsharp_cli.measurement.find_blocks import find_blocks, find_partitions
from bnsharp_cli.measurement.invariance_report import InvarianceReport
from bnsharp_cli.measurement.measurement import Measurement
from bnsharp_cli.measurement.measures import MEASURES
from bnsharp_cli.measurement.options import MeasureOptions
from bnsharp_cli.measurement.surface import Criterion, LossSurface

Batches = Iterable[tuple[Tensor, Tensor]]


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

    Args:
        model: a network; where it is, is where it is measured, unless ``device`` says otherwise.
        batches: a fixed list of (inputs, targets), each kept whole; a loader is read once.
        criterion: mean loss of a batch from outputs (float64) and targets.
        name: ``bn`` (Definition 3.1), ``delta-lp``, ``delta-linf`` or ``keskar``.
        bn: ``batch`` for batch statistics (the paper's loss), ``running`` for eval mode.
        device: where to compute.
        **options: of :class:`~bnsharp_cli.measurement.options.MeasureOptions`: delta, power, search, …

    Raises:
        UsageError: an unknown name or option.
        NotMeasurableError: a value that is not finite.
    """
    if name not in MEASURES:
        raise UsageError(f"name: expected one of {', '.join(MEASURES)}, found '{name}'.", "Name a measure.")
    resolved = MeasureOptions(**options)
    surface = _surface(model, batches, criterion, bn, device, resolved)
    point = surface.point()
    return MEASURES[name](surface, point, find_blocks(surface, point, resolved.partition), resolved)


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
        NotMeasurableError: nothing is scale-invariant, or the value is below its rounding floor.
    """
    resolved = MeasureOptions(**{"precision": "float64", **options})
    surface = _surface(model, batches, criterion, bn, device, resolved)
    point = surface.point()
    blocks, extended = find_partitions(surface, point)
    return invariance.rescale_test(surface, point, blocks, extended, resolved, tolerance=tolerance)


def _surface(
    model: nn.Module,
    batches: Batches,
    criterion: Criterion,
    bn: str,
    device: torch.device | str | None,
    options: MeasureOptions,
) -> LossSurface:
    if bn not in {"batch", "running"}:
        raise UsageError(f"bn: expected batch or running, found '{bn}'.", "Name a batch-norm policy.")
    fixed = list(batches)
    if not fixed:
        raise UsageError("batches: expected at least one (inputs, targets) pair, found none.", "Pass a list.")
    place = device or next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    dtype = torch.float64 if options.precision == "float64" else torch.float32
    return LossSurface.of(model, fixed, criterion, batch_statistics=bn == "batch", dtype=dtype, device=place)
