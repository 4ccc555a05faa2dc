"""Losses between 0 and 1: the clipped cross-entropy and the zero-one loss."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bnsharp_cli.errors import DataRefusedError
from bnsharp_cli.measurement.bound.bounded_losses import ClippedCrossEntropy, zero_one


def test_the_clipped_loss_is_cross_entropy_below_the_clip_and_one_above() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 30.0], [1.0, 1.0]], dtype=torch.float64, requires_grad=True)
    loss = ClippedCrossEntropy(4.0)(logits, torch.zeros(3, dtype=torch.int64))
    assert loss.item() == pytest.approx((math.log1p(math.exp(-2)) / 4 + 1 + math.log(2) / 4) / 3)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.abs().sum(dim=1).tolist() == [pytest.approx(2 / (1 + math.exp(2)) / 12), 0, pytest.approx(1 / 12)]
    assert float(zero_one(logits.detach(), torch.zeros(3, dtype=torch.int64))) == pytest.approx(1 / 3)


@pytest.mark.parametrize("criterion", [ClippedCrossEntropy(), zero_one])
def test_targets_that_are_no_classes_are_refused(criterion: Callable[[Tensor, Tensor], Tensor]) -> None:
    for outputs, targets in (
        (torch.zeros(3, 2), torch.zeros(3, 2)),
        (torch.zeros(3, 2, 4, 4), torch.zeros(3, 4, 4, dtype=torch.int64)),
        (torch.zeros(3), torch.zeros(3)),
    ):
        with pytest.raises(DataRefusedError, match="A bound needs a class for each example"):
            criterion(outputs, targets)
