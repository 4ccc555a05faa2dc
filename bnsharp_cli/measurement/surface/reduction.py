"""Whether a loss averages over the examples of a batch or adds them up, which decides what a batch counts for.

A loss is asked for the outputs and targets of a batch, and for the same when each of them is there twice. A mean stays
what it is, and a sum doubles. The network runs once for that, so that its random numbers play no part; it runs on the
doubled batch, which has the same statistics, only where not all of its outputs count examples.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import BnsharpError
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.tensor_trees import repeated

_SAME = 1e-6


def with_reduction(surface: LossSurface) -> LossSurface:
    """The surface whose batches count by their sizes where the loss averages over examples, and else alike.

    A note says which, where batches differ in size.
    """
    sizes = surface.sizes
    if sizes is None or not sizes.differ:
        return surface
    growth = _growth(replace(surface, averages=False))
    averages = _is(growth, 1)
    span = f"batches of {min(sizes.counted):,} to {max(sizes.counted):,} {sizes.unit}"
    if averages:
        note = f"{span} count by their sizes, because the loss averages over {sizes.unit}"
    elif _is(growth, 2):
        note = f"{span} are not weighted, because the loss adds up over examples, each of which counts alike"
    else:
        note = f"{span} count alike whatever their sizes, because the loss is not known to be a mean over examples"
    conduct = replace(surface.conduct, notes=(*surface.conduct.notes, note))
    return replace(surface, averages=averages).with_conduct(conduct)


def _is(growth: float | None, expected: float) -> bool:
    return growth is not None and abs(growth - expected) <= _SAME


def _growth(surface: LossSurface) -> float | None:
    """L(a batch twice) / L(the batch), for the first batch where that is a number; None where there is none."""
    point = surface.point()
    for number in range(surface.count):
        try:
            once, twice = surface.loss_once_and_twice(point, number)
            if math.isnan(once) and not surface.conduct.draws:
                once, twice = _by_doubled_batch(surface, point, number)
        except BnsharpError:
            return None
        if once and math.isfinite(once) and math.isfinite(twice):
            return twice / once
    return None


def _by_doubled_batch(surface: LossSurface, point: Point, number: int) -> tuple[float, float]:
    inputs, targets = batch = surface.batches[number]
    if len(inputs) != len(targets):
        return math.nan, math.nan
    doubled = repeated(inputs, len(targets)), repeated(targets, len(targets))
    with torch.no_grad():
        once, twice = (float(surface.outputs_and_loss(point, each)[1]) for each in (batch, doubled))
    return once, twice
