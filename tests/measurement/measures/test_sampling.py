"""How a value depends on the samples: measured on parts of the batches, and estimated for more of them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.measures.bn_sharpness import bn_sharpness
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.cost import Cost
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from tests.cases import blocks_by_hand, mlp_bn, sample_surface

ONE_BLOCK = blocks_by_hand({"weight": (0,)}, invariant=0)


class Slope(nn.Module):
    """θ·x: the gradient of the mean loss is the mean of the inputs."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, size, dtype=torch.float64))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs @ self.weight.T


def linear_surface(inputs: Tensor, batches: int) -> LossSurface:
    parts = [(part, torch.zeros(len(part))) for part in inputs.chunk(batches)]
    return LossSurface.of(Slope(inputs.shape[1]), parts, lambda outputs, _: outputs.mean(), dtype=torch.float64)


def measured(inputs: Tensor, batches: int, **options: object) -> dict[str, object]:
    surface = linear_surface(inputs, batches)
    return bn_sharpness(surface, surface.point(), ONE_BLOCK, MeasureOptions(delta=1e-2, **options)).to_dict()


def test_a_linear_loss_in_closed_form(generator: torch.Generator) -> None:
    """S = √(2/3) ‖x̄‖, with x̄ the mean over whichever samples."""
    inputs = torch.randn(64, 5, generator=generator, dtype=torch.float64)
    record = measured(inputs, 8, uncertainty="full")["sampling"]
    first, second = inputs[:32].mean(0), inputs[32:].mean(0)
    factor = math.sqrt(2 / 3)
    crossed = abs(float(first @ second)) * (1 / first.norm() + 1 / second.norm()) / 2
    means = [inputs[:16].mean(0).norm(), (first.norm() + second.norm()) / 2, inputs.mean(0).norm()]
    assert record["cross_fitted"] == pytest.approx(factor * float(crossed), rel=1e-4)
    assert [entry["batches"] for entry in record["values"]] == [2, 4, 8]
    assert [entry["value"] for entry in record["values"]] == pytest.approx([factor * float(m) for m in means], rel=1e-4)


def test_the_exponent_is_that_of_gradient_noise(generator: torch.Generator) -> None:
    noise = torch.randn(4096, 400, generator=generator, dtype=torch.float64)
    for shift, exponent in ((0, -0.5), (5, 0.0)):
        found = measured(noise + shift, 16, uncertainty="full")["sampling"]["exponent"]
        assert found == pytest.approx(exponent, abs=0.05)


def test_cheap_costs_nothing_and_full_is_counted_apart(generator: torch.Generator) -> None:
    inputs = torch.randn(64, 5, generator=generator, dtype=torch.float64)
    cheap, full = (measured(inputs, 8, uncertainty=which)["cost"] for which in ("cheap", "full"))
    assert (
        full["forward"] - cheap["forward"] == full["for_uncertainty"]["forward"] - cheap["for_uncertainty"]["forward"]
    )
    assert full["backward"] - cheap["backward"] == full["for_uncertainty"]["backward"] > 0
    assert cheap["for_uncertainty"] == vars(Cost(forward=1))


def test_a_pass_over_a_part_counts_for_that_part(generator: torch.Generator) -> None:
    surface = linear_surface(torch.randn(64, 5, generator=generator, dtype=torch.float64), 8)
    surface.part(2, 4).value_and_gradient(surface.point())
    assert surface.counter.cost == Cost(0.25, 0.25)
    surface.part(0, 4).part(0, 1).value(surface.point())
    assert surface.counter.cost == Cost(0.375, 0.25)


def test_a_single_batch_and_a_curved_loss_are_not_judged_from_gradients(generator: torch.Generator) -> None:
    inputs = torch.randn(64, 5, generator=generator, dtype=torch.float64)
    for uncertainty in ("cheap", "full"):
        record = measured(inputs, 1, uncertainty=uncertainty)
        assert record["sampling"] is record["population"] is record["uncertainty"]["sampling"] is None
    surface = sample_surface("digits-small-batch")
    point = surface.point()
    options = MeasureOptions(delta=0.1, iterations=1)
    details = bn_sharpness(surface, point, find_blocks(surface, point), options).details
    assert details["sampling"] is details["population"] is None


def test_three_batches_have_halves_but_no_quarter() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(24, 4)
    batches = [(part, torch.arange(8) % 3) for part in inputs.chunk(3)]
    surface = LossSurface.of(mlp_bn(), batches, dtype=torch.float64)
    point = surface.point()
    options = MeasureOptions(uncertainty="full", delta=1e-4)
    sampling = bn_sharpness(surface, point, find_blocks(surface, point), options).details["sampling"]
    assert [entry["batches"] for entry in sampling["values"]] == [1, 3]
