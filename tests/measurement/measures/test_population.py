"""What more samples would bring the value to, against populations whose value is known."""

from __future__ import annotations

import math
from statistics import fmean
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnsharp_cli.measurement.measures.bn_sharpness import bn_sharpness
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.batch_sizes import BatchSizes
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from tests.cases import blocks_by_hand

BLOCKS = blocks_by_hand({"first": (0,), "second": (1,), "free": (2,)}, invariant=2)
FACTOR = math.sqrt(2 / 3)


class Slopes(nn.Module):
    """θ·x with θ in three tensors of three numbers: the gradient of the mean loss is the mean of the inputs."""

    def __init__(self) -> None:
        super().__init__()
        for name, length in (("first", 2.0), ("second", 0.5), ("free", 3.0)):
            self.register_parameter(name, nn.Parameter(torch.tensor([[length, 0.0, 0.0]], dtype=torch.float64)))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs @ torch.cat([*self.parameters()], dim=1).T


def limit(mean: Tensor) -> float:
    """√(2/3) (2 ‖x̄_first‖ + ½ ‖x̄_second‖ + ‖x̄_free‖)."""
    return FACTOR * float(sum(r * part.norm() for r, part in zip((2.0, 0.5, 1.0), mean.split(3), strict=True)))


def measured(inputs: Tensor, available: int | None, parts: int | list[int] = 16) -> dict[str, Any]:
    cut = inputs.chunk(parts) if isinstance(parts, int) else inputs.split(parts)
    batches = [(part, torch.zeros(len(part))) for part in cut]
    sizes = BatchSizes(tuple(len(part) for part, _ in batches), available)
    surface = LossSurface.of(Slopes(), batches, lambda outputs, _: outputs.mean(), dtype=torch.float64, sizes=sizes)
    return bn_sharpness(surface, surface.point(), BLOCKS, MeasureOptions(delta=1e-2)).to_dict()


def population(inputs: Tensor, available: int | None = None, parts: int | list[int] = 16) -> dict[str, Any]:
    found = measured(inputs, available, parts)["population"]
    assert isinstance(found, dict)
    return found


def drawn(count: int, seed: int, shift: float = 0.3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return shift + torch.randn(count, 9, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("parts", [16, [40, 40, 25, 8, 15]])
def test_the_estimate_is_that_of_pairs_of_batches(parts: int | list[int]) -> None:
    """Σ_{b≠c} w_b w_c ⟨g_b, g_c⟩ / Σ_{b≠c} w_b w_c block by block, pair by pair."""
    inputs = drawn(128, 0)
    found = population(inputs, parts=parts)
    batches = inputs.chunk(parts) if isinstance(parts, int) else inputs.split(parts)
    total, pairs = torch.zeros(3, dtype=torch.float64), 0.0
    for one, first in enumerate(batches):
        for other, second in enumerate(batches):
            if one != other:
                weight = len(first) * len(second)
                products = (first.mean(0) * second.mean(0)).reshape(3, 3).sum(1)
                total, pairs = total + weight * products, pairs + weight
    expected = FACTOR * float(torch.tensor([2.0, 0.5, 1.0]).double() @ (total / pairs).clamp_min(0).sqrt())
    assert found["of"] == "fresh"
    assert found["value"] == pytest.approx(expected, rel=1e-4)
    assert {key: found[key] for key in found["fresh"]} == found["fresh"]


def test_the_whole_split_is_known_exactly_and_fresh_data_are_not() -> None:
    inputs = drawn(128, 1)
    record = measured(inputs, 128)
    found = record["population"]
    assert found["of"] == "split"
    assert found["low"] == found["high"] == found["value"] == record["value"]
    assert record["value"] == pytest.approx(limit(inputs.mean(0)), rel=1e-4)
    assert record["uncertainty"]["sampling"] is None
    assert found["fresh"]["low"] < found["fresh"]["value"] < found["fresh"]["high"]


def test_the_estimate_is_right_on_average_where_the_value_is_not() -> None:
    """150 draws of 128 of 1,024, and of 128 new ones with less noise: the root of a noisy block is too small."""
    everything = drawn(1024, 2, 0.2)
    split, fresh, values = [], [], []
    for seed in range(150):
        order = torch.randperm(1024, generator=torch.Generator().manual_seed(seed))
        record = measured(everything[order[:128]], 1024)
        split.append(record["population"]["value"])
        values.append(record["value"])
        fresh.append(population(drawn(128, 1000 + seed, 0.4))["value"])
    truth, true_mean = limit(everything.mean(0)), limit(torch.full((9,), 0.4, dtype=torch.float64))
    assert fmean(split) == pytest.approx(truth, rel=0.02)
    assert fmean(fresh) == pytest.approx(true_mean, rel=0.02)
    assert fmean(values) > 1.04 * truth


@pytest.mark.parametrize("shift", [0.1, 0.3])
def test_intervals_cover(shift: float) -> None:
    """Of the intervals that are given at least 95 %; 100 draws, so that 91 are three standard errors below."""
    everything = drawn(2048, 3, shift)
    kept = held = 0
    for seed in range(100):
        order = torch.randperm(2048, generator=torch.Generator().manual_seed(seed))
        found = population(everything[order[:256]], 2048)
        if found["low"] is not None:
            kept += 1
            held += found["low"] <= limit(everything.mean(0)) <= found["high"]
    assert kept >= 50
    assert held >= 0.91 * kept


def test_so_many_samples_do_bring_the_interval_within_a_tenth() -> None:
    inputs = drawn(512, 4)
    needed = population(inputs, None)["samples_needed"]
    assert 512 < needed < 20_000
    ends = []
    for seed in range(10):
        found = population(drawn(needed, 100 + seed), None, needed // 32)
        ends += [found["low"] / found["value"], found["high"] / found["value"]]
    assert 0.85 < min(ends) < 0.95
    assert 1.05 < max(ends) < 1.15


def test_of_a_split_no_more_samples_are_needed_than_it_has() -> None:
    found = population(drawn(64, 5, 0.05), 80)
    assert 64 <= found["samples_needed"] <= 80
    assert found["fresh"]["samples_needed"] > 80


def test_where_a_batch_carries_the_gradient_there_is_no_interval() -> None:
    inputs = drawn(128, 6, 0.0) / 100
    inputs[5] = 50.0
    record = measured(inputs, 1024)
    found = record["population"]
    assert found["largest_share"] > 0.9
    assert found["low"] is found["high"] is None
    assert record["uncertainty"]["sampling"] == pytest.approx(record["value"])


def test_two_batches_tell_the_estimate_but_no_interval() -> None:
    found = population(drawn(48, 7), 1024, 2)
    assert found["value"] > 0
    assert found["low"] is found["high"] is None
    assert measured(drawn(48, 7), 1024, 1)["population"] is None
