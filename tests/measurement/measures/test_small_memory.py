"""Noise and the critical radius without a second copy of the weights: by plain torch, within their stated errors."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.core.row_points import RowPoint
from bnsharp_cli.measurement.blocks.relative import relative_blocks
from bnsharp_cli.measurement.measures.measurement import Measurement, Status
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.surface.row_surface import RowSurface
from tests.measurement.row_networks import NETWORKS, made

Batches = list[tuple[Tensor, Tensor]]
SEEDS = range(24)


def measured(network: nn.Module, batches: Batches, name: str, **options: object) -> Measurement:
    found = bnsharp_cli.measure(network, batches, name=name, memory="small", bn="running", **options)  # type: ignore[call-overload]
    assert isinstance(found, Measurement)
    return found


def loss_of(network: nn.Module, weights: dict[str, Tensor], batches: Batches) -> float:
    own = copy.deepcopy(network).double().eval()
    with torch.no_grad():
        for name, parameter in own.named_parameters():
            parameter.copy_(weights[name])
        given = [(x.double() if x.is_floating_point() else x, y) for x, y in batches]
        return math.fsum(float(functional.cross_entropy(own(x), y)) for x, y in given) / len(batches)


def as_long(relative_to: str, drawn: Tensor, weight: Tensor) -> Tensor:
    """``drawn`` with every block as long as the weight's, for a tensor without transposed rows."""
    if relative_to == "element":
        return drawn.sign() * weight.abs()
    if relative_to == "layer" or weight.ndim < 2:
        return drawn * weight.norm() / drawn.norm()
    norms = (one.flatten(1).norm(dim=1).reshape(-1, *[1] * (weight.ndim - 1)) for one in (weight, drawn))
    return drawn * next(norms) / next(norms)


@pytest.mark.parametrize("relative_to", ["filter", "layer", "element"])
@pytest.mark.parametrize("name", ["recurrent", "gpt2"])
def test_noise_is_what_plain_torch_finds_with_the_same_directions(name: str, relative_to: str) -> None:
    network, batches = made(name)
    found = measured(network, batches, "noise", relative_to=relative_to, precision="float64", noise_draws=3, seed=7)
    weights = {own: parameter.detach().double() for own, parameter in network.named_parameters()}
    generator, point = torch.Generator().manual_seed(7), RowPoint.of(weights)
    drawn = [point.normal(int(torch.randint(2**62, (), generator=generator))) for _ in range(3)]
    directions = [{own: as_long(relative_to, z[own], weights[own]) for own in weights} for z in drawn]
    before = loss_of(network, weights, batches)
    for record in found.details["by_sigma"]:
        changes = [
            sum(
                loss_of(network, {own: weights[own] + step * v[own] for own in weights}, batches) - before
                for step in (record["sigma"], -record["sigma"])
            )
            / 2
            for v in directions
        ]
        assert record["value"] == pytest.approx(math.fsum(changes) / 3, rel=1e-9)


@pytest.mark.parametrize("name", NETWORKS)
def test_it_agrees_with_ample_memory(name: str) -> None:
    """Other directions of the same distribution, so within the errors of drawing."""
    network, batches = made(name)
    small = measured(network, batches, "noise", noise_draws=12, sigma=0.1)
    ample = bnsharp_cli.measure(
        network, batches, name="noise", partition="filter", bn="running", noise_draws=12, sigma=0.1
    )
    errors = (small.uncertainty.sampling, ample.uncertainty.sampling)
    assert abs(small.value - ample.value) < 4 * math.hypot(*(error or math.nan for error in errors))


def noises(name: str, dtype: torch.dtype) -> list[Measurement]:
    """Noise of a network whose weights are stored in bfloat16, for every seed."""
    network, batches = made(name)
    surface = RowSurface.of(network.bfloat16(), batches, batch_statistics=False, dtype=dtype)
    point = surface.point()
    blocks = relative_blocks(surface.module, point, "filter")
    each = (MeasureOptions.from_flat(seed=seed, noise_draws=2, sigma=0.1) for seed in SEEDS)
    return [MEASURES["noise"](surface, point, blocks, options) for options in each]


@pytest.mark.parametrize(("name", "dtype"), [("gpt2", torch.float32), ("llama", torch.bfloat16)])
def test_the_stated_rounding_covers_float64(name: str, dtype: torch.dtype) -> None:
    pairs = list(zip(noises(name, dtype), noises(name, torch.float64), strict=True))
    errors = [abs(found.value - exact.value) for found, exact in pairs]
    stated = [found.uncertainty.rounding or 0.0 for found, _ in pairs]
    assert all(errors)
    assert sum(error > bound for error, bound in zip(errors, stated, strict=True)) <= 1
    assert max(stated) < 1000 * max(errors)


def test_noise_that_bfloat16_weights_would_lose_is_not_lost() -> None:
    """σ = 1e-4 is below the last bit of every weight: weights that were rounded to bfloat16 would not move at all."""
    network, batches = made("gpt2")
    network = network.bfloat16()
    exact = measured(network, batches, "noise", precision="float64", sigma=1e-4, noise_draws=4)
    found = measured(network, batches, "noise", precision="float32", sigma=1e-4, noise_draws=4)
    rounded = measured(network, batches, "noise", precision="bfloat16", sigma=1e-4, noise_draws=4)
    assert exact.value != 0
    assert abs(found.value - exact.value) <= (found.uncertainty.rounding or 0)
    assert rounded.status is Status.BELOW_RESOLUTION
    assert abs(rounded.value - exact.value) <= (rounded.uncertainty.rounding or 0)


def trained(network: nn.Module, batches: Batches) -> nn.Module:
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(60):
        for inputs, targets in batches:
            optimizer.zero_grad()
            functional.cross_entropy(network(inputs), targets).backward()
            optimizer.step()
    return network.eval()


@pytest.mark.parametrize(
    ("name", "precision"), [("attending", "float32"), ("llama", "float32"), ("recurrent", "float64")]
)
def test_the_critical_radius_is_that_of_ample_memory(name: str, precision: str) -> None:
    network, batches = made(name)
    network = trained(network, batches)
    small = measured(network, batches, "critical-radius", precision=precision)
    ample = bnsharp_cli.measure(
        network, batches, name="critical-radius", partition="filter", bn="running", precision="float64"
    )
    assert small.details["slope"] == pytest.approx(ample.details["slope"], rel=1e-4)
    reach = max(small.uncertainty.rounding or 0, 1e-6 * ample.value) + (ample.uncertainty.bracket or 0)
    assert abs(small.value - ample.value) <= reach


def test_flash_attention_has_no_second_derivative_and_is_measured_all_the_same() -> None:
    network, batches = made("attending")
    with pytest.raises(bnsharp_cli.errors.UnfitMeasureError, match="cannot be differentiated twice"):
        bnsharp_cli.measure(network, batches, name="hessian", bn="running")
    for memory in ("ample", "small"):
        for seed in range(3):
            options = {"partition": "filter", "bn": "running", "memory": memory, "noise_draws": 2, "seed": seed}
            exact = bnsharp_cli.measure(network, batches, name="noise", precision="float64", **options)
            found = bnsharp_cli.measure(network, batches, name="noise", precision="float32", **options)
            assert abs(found.value - exact.value) <= found.uncertainty.rounding
