"""A loss that is not finite is refused by what makes it so: data, labels, outputs or the criterion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.errors import DataRefusedError, NotMeasurableError
from tests.cli.helpers import bnsharp, one_error

CLASSES = 3
NETWORK = """
import torch
from torch import nn

def net():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))

def weighted(outputs, targets):
    return nn.functional.cross_entropy(outputs, targets, weight=torch.tensor([0.0, 1.0, 1.0]))
"""


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, CLASSES))


def examples() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(8, 1, 6, 6, generator=generator), torch.randint(CLASSES, (8,), generator=generator)


INPUTS, LABELS = examples()
ENDLESS = INPUTS.clone()
ENDLESS[3, 0, 2, 2] = torch.inf
MISSING = INPUTS.clone()
MISSING[0, 0, 0, 0] = torch.nan


@pytest.mark.parametrize("ask", [bnsharp_cli.measure, bnsharp_cli.rescale_test])
@pytest.mark.parametrize(
    ("second", "criterion", "kind", "says"),
    [
        ((MISSING, LABELS), functional.cross_entropy, DataRefusedError, "The inputs of batch 2 hold NaN"),
        ((ENDLESS, LABELS), functional.cross_entropy, DataRefusedError, "The inputs of batch 2 hold NaN"),
        ((INPUTS, LABELS * 0 - 100), functional.cross_entropy, DataRefusedError, "Batch 2 has no label that counts"),
        ((INPUTS, LABELS * 0.0 + torch.nan), lambda o, t: (o[:, 0] - t).mean(), DataRefusedError, "The targets of"),
        (
            (INPUTS, LABELS * 0),
            nn.CrossEntropyLoss(weight=torch.tensor([0.0, 1.0, 1.0])),
            NotMeasurableError,
            "The loss of batch 2 is nan, though inputs, targets and the network's outputs are finite",
        ),
    ],
)
def test_the_batch_and_the_cause_are_named(
    ask: Callable[..., Any], second: tuple[Tensor, Tensor], criterion: Any, kind: type[Exception], says: str
) -> None:
    first = (INPUTS, LABELS % 2 + 1) if second[1].dtype == torch.int64 else (INPUTS, LABELS.float())
    with pytest.raises(kind, match=says):
        ask(network(), [first, second], criterion)


def test_all_batches_that_no_block_can_be_found_on() -> None:
    """Without a finite number nothing seems to be scale-invariant, which is not what is wrong."""
    with pytest.raises(DataRefusedError, match="The inputs of batch 1 hold NaN"):
        bnsharp_cli.rescale_test(network(), [(INPUTS * torch.nan, LABELS)])


def test_outputs_that_are_not_finite() -> None:
    for largest, precision, says in (
        (3e38, "float32", "outputs in float32 are not those in float64, and by more than rounding"),
        (1e308, "float64", "since the network's outputs are not finite"),
    ):
        module = network().double()
        with torch.no_grad():
            module[4].weight.fill_(largest)  # type: ignore[operator, union-attr]  # it is a layer
        with pytest.raises(NotMeasurableError, match=says):
            bnsharp_cli.measure(module, [(INPUTS, LABELS)], lambda outputs, _: outputs.sum(), precision=precision)


def test_single_ignored_labels_are_no_reason_to_refuse() -> None:
    labels = torch.where(torch.arange(8) % 2 == 0, -100, LABELS)
    kept = labels != -100

    def counted(outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs[targets != -100], targets[targets != -100])

    assert int(kept.sum()) == 4
    found = bnsharp_cli.measure(network(), [(INPUTS, labels)])
    assert found.value == pytest.approx(bnsharp_cli.measure(network(), [(INPUTS, labels)], counted).value, rel=1e-9)


@pytest.mark.parametrize("command", ["measure", "rescale-test"])
@pytest.mark.parametrize(
    ("labels", "more", "code", "says"),
    [
        ([-100] * 8, (), 3, "npz:x.npz: All labels are -100"),
        ([-100] * 7 + [1], ("--batch-size", 2), 3, "has no label that counts"),
        ([0] * 8, ("--loss", "net.py:weighted"), 4, "The loss of batch 1 is nan, though inputs"),
    ],
)
def test_commands(
    tmp_path: Path, command: str, labels: list[int], more: tuple[object, ...], code: int, says: str
) -> None:
    (tmp_path / "net.py").write_text(NETWORK)
    torch.save(network().state_dict(), tmp_path / "net.pt")
    np.savez(tmp_path / "x.npz", x=INPUTS.numpy(), y=np.array(labels))
    size = () if "--batch-size" in more else ("--batch-size", 8)
    options = ("--arch", "net.py:net", "--data", "npz:x.npz", "--samples", 8, *size, *more)
    assert says in one_error(bnsharp(command, "net.pt", *options, folder=tmp_path, expect=code))


def test_training_on_labels_that_all_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NETWORK)
    labels = np.full(8, -100)
    np.savez(tmp_path / "x.npz", x=INPUTS.numpy(), y=labels, x_test=INPUTS.numpy(), y_test=labels)
    options = ("--arch", "net.py:net", "--data", "npz:x.npz", "--epochs", 1, "--batch-size", 4, "--output", "o.pt")
    assert "All labels are -100" in one_error(bnsharp("train", *options, folder=tmp_path, expect=3))
    assert not (tmp_path / "o.pt").exists()
