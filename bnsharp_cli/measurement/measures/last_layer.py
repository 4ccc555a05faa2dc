"""Relative flatness of the last linear layer in closed form, sample by sample."""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import Tensor

from bnsharp_cli.errors import named
from bnsharp_cli.measurement.surface.linear_calls import LinearCall

_AT_ONCE = 2**22
"""Numbers of a table (rows, features) that are computed at the same time."""


class NoHead(IntEnum):
    """Why the last linear layer is not known; in the order in which the reasons are said."""

    NONE = 0
    NOT_LINEAR = 1
    NO_PARAMETER = 2
    SEVERAL_USES = 3
    CONSTANT = 4

    @property
    def marked_reason(self) -> str:
        """One sentence, arguments marked."""
        return _REASONS[self]


_REASONS = {
    NoHead.NOT_LINEAR: (
        "The prediction is not the answer of a linear layer or of a convolution with a kernel of 1, number for number."
    ),
    NoHead.NO_PARAMETER: "The weight of the last linear layer is computed from parameters, and is none itself.",
    NoHead.SEVERAL_USES: "The weight of the last linear layer is used elsewhere in the network, too.",
    NoHead.CONSTANT: f"The weight of the last linear layer is not among the measured {named('parameters')}.",
}


def find_head(calls: list[LinearCall], scores: Tensor, varied: frozenset[str]) -> LinearCall | NoHead:
    """The linear layer whose answer the network predicts, or why there is none.

    Args:
        calls: the last linear layers of the pass, the last one first.
        scores: what the network predicts, (rows, classes).
        varied: the names of the parameters that the loss is a function of.
    """
    head = next((call for call in calls if call.answers(scores)), None)
    if head is None or head.weight.is_complex():
        return NoHead.NOT_LINEAR
    if not head.name:
        return NoHead.NO_PARAMETER
    if head.uses > 1:
        return NoHead.SEVERAL_USES
    return head if head.name in varied else NoHead.CONSTANT


def flatness_of_rows(features: Tensor, weight: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    r"""What each row adds to relative flatness, and to the same neuron by neuron: (rows,) each, in float64.

    .. math:: \|φ\|^2 Σ_j Var_{s∼p}(w_{sj}) \quad\text{and}\quad Σ_j φ_j^2 Var_{s∼p}(w_{sj})

    The variance is computed from the differences to the row of the most likely class, so that it keeps its digits where
    that class has nearly all the probability.

    Args:
        features: φ, (rows, features).
        weight: W, (classes, features).
        scores: z, (rows, classes); p = softmax(z).
    """
    at_once = max(1, _AT_ONCE // max(1, features.shape[1] + weight.shape[0]))
    matrix = weight.double()
    parts = [
        _of_some(phi.double(), matrix, z.double())
        for phi, z in zip(torch.split(features, at_once), torch.split(scores, at_once), strict=True)
    ]
    return torch.cat([whole for whole, _ in parts]), torch.cat([single for _, single in parts])


def _of_some(features: Tensor, weight: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    likeliest = scores.argmax(1, keepdim=True)
    others = scores.softmax(1).scatter(1, likeliest, 0.0)
    mass, reference = others.sum(1, keepdim=True), weight[likeliest[:, 0]]
    mean = others @ weight
    squares = others @ weight.square() - 2 * mean * reference + mass * reference.square()
    variances = (squares - (mean - mass * reference).square()).clamp_min(0)
    squared = features.square()
    return squared.sum(1) * variances.sum(1), (squared * variances).sum(1)
