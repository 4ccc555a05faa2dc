"""What layers and blocks add to a value, by plain autograd and by displacing one layer alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.errors import UsageError
from bnsharp_cli.measurement.measures.measurement import Measurement

FACTOR = math.sqrt(2 / 3)


class Scaled(nn.Module):
    """Two convolutions with norms, a classifier, and a number of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)
        self.second, self.norms = nn.Conv2d(6, 5, 3), nn.ModuleList([nn.BatchNorm2d(5)])
        self.head, self.scale = nn.Linear(5, 4), nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.norm(self.first(x)))
        x = torch.tanh(self.norms[0](self.second(x)))
        return self.scale * self.head(x.mean((2, 3)))


def batches(count: int = 4) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(16, 3, 8, 8, generator=generator), torch.randint(4, (16,), generator=generator))
        for _ in range(count)
    ]


def gradients(network: nn.Module, data: list[tuple[Tensor, Tensor]]) -> list[dict[str, Tensor]]:
    """∇L of each batch, in float64."""
    network = network.double().train()
    names, parameters = zip(*network.named_parameters(), strict=True)
    found = []
    for inputs, targets in data:
        loss = functional.cross_entropy(network(inputs.double()), targets)
        found.append(dict(zip(names, torch.autograd.grad(loss, parameters), strict=True)))
    return found


def measured(by: str, **options: Any) -> Measurement:
    given = {"delta": 1e-4, "precision": "float64", "by": by, **options}
    return bnsharp_cli.measure(Scaled(), batches(), **given)


def parts(measurement: Measurement) -> dict[str, dict[str, Any]]:
    return {part["name"]: part for part in measurement.details["parts"]["each"]}


def paper_rows(gradient: Callable[[str], Tensor]) -> dict[str, Tensor]:
    """r_i² ‖g_i‖² of each row, by the tensor of the row; the radii are those of the network."""
    weights = dict(Scaled().double().named_parameters())
    found = {}
    for name in ("first.weight", "second.weight"):
        radii = weights[name].detach().flatten(1).norm(dim=1)
        found[name] = radii * gradient(name).flatten(1).norm(dim=1)
    return found


def test_parts_by_layer_are_those_of_the_gradient_and_add_up() -> None:
    """Rows of convolutions add r_i‖g_i‖; what θ_* adds is shared by the squares of its gradient."""
    measurement, each = measured("layer"), gradients(Scaled(), batches())
    mean = {name: torch.stack([one[name] for one in each]).mean(0) for name in each[0]}
    rows = paper_rows(lambda name: mean[name])
    free = {name: part for name, part in mean.items() if name not in rows}
    without_effect = {"first.bias", "second.bias"}
    rest = math.sqrt(sum(float(part.square().sum()) for part in free.values()))
    expected = {"first": float(rows["first.weight"].sum()), "second": float(rows["second.weight"].sum())}
    for name, part in free.items():
        layer = name.rpartition(".")[0] or name
        expected[layer] = expected.get(layer, 0.0) + float(part.square().sum()) / rest
    found = parts(measurement)
    assert found.keys() == expected.keys()
    assert without_effect < set(free)
    for layer, value in expected.items():
        assert found[layer]["value"] == pytest.approx(FACTOR * value, rel=1e-4, abs=1e-12), layer
    assert sum(part["value"] for part in found.values()) == pytest.approx(measurement.value, rel=1e-9)
    assert sum(part["share"] for part in found.values()) == pytest.approx(1)
    assert measurement.details["parts"]["of"] == "slope"


def test_parts_on_more_samples_are_those_of_pairs_of_batches() -> None:
    """Rows: r_i √max(U_i, 0) with U_i from all pairs of different batches."""
    measurement, each = measured("layer"), gradients(Scaled(), batches())
    count = len(each)
    sums = {name: sum(one[name] for one in each) for name in each[0]}
    weights = dict(Scaled().double().named_parameters())
    for name in ("first", "second"):
        total = sums[f"{name}.weight"].flatten(1).square().sum(1)
        own = sum(one[f"{name}.weight"].flatten(1).square().sum(1) for one in each)
        unbiased = ((total - own) / (count * (count - 1))).clamp_min(0).sqrt()
        radii = weights[f"{name}.weight"].detach().flatten(1).norm(dim=1)
        assert parts(measurement)[name]["population"] == pytest.approx(FACTOR * float(radii @ unbiased), rel=1e-3)
    every = sum(part["population"] for part in parts(measurement).values())
    assert every == pytest.approx(measurement.details["population"]["value"], rel=1e-9)


