"""The Python interface to the comparison of measures on copies that compute the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Unpack

from torch import nn
from torch.nn import functional

from bnsharp_cli.api import surface_settings
from bnsharp_cli.listeners import ProgressLike, following
from bnsharp_cli.measurement.invariance.foreign_tools import installed_tools
from bnsharp_cli.measurement.invariance.invariance_table import InvarianceTable
from bnsharp_cli.measurement.invariance.measures_on_copies import MeasuresOnCopies
from bnsharp_cli.measurement.invariance.options import RESCALED_MEASURING, RescaleOptions
from bnsharp_cli.measurement.measures.keywords import RescaleKeywords
from bnsharp_cli.measurement.measures.options import BatchNormPolicy, MeasureOptions
from bnsharp_cli.measurement.measures.selection import EVERY_MEASURE
from bnsharp_cli.measurement.surface.adapters import OutputKey
from bnsharp_cli.measurement.surface.fixed_batches import BatchesLike
from bnsharp_cli.measurement.surface.opened_surface import CriterionLike, DeviceLike, opened_surface


def invariance_table(  # noqa: PLR0913  one argument for each choice
    model: nn.Module,
    batches: BatchesLike,
    criterion: CriterionLike = functional.cross_entropy,
    measure: str | Sequence[str] = EVERY_MEASURE,
    *,
    bn: BatchNormPolicy = "batch",
    output: OutputKey | None = None,
    tolerance: float | None = None,
    epsilon: Literal["exact", "stored"] = "exact",
    device: DeviceLike | None = None,
    progress: ProgressLike = False,
    **options: Unpack[RescaleKeywords],
) -> InvarianceTable:
    """Take measures of ``model`` and of copies that compute the same: which of them give one number for one function?

    The copies are rescaled in every way that is found to change nothing: T_a; (γ, β) of norms before other norms, and
    against the classifier; layers against layers and neurons against neurons around a ReLU; queries against keys, and
    values against what reads them. Each is confirmed by its outputs. All copies are measured by the same options and
    the same random draws.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    >>> batches = [(torch.randn(32, 4), torch.randint(3, (32,)))]
    >>> table = invariance_table(model, batches, measure="bn")
    >>> [copy.name for copy in table.copies]
    ['layer 0.01', 'layer 100', 'neurons']
    >>> table["bn"].verdict.meaning, table["bn-element"].verdict.meaning
    ('anything you like', 'same function, same number')

    Args:
        model: as for :func:`~bnsharp_cli.api.measure`.
        batches: as there.
        criterion: as there.
        measure: a name, several names, or ``all``. ``bn`` has a row for each partition. ``all`` asks WeightWatcher,
            PyHessian and nngeom, too, where they are installed.
        bn: as there.
        output: as there.
        tolerance: allowed relative distance, positive; None for what the errors of the values explain, never below
            1e-9.
        epsilon: as for :func:`~bnsharp_cli.api.rescale_test`.
        device: as for :func:`~bnsharp_cli.api.measure`.
        progress: as there.
        **options: as for :func:`~bnsharp_cli.api.rescale_test`.

    Raises:
        UsageError: as for :func:`~bnsharp_cli.api.measure`.
        NotMeasurableError: no rescaling was found that changes nothing, or as for
            :func:`~bnsharp_cli.api.measure`.
    """
    names = (measure,) if isinstance(measure, str) else tuple(measure)
    wanted = RescaleOptions(tolerance=tolerance, epsilon=epsilon, measure=names)
    resolved = MeasureOptions.from_flat(**{**RESCALED_MEASURING, **options})
    settings = surface_settings(resolved, bn, output, device)
    with following(progress) as told, opened_surface(model, batches, criterion, settings, told) as surface:
        tools = installed_tools() if EVERY_MEASURE in names else {}
        return MeasuresOnCopies(surface, surface.point(), resolved, wanted, tools).table(names)
