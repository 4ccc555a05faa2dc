"""The evidence of the audit itself: plain losses against plain torch, quadratures against closed forms."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from bnsharp_cli.measurement.audit.finding import CannotSayError
from bnsharp_cli.measurement.audit.plain_loss import PlainLoss
from bnsharp_cli.measurement.audit.segment_truth import MOST_LOSSES, gauss_mean, true_mean
from bnsharp_cli.measurement.surface.examination import examined
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from tests.cases import vectors

DELTA = 0.3


class OwnCall(nn.Module):
    """Batch norm as a function that goes by ``training``, as hand-written layers do."""

    def __init__(self, native: bool) -> None:
        super().__init__()
        self.native, self.first, self.last = native, nn.Linear(4, 5), nn.Linear(5, 3)
        self.register_buffer("mean", torch.full((5,), 0.2))
        self.register_buffer("variance", torch.full((5,), 1.7))

    def forward(self, inputs: Tensor) -> Tensor:
        hidden, own = self.first(inputs), (self.mean, self.variance)
        if self.native:
            hidden = torch.batch_norm(hidden, None, None, *own, self.training, 0.1, 1e-5, False)
        else:
            hidden = functional.batch_norm(hidden, *own, training=self.training)
        return self.last(torch.relu(hidden))


def unequal_batches() -> list[tuple[Tensor, Tensor]]:
    ((inputs, targets),) = vectors(24)
    return [(inputs[:10], targets[:10]), (inputs[10:17], targets[10:17]), (inputs[17:], targets[17:])]


def with_norm() -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.5), nn.Linear(5, 3))
    module(torch.randn(64, 4))
    return module.eval()


@pytest.mark.parametrize("of_batch", [True, False])
@pytest.mark.parametrize("make", [with_norm, lambda: OwnCall(False), lambda: OwnCall(True)])
def test_a_plain_loss_is_the_mean_over_examples_of_torchs_own(make: Callable[[], nn.Module], of_batch: bool) -> None:
    torch.manual_seed(1)
    module = make()
    surface = LossSurface.of(module, unequal_batches(), batch_statistics=of_batch)
    by_hand = copy.deepcopy(module).double()
    for part in by_hand.modules():
        part.training = of_batch and not isinstance(part, nn.Dropout)
    with torch.no_grad():
        total = sum(
            functional.cross_entropy(copy.deepcopy(by_hand)(inputs.double()), targets, reduction="sum")
            for inputs, targets in unequal_batches()
        )
    before = {name: tensor.clone() for name, tensor in surface.buffers.items()}
    assert PlainLoss(surface)(surface.point()) == pytest.approx(float(total) / 24, rel=1e-14)
    assert all(torch.equal(tensor, before[name]) for name, tensor in surface.buffers.items())


def test_it_counts_as_a_pass() -> None:
    surface = LossSurface.of(with_norm(), unequal_batches())
    PlainLoss(surface)(surface.point())
    assert (surface.counter.cost.forward, surface.counter.cost.backward) == (1, 0)


def test_it_changes_neither_the_inputs_nor_the_network() -> None:
    module = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 3).double())
    batches = [(inputs.double(), targets) for inputs, targets in unequal_batches()]
    kept = [inputs.clone() for inputs, _ in batches]
    surface = LossSurface.of(module, batches, dtype=torch.float64)
    plain, weight = PlainLoss(surface), module[1].weight.clone()
    plain({name: tensor + 1 for name, tensor in surface.point().items()})
    assert torch.equal(module[1].weight, weight)
    assert all(torch.equal(inputs, before) for (inputs, _), before in zip(surface.batches, kept, strict=True))


class Noise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.linear(inputs + 1e-3 * torch.randn_like(inputs))


def test_it_says_where_it_would_be_another_loss() -> None:
    surface = examined(LossSurface.of(Noise(), unequal_batches()))
    with pytest.raises(CannotSayError, match="draws random numbers"):
        PlainLoss(surface)


class Refusing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        if inputs.dtype is torch.float64:
            raise TypeError("only float32")
        return self.linear(inputs)


def test_it_says_why_a_network_does_not_run() -> None:
    surface = LossSurface.of(Refusing(), unequal_batches())
    with pytest.raises(CannotSayError, match="does not run in a plain loop: TypeError: only float32"):
        PlainLoss(surface)(surface.point())


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0, 3.0, 7.0])
def test_the_mean_of_a_line_and_of_a_kink(power: float) -> None:
    """∫|at|^p over [−δ, δ], and the same for a loss that is flat on one side of a kink that lies off the grid."""
    line = true_mean(lambda t: -5 * t, DELTA, power, 1e-9)
    assert line.value == pytest.approx(5 * (2 / (power + 1)) ** (1 / power), rel=1e-9)
    kink = 0.0437
    bent = true_mean(lambda t: max(0.0, t - kink), DELTA, power, 1e-9)
    exact = ((DELTA - kink) ** (power + 1) / (power + 1) / DELTA ** (power + 1)) ** (1 / power)
    assert abs(bent.value - exact) <= max(bent.error, 1e-9 * exact)
    assert max(line.losses, bent.losses) <= MOST_LOSSES


def test_the_largest_change_between_the_points_of_the_grid() -> None:
    top = true_mean(lambda t: 1 - 40 * (t - 0.1234) ** 2, DELTA, math.inf, 1e-9)
    assert top.value == pytest.approx(max(1.0, 40 * (0.3 + 0.1234) ** 2 - 1) / DELTA, rel=1e-8)
    inside = true_mean(lambda t: max(0.0, 1 - 9 * abs(t - 0.1234)), DELTA, math.inf, 1e-9)
    assert inside.value == pytest.approx(1 / DELTA, rel=1e-3)


def test_a_mean_of_nothing() -> None:
    assert true_mean(lambda t: 0.0 * t, DELTA, 2.0, 1e-9).value == 0
    assert gauss_mean(lambda t: 0.0 * t, DELTA, 2.0, 4) == 0


@pytest.mark.parametrize("power", [2.0, 4.0])
def test_the_gauss_rule_is_exact_for_polynomials(power: float) -> None:
    found = gauss_mean(lambda t: t * t, DELTA, power, 12)
    assert found == pytest.approx(DELTA * (2 / (2 * power + 1)) ** (1 / power), rel=1e-13)


def test_more_losses_are_taken_than_the_measure_takes() -> None:
    """Hundreds where there are kinks."""
    asked: list[float] = []

    def jagged(t: float) -> float:
        asked.append(t)
        return t + 0.2 * abs(t - 0.11) + 0.1 * abs(t + 0.217)

    found = true_mean(jagged, DELTA, 2.0, 1e-6)
    assert 100 < len(asked) == found.losses <= MOST_LOSSES
