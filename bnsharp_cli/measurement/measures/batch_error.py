"""The standard error of a mean over batches, for what each batch says by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bnsharp_cli.measurement.surface.loss_surface import LossSurface


def batch_error(surface: LossSurface, figures: Sequence[float]) -> float | None:
    """The standard error of the mean of ``figures``, as an estimate of that of all data.

    Args:
        surface: whose batches they are of.
        figures: one a batch, multiplied by the batch's weight.

    Returns:
        None where there is none: a single batch tells nothing of others, and the whole split leaves none out.
    """
    count = len(figures)
    if count < 2 or surface.holds_all_data:
        return None
    mean = math.fsum(figures) / count
    apart = (figure - weight * mean for figure, weight in zip(figures, surface.weights, strict=True))
    return math.sqrt(math.fsum(part * part for part in apart) / (count * (count - 1)))


def together(*errors: float | None) -> float | None:
    """Independent errors as one, without those that are not known.

    >>> together(3.0, None, 4.0)
    5.0
    """
    known = [error for error in errors if error is not None]
    return math.hypot(*known) if known else None
