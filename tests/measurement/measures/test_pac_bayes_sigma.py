"""The σ of PAC-Bayes: plain torch with the same directions, a case by hand, its errors, and where there is none."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import bnsharp_cli
from bnsharp_cli.errors import UnfitMeasureError
from bnsharp_cli.measurement.measures.measurement import Measurement
from tests.measurement.perturbed import accuracy_of, data, measured, moved, small_network, unit_blocks

RELATIVE = ("filter", "layer", "element")


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return small_network()


def drops(network: nn.Module, found: Measurement, sigma: float, seed: int) -> list[float]:
    generator = torch.Generator().manual_seed(seed)
    directions = (unit_blocks(network, generator, found.details["relative_to"]) for _ in range(found.details["draws"]))
    return [found.details["accuracy"] - accuracy_of(moved(network, v, sigma)) for v in directions]


@pytest.mark.parametrize("relative_to", RELATIVE)
def test_sigma_is_where_plain_torch_sees_the_accuracy_fall(network: nn.Module, relative_to: str) -> None:
    found = measured(network, "pac-bayes-sigma", relative_to=relative_to, seed=3)
    assert found.details["accuracy"] == pytest.approx(accuracy_of(network))
    before, after = (drops(network, found, found.details[end], 3) for end in ("low", "high"))
    assert sum(before) / 10 <= 0.1 + 1e-9 < sum(after) / 10
    assert found.value == (found.details["low"] + found.details["high"]) / 2
    assert found.uncertainty.bracket == (found.details["high"] - found.details["low"]) / 2 <= found.value / 32
    assert found.cost.forward <= 141
    assert (found.cost.forward - 1) % 10 == found.cost.backward == 0


class Threshold(nn.Module):
    """The second class is chosen where w x > 1."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.stack([torch.zeros_like(inputs), self.weight * inputs - 1], 1)


@pytest.mark.parametrize("seed", range(6))
def test_sigma_of_a_single_weight_by_hand(seed: int) -> None:
    """A weight of 1 + σ wrongs what lies between 1/(1 + σ) and 1, one of 1 − σ what lies between 1 and 1/(1 − σ)."""
    inputs = torch.linspace(0.4, 2.4, 1001, dtype=torch.float64)
    found = bnsharp_cli.measure(
        Threshold(), [(inputs, (inputs > 1).long())], name="pac-bayes-sigma", seed=seed, precision="float64"
    )
    drawn = torch.randn(10, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    up = int((drawn > 0).sum())

    def drop(sigma: float) -> float:
        lost = ((inputs > 1 / (1 + sigma)) & (inputs <= 1)).double().mean()
        won = ((inputs > 1) & (inputs * (1 - sigma) <= 1)).double().mean()
        return float(up * lost + (10 - up) * won) / 10

    assert drop(found.details["low"]) <= 0.1 < drop(found.details["high"])


@pytest.mark.slow(
    reason="measures by 24 seeds",
    quick="tests/measurement/measures/test_perturbations.py::test_the_sampling_error_of_noise_is_its_spread_over_seeds",
)
def test_the_sampling_error_of_sigma_is_its_spread_over_seeds(network: nn.Module) -> None:
    found = [measured(network, "pac-bayes-sigma", seed=seed) for seed in range(24)]
    spread = float(torch.tensor([one.value for one in found], dtype=torch.float64).std())
    stated = sum(one.uncertainty.sampling for one in found) / len(found)
    assert 0.6 <= stated / spread <= 1.7


class Warm(nn.Module):
    """A network with a temperature, on which its loss depends and no prediction does."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.warmth = network, nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.network(inputs) * self.warmth.exp()


def test_what_has_no_accuracy_to_lose_has_no_sigma(network: nn.Module) -> None:
    regression = [(inputs, inputs[:, :3].double()) for inputs, _ in data()]
    with pytest.raises(UnfitMeasureError, match="no accuracy: the targets are not numbers of classes"):
        bnsharp_cli.measure(network, regression, nn.MSELoss(), "pac-bayes-sigma")
    other = [(inputs, (targets + torch.arange(40)) % 3) for inputs, targets in data()]
    with pytest.raises(UnfitMeasureError, match=r"The accuracy is 0\.3\d*, and a guess among 3 classes has 0\.333"):
        measured(network, "pac-bayes-sigma", other)
    with pytest.raises(UnfitMeasureError, match=r"Noise of up to 4 times the weights takes less than 0\.1 off"):
        measured(Warm(network), "pac-bayes-sigma", parameters="warmth")
