"""The Python interface to the generalization gap."""

from __future__ import annotations

import math

from torch import nn
from torch.nn import functional

from bnsharp_cli.api import surface_settings
from bnsharp_cli.errors import UsageError
from bnsharp_cli.measurement.measures.generalization import Generalization, generalization
from bnsharp_cli.measurement.measures.options import BatchNormPolicy, MeasureOptions
from bnsharp_cli.measurement.surface.adapters import OutputKey
from bnsharp_cli.measurement.surface.batch_sizes import BatchSizes
from bnsharp_cli.measurement.surface.finite_loss import not_finite
from bnsharp_cli.measurement.surface.fixed_batches import BatchesLike, fixed_batches
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.opened_surface import CriterionLike, DeviceLike, opened_surface
from bnsharp_cli.measurement.surface.token_loss import averages_over_tokens


def generalization_gap(
    model: nn.Module,
    batches: BatchesLike,
    test_batches: BatchesLike,
    criterion: CriterionLike = functional.cross_entropy,
    *,
    bn: BatchNormPolicy = "batch",
    output: OutputKey | None = None,
    device: DeviceLike | None = None,
) -> Generalization:
    """The loss and the accuracy of ``model`` on test data, and how far they are from those on ``batches``.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Linear(4, 3)
    >>> batches, test = ([(torch.randn(64, 4), torch.randint(3, (64,))) for _ in range(4)] for _ in range(2))
    >>> found = generalization_gap(model, batches, test)
    >>> found.samples, found.gap_error > 0, -0.5 < found.gap < 0.5
    (256, True, True)

    Args:
        model: as for :func:`~bnsharp_cli.api.measure`; it is left exactly as it is.
        batches: those that it was trained on, or some of them, as there.
        test_batches: data that it was not trained on, likewise.
        criterion: as there.
        bn: as there; the same for both.
        output: as there.
        device: as there.

    Raises:
        UsageError: an argument of another type or out of range.
        NotMeasurableError: a loss is not finite, or the network does not take the batches.
    """
    settings = surface_settings(MeasureOptions(), bn, output, device)
    with opened_surface(model, batches, criterion, settings) as surface:
        try:
            test = fixed_batches(test_batches)
        except UsageError as error:
            raise error.renamed("batches", "test_batches") from error
        sizes = BatchSizes.of(test, by_tokens=averages_over_tokens(criterion))
        point, elsewhere = surface.point(), surface.on(test, sizes)
        figures = surface.evaluated(point)
        _require_finite(surface, figures.loss)
        found = generalization(surface, point, figures, elsewhere)
        _require_finite(elsewhere, found.loss)
        return found


def _require_finite(surface: LossSurface, loss: float) -> None:
    if not math.isfinite(loss):
        raise not_finite(surface, surface.point(), loss)
