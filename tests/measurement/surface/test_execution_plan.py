"""The plan of a surface: layout, bytes that a batch keeps, batches side by side."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from bnsharp_cli.measurement.surface.execution_plan import IN_FLIGHT_BYTES, ExecutionPlan
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from tests.cases import images, vectors

FLOAT32_FLOOR = 5e-7
"""What one layout against another has been seen to differ by, relative to the loss."""


def test_the_trial_of_a_plan_leaves_no_activation_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """ReLU saves its own output for the backward pass: whoever hooks that must not tie it to itself."""
    outputs: list[weakref.ref[Tensor]] = []
    relu = functional.relu

    def watched(inputs: Tensor, inplace: bool = False) -> Tensor:
        answer = relu(inputs, inplace)
        outputs.append(weakref.ref(answer))
        return answer

    monkeypatch.setattr(functional, "relu", watched)  # what the network keeps itself is copied with it
    surface = LossSurface.of(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), vectors())
    held = surface.plan().held
    assert outputs
    assert all(seen() is None for seen in outputs)
    weights, samples = 4 * (4 * 8 + 8), len(surface.batches[0][0])
    assert held == weights + 4 * 8 * samples  # the weights' gradient, and the output of relu; the inputs are known


def test_large_batches_run_one_after_the_other(monkeypatch: pytest.MonkeyPatch, threads) -> None:
    threads(8)
    cpu = torch.device("cpu")
    assert ExecutionPlan(held=2**20, tried=True).batches_at_once(cpu, 100) == 8
    assert ExecutionPlan(held=2**20, tried=True).batches_at_once(cpu, 3) == 3
    assert ExecutionPlan(held=IN_FLIGHT_BYTES // 2, tried=True).batches_at_once(cpu, 100) == 3
    assert ExecutionPlan(held=IN_FLIGHT_BYTES + 1, tried=True).batches_at_once(cpu, 100) == 1
    assert ExecutionPlan(held=0, tried=False).batches_at_once(cpu, 100) == 1
    assert ExecutionPlan(held=0, tried=True).batches_at_once(torch.device("cuda"), 100) == 1


def convolutions(channels: int, flatten: nn.Module) -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.MaxPool2d(2),
        flatten,
        nn.Linear(9 * channels, 4),
    )


class View(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.view(len(inputs), -1)


@pytest.mark.parametrize(
    ("module", "channels_last"),
    [
        (convolutions(16, nn.Flatten()), True),
        (convolutions(6, nn.Flatten()), False),
        (convolutions(16, View()), False),
    ],
)
def test_channels_last_where_channels_fill_vectors_and_the_network_takes_it(
    module: nn.Module, channels_last: bool
) -> None:
    surface = LossSurface.of(module, images())
    assert surface.plan().tried
    assert surface.plan().channels_last == channels_last
    assert not surface.in_precision(torch.float64).plan().channels_last
    precise = surface.in_precision(torch.float64).value_and_gradient(surface.point())
    value, gradient = surface.value_and_gradient(surface.point())
    assert value == pytest.approx(precise[0], rel=FLOAT32_FLOOR)
    for name, tensor in gradient.items():
        torch.testing.assert_close(tensor, precise[1][name], rtol=1e-4, atol=1e-6)


def test_the_bytes_of_a_batch_are_those_autograd_keeps() -> None:
    batch = (torch.zeros(32, 10), torch.zeros(32, dtype=torch.int64))
    surface = LossSurface.of(nn.Sequential(nn.Linear(10, 50), nn.Tanh(), nn.Linear(50, 3)), [batch])
    parameters = 10 * 50 + 50 + 50 * 3 + 3
    assert surface.plan().held == 4 * (parameters + 32 * 50), "tanh keeps its output, which the last layer needs too"
    assert surface.in_precision(torch.float64).plan().held == 8 * (parameters + 32 * 50) + 8 * 32 * 10


def test_a_network_that_cannot_take_part_of_a_batch_still_runs() -> None:
    class Whole(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            if len(inputs) != 24:
                raise RuntimeError("24 samples, please")
            return super().forward(inputs)

    surface = LossSurface.of(Whole(4, 3), vectors())
    assert not surface.plan().tried
    assert surface.value(surface.point()) > 0