def test_a_layer_has_the_interval_that_the_slopes_of_the_batches_along_it_give() -> None:
    """Student's of the slopes Σ_i r_i⟨g_bi, g_i⟩/‖g_i‖ of the layer's rows, as a factor; 1.7 times as far upwards."""
    given = {"delta": 1e-4, "precision": "float64"}
    measurement = bnsharp_cli.measure(Scaled(), batches(16), **given, by="layer")
    each = gradients(Scaled(), batches(16))
    quantile = 2.131449546  # of t with 15 degrees of freedom at 0.975, from tables
    for layer in ("first", "second"):
        name, part = f"{layer}.weight", parts(measurement)[layer]
        mean = torch.stack([one[name] for one in each]).mean(0).flatten(1)
        radii = dict(Scaled().double().named_parameters())[name].detach().flatten(1).norm(dim=1)
        steepest = radii[:, None] * mean / mean.norm(dim=1, keepdim=True)
        slopes = torch.stack([(one[name].flatten(1) * steepest).sum() for one in each])
        error = quantile * float(slopes.std() / slopes.mean()) / 4
        expected = part["population"]
        assert part["low"] == pytest.approx(expected * math.exp(-error), rel=1e-3)
        assert part["high"] == pytest.approx(max(part["value"], expected) * math.exp(1.7 * error), rel=1e-3)
    whole = bnsharp_cli.measure(Scaled(), batches(16), **given)
    assert measurement.cost.forward == pytest.approx(whole.cost.forward + 1)


def test_parts_by_block_are_called_by_tensor_and_row() -> None:
    measurement, each = measured("block"), gradients(Scaled(), batches())
    mean = {name: torch.stack([one[name] for one in each]).mean(0) for name in each[0]}
    found = parts(measurement)
    assert len(found) == 12
    for name, rows in paper_rows(lambda name: mean[name]).items():
        for row, value in enumerate(rows.tolist()):
            assert found[f"{name}[{row}]"]["value"] == pytest.approx(FACTOR * value, rel=1e-4)
    assert found["the rest"]["value"] > 0
    assert sum(part["value"] for part in found.values()) == pytest.approx(measurement.value, rel=1e-9)


@pytest.mark.parametrize(
    ("partition", "names"), [("layer", {"scale", "first.weight"}), ("filter", {"first.weight[2]"})]
)
def test_other_partitions_have_their_own_blocks(partition: str, names: set[str]) -> None:
    found = parts(measured("block", partition=partition))
    assert names < found.keys()
    assert "the rest" not in found


def test_joint_blocks_are_called_by_their_tensors() -> None:
    found = parts(measured("block", partition="extended"))
    joint = [name for name in found if " and " in name]
    assert all("norm" in name for name in joint)


def test_where_curvature_speaks_each_layer_is_displaced_alone() -> None:
    measurement = measured("layer", delta=0.5)
    assert measurement.details["population"] is None
    assert measurement.details["parts"]["of"] == "change"
    assert measurement.direction is not None
    network = Scaled().double().train()
    theta = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}

    def loss() -> float:
        with torch.no_grad():
            each = [functional.cross_entropy(network(inputs.double()), targets) for inputs, targets in batches()]
        return float(torch.stack(each).mean())

    before = loss()
    for layer, part in parts(measurement).items():
        for name, parameter in network.named_parameters():
            own = (name.rpartition(".")[0] or name) == layer
            parameter.data = theta[name] + 0.5 * measurement.direction[name] * own
        assert part["value"] == pytest.approx(abs(loss() - before) / 0.5, rel=1e-6)
        assert part["population"] is None
    plain = measured("none", delta=0.5)
    assert plain.value == measurement.value
    assert measurement.cost.forward - plain.cost.forward == len(parts(measurement))


def test_nothing_is_divided_unasked_and_numbers_are_no_parts() -> None:
    assert "parts" not in measured("none").details
    with pytest.raises(UsageError, match="by: expected layer with the partition element"):
        measured("block", partition="element")
