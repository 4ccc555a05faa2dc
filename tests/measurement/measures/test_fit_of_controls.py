"""Controls on losses and labels of every kind: which exist, and what the others say."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.errors import NotMeasurableError, UnfitMeasureError
from tests.measurement.measures.test_controls import CLASSES, OF_OUTPUTS, batches, measured, network

REGRESSION: dict[str, tuple[Any, Callable[..., Tensor]]] = {
    "numbers": ([(x, x[:, :CLASSES]) for x, _ in batches()], functional.mse_loss),
    "several labels": (
        [(x, (x[:, :CLASSES] > 0).double()) for x, _ in batches()],
        functional.binary_cross_entropy_with_logits,
    ),
    "no use of labels": ([(x, x) for x, _ in batches()], lambda z, _: z.square().mean()),
}


@pytest.mark.parametrize("case", REGRESSION)
def test_without_classes_margin_entropy_and_flatness_do_not_exist(case: str) -> None:
    data, criterion = REGRESSION[case]
    found = bnsharp_cli.measure(network(), data, criterion, measure="all", precision="float64", ball_samples=2)
    assert {*found.skipped} >= {"margin", "entropy", "relative-flatness"}
    assert {"loss", "gradient-norm", "weight-norm", "random", "bn"} <= {*found.profiles}
    assert "class number" in found.skipped["margin"]
    assert "not the cross entropy" in found.skipped["entropy"]
    with pytest.raises(UnfitMeasureError, match="class number"):
        measured("margin", data, criterion)


def test_probabilities_of_classes_have_an_entropy_and_a_flatness_but_no_margin() -> None:
    data = [(x, x[:, :CLASSES].softmax(1)) for x, _ in batches()]
    found = bnsharp_cli.measure(network(), data, measure=["entropy", "relative-flatness", "loss"])
    assert len(found) == 3
    with pytest.raises(UnfitMeasureError, match="class number"):
        measured("margin", data)


def test_every_pixel_with_a_label_counts() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 3, 1)).double()
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(4, 2, 5, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (4, 5, 5), generator=generator)
    labels[1, 2:] = -100
    found = bnsharp_cli.measure(
        net, [(inputs, labels)], nn.CrossEntropyLoss(), measure=[*OF_OUTPUTS], precision="float64"
    )
    outputs = net(inputs).detach().permute(0, 2, 3, 1)[labels >= 0]
    known = labels[labels >= 0]
    own = outputs.gather(1, known[:, None])[:, 0]
    others = outputs.scatter(1, known[:, None], -math.inf).amax(1)
    assert found["margin"].value == pytest.approx(np.percentile((own - others).numpy(), 10), rel=1e-13)
    assert found["margin"].details["labels"] == 85
    p = outputs.softmax(1)
    assert found["entropy"].value == pytest.approx(float(-(p * p.log()).sum(1).mean()), rel=1e-12)
    assert found["loss"].value == pytest.approx(float(functional.cross_entropy(outputs, known)), rel=1e-12)


def test_labels_that_are_too_many_for_their_margins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnsharp_cli.measurement.measures.output_figures.MOST_MARGINS", 30)
    with pytest.raises(UnfitMeasureError, match="There are 36 labels, and it keeps the margin of each"):
        measured("margin")
    assert measured("entropy").value > 0


def test_losses_below_minus_one_have_controls_too() -> None:
    found = bnsharp_cli.measure(
        network(),
        batches(),
        lambda z, y: functional.cross_entropy(z, y) - 5,
        measure="all",
        precision="float64",
    )
    assert {*found.skipped} >= {"delta-lp", "delta-linf", "keskar", "entropy", "relative-flatness"}
    assert found["loss"].value == pytest.approx(measured("loss").value - 5, rel=1e-12)
    assert found["margin"].value == measured("margin").value


def test_what_is_not_finite_is_refused() -> None:
    for name in (*OF_OUTPUTS, "gradient-norm"):
        data = batches()
        data[2][0][0] = 1e200
        with pytest.raises(NotMeasurableError, match="not finite") as refused:
            measured(name, data, lambda z, y: functional.cross_entropy(z.exp(), y), bn="running")
        assert not isinstance(refused.value, UnfitMeasureError)
