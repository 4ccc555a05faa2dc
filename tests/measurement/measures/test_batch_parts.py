"""The numbers of single batches: their mean is the value, and they say what other batches would change."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.surface.batch_sizes import BatchSizes
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

BATCHES = 24
SMOOTH = {
    **dict.fromkeys(("loss", "entropy", "relative-flatness", "gradient-norm", "delta-lp", "delta-linf"), 0.99),
    **dict.fromkeys(("keskar", "noise", "hessian"), 0.97),
    "pac-bayes-sigma": 0.8,  # accuracies of 24 batches of 32 samples have steps
}
"""How well the numbers must follow what leaving a batch out changes, as a correlation."""

Batches = list[tuple[Tensor, Tensor]]


@pytest.fixture(scope="module")
def drawn() -> tuple[nn.Module, Batches]:
    """A network that is hardly trained, so that its gradient is more than noise, and batches that differ."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 3))
    true = torch.randn(6, 3)
    batches = []
    for number in range(BATCHES):
        inputs = torch.randn(32, 6) * (1 + number / BATCHES)
        batches.append((inputs, (inputs @ true + torch.randn(32, 3)).argmax(1)))
    optimiser = torch.optim.SGD(module.parameters(), lr=0.05)
    for _ in range(2):
        for inputs, labels in batches:
            optimiser.zero_grad()
            nn.functional.cross_entropy(module(inputs), labels).backward()
            optimiser.step()
    return module, batches


def of(module: nn.Module, batches: Batches) -> LossSurface:
    return LossSurface.of(module, batches, dtype=torch.float64, sizes=BatchSizes((32,) * len(batches), 10_000))


OPTIONS = MeasureOptions.from_flat(ball_samples=8, noise_draws=4, delta=1e-3, hessian_probes=2, iterations=60)


LONG = pytest.mark.slow(
    reason="measures the network anew without each batch, by many passes",
    quick="tests/measurement/measures/test_batch_parts.py::test_they_follow_what_leaving_a_batch_out_changes",
)


LONG_ONES = {"pac-bayes-sigma", "hessian", "delta-linf", "keskar", "delta-lp"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=LONG) if name in LONG_ONES else name for name in SMOOTH])
def test_they_follow_what_leaving_a_batch_out_changes(name: str, drawn: tuple[nn.Module, Batches]) -> None:
    module, batches = drawn
    surface = of(module, batches)
    point = surface.point()
    blocks = find_blocks(surface, point)
    found = MEASURES[name](surface, point, blocks, OPTIONS)
    assert len(found.by_batch) == BATCHES
    assert sum(found.by_batch) / BATCHES == pytest.approx(found.value, rel=1e-9)
    said, seen = [], []
    for left_out in range(0, BATCHES, 2):
        rest = of(module, [*batches[:left_out], *batches[left_out + 1 :]])
        seen.append(MEASURES[name](rest, point, blocks, OPTIONS).value - found.value)
        said.append((found.value - found.by_batch[left_out]) / (BATCHES - 1))
    both = torch.tensor([said, seen], dtype=torch.float64)
    assert float(both.corrcoef()[0, 1]) > SMOOTH[name]
    assert float((both[0] * both[1]).sum() / both[0].square().sum()) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("name", ["weight-norm", "random"])
def test_what_sees_no_data_is_the_same_on_every_batch(name: str, drawn: tuple[nn.Module, Batches]) -> None:
    surface = of(*drawn)
    point = surface.point()
    found = MEASURES[name](surface, point, find_blocks(surface, point), OPTIONS)
    assert found.by_batch == (found.value,) * BATCHES


def test_the_gradient_norm_of_the_whole_split_is_estimated_without_its_noise(drawn: tuple[nn.Module, Batches]) -> None:
    """All pairs of the 24 batches, one after the other, as draws of two batches."""
    module, batches = drawn
    surface = of(module, batches)
    point = surface.point()
    blocks = find_blocks(surface, point)
    whole = MEASURES["gradient-norm"](surface, point, blocks, OPTIONS).value
    squares = []
    for first in range(BATCHES):
        for second in range(first):
            sizes = BatchSizes((32, 32), 32 * BATCHES)
            part = LossSurface.of(module, [batches[first], batches[second]], dtype=torch.float64, sizes=sizes)
            squares.append(MEASURES["gradient-norm"](part, point, blocks, OPTIONS).details["split"] ** 2)
    assert sum(squares) / len(squares) == pytest.approx(whole**2, rel=0.5)
