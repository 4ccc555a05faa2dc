"""Losses in [0, 1] of networks that answer with classes: what a PAC-Bayes bound can be of."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bnsharp_cli.errors import DataRefusedError, UsageError
from bnsharp_cli.measurement.bound.options import CLIP


@dataclass(frozen=True)
class ClippedCrossEntropy:
    """The mean of min(ℓ, c)/c, ℓ the cross entropy of a sample: differentiable, and 1 from ℓ = c on.

    Attributes:
        clip: c, in nats.

    Raises:
        UsageError: c is no positive number.
    """

    clip: float = CLIP

    def __post_init__(self) -> None:
        if not 0 < self.clip < math.inf:
            raise UsageError.of("clip", "a positive number", self.clip, "For example 11.5.")

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of outputs (N, classes) for class numbers (N,).

        Raises:
            DataRefusedError: other shapes.
        """
        _require_classes(outputs, targets)
        return functional.cross_entropy(outputs, targets, reduction="none").clamp(max=self.clip).mean() / self.clip


def zero_one(outputs: Tensor, targets: Tensor) -> Tensor:
    """The fraction of wrong answers among outputs (N, classes), float64; its gradient is zero or undefined.

    Raises:
        DataRefusedError: other shapes.
    """
    _require_classes(outputs, targets)
    return (outputs.argmax(1) != targets).to(torch.float64).mean()


def _require_classes(outputs: Tensor, targets: Tensor) -> None:
    if outputs.ndim != 2 or targets.shape != outputs.shape[:1] or targets.is_floating_point():
        raise DataRefusedError(
            f"A bound needs a class for each example: expected outputs (N, classes) and class numbers (N,), found "
            f"{tuple(outputs.shape)} and {targets.dtype} {tuple(targets.shape)}.",
            "Measure regression and segmentation without the bound.",
        )
