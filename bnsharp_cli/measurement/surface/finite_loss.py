"""Why a loss is not finite: the data, the network's outputs, or a criterion that averages over nothing."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bnsharp_cli.core.point import Point
from bnsharp_cli.errors import BnsharpError, DataRefusedError, NotMeasurableError, named
from bnsharp_cli.measurement.surface.data_stream import Batch
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.tensor_trees import tensors_of
from bnsharp_cli.measurement.surface.token_loss import IGNORED


def require_finite_loss(surface: LossSurface, point: Point) -> None:
    """Refuse a loss that is not finite; such a pass is not counted.

    Raises:
        BnsharpError: as :func:`not_finite` finds it.
    """
    problem = _first_problem(surface, point)
    if problem is not None:
        raise problem


def not_finite(surface: LossSurface, point: Point, loss: float) -> BnsharpError:
    """The error for a loss that is not finite at ``point``, about the first batch that has such a loss."""
    return _first_problem(surface, point) or NotMeasurableError(
        f"The loss is {loss:g}, though that of each batch is finite.",
        f"Check the data, or use {named('precision')} float64.",
        argument="model",
        expected="a finite loss",
        found=loss,
    )


def _first_problem(surface: LossSurface, point: Point) -> BnsharpError | None:
    for number, batch in enumerate(surface.batches, 1):
        with torch.no_grad():
            outputs, loss = surface.outputs_and_loss(point, batch)
        if not math.isfinite(float(loss)):
            return _data_problem(number, batch) or _loss_problem(number, outputs, float(loss))
    return None


def _data_problem(number: int, batch: Batch) -> DataRefusedError | None:
    """What is wrong with a batch; None where its numbers are finite and some target counts."""
    for what, part in zip(("inputs", "targets"), batch, strict=True):
        if not all(_are_finite(tensor) for tensor in tensors_of(part)):
            return DataRefusedError(
                f"The {what} of batch {number} hold NaN or infinite numbers, and its loss is not finite.",
                "Clean the data.",
                argument="batches",
                expected="finite numbers",
                found=f"NaN or infinite {what}",
            )
    targets = tensors_of(batch[1])
    if targets and all(not one.is_floating_point() and bool((one == IGNORED).all()) for one in targets):
        return DataRefusedError(
            f"Batch {number} has no label that counts: all its targets are {IGNORED}, which cross entropy leaves out.",
            f"Use examples with labels, or a larger {named('batch_size')}.",
            argument="batches",
            expected="a label in each batch",
            found=f"all {IGNORED}",
        )
    return None


def _loss_problem(number: int, outputs: list[Tensor], loss: float) -> NotMeasurableError:
    if all(map(_are_finite, outputs)):
        where, remedy = (
            "though inputs, targets and the network's outputs are finite",
            "Check the criterion: a mean over examples whose class weights are all zero is NaN, and numbers that are "
            "too large have infinite squares.",
        )
    else:
        where, remedy = (
            "since the network's outputs are not finite",
            f"Check the weights and the scale of the inputs, or use {named('precision')} float64.",
        )
    return NotMeasurableError(
        f"The loss of batch {number} is {loss:g}, {where}.",
        remedy,
        argument="model",
        expected="a finite loss",
        found=loss,
    )


def _are_finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())
