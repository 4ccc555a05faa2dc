"""Whether the first dimension of the inputs counts examples, so that a part of a batch means some of its examples.

It does not for a batch of graphs (nodes, edges, the graph of each node), for texts in one row with their offsets, or
for sequences with time first. A part of such inputs does not run, or runs and means something else.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point
from bnsharp_cli.core.row_points import RowPoint
from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.norms import NormTreatment
from bnsharp_cli.measurement.surface.surface_state import FEW

_SAME = 1e-4
"""How far two answers may be apart, relative to the largest number: rounding in float32 is less."""


def with_parts(surface: LossSurface) -> LossSurface:
    """The surface with what is known of parts of its batches, and a note of how samples are counted."""
    counted = counted_note(surface)
    notes = (*surface.conduct.notes, *([counted] if counted else []))
    return surface.with_conduct(replace(surface.conduct, parts=has_parts(surface), notes=notes))


def has_parts(surface: LossSurface) -> bool:
    """Whether the network answers the first and the last examples of the first batch as it does within the batch.

    Norms use running statistics for it, or none, so that examples do not see each other. Where they do so all the same,
    or where the network draws random numbers, a part is not used either.
    """
    alone = surface.with_norms(treatment=NormTreatment(batch_statistics=False, apart=True))
    inputs, point = surface.batches[0][0], surface.point()
    count = min(FEW, len(inputs) // 2)
    if not count or isinstance(point, RowPoint):  # where memory is small, nothing is tried on a part
        return False
    try:
        with torch.no_grad():
            whole = alone.outputs(point, inputs)
            return bool(whole) and all(
                _answers_alike(alone, point, inputs, whole, part)
                for part in (slice(0, count), slice(len(inputs) - count, len(inputs)))
            )
    except NotMeasurableError:
        return False


def counted_note(surface: LossSurface) -> str:
    """What a reader must know of how samples are counted, or nothing where inputs and targets are equally many."""
    inputs, targets = surface.batches[0]
    if len(inputs) == len(targets):
        return ""
    return (
        f"samples are counted by the targets, {len(targets)} in the first batch: the first dimension of the inputs, "
        f"{len(inputs)}, does not count them"
    )


def _answers_alike(surface: LossSurface, point: Point, inputs: Tensor, whole: list[Tensor], part: slice) -> bool:
    some = surface.outputs(point, inputs[part])
    return len(some) == len(whole) and all(
        _alike(one, other, len(inputs), part) for one, other in zip(some, whole, strict=True)
    )


def _alike(found: Tensor, whole: Tensor, count: int, part: slice) -> bool:
    if not whole.ndim or len(whole) != count or found.shape != whole[part].shape:
        return False
    if not whole.numel():
        return True
    return bool((found - whole[part]).abs().max() <= _SAME * whole.abs().max())
