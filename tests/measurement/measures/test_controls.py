"""The controls beside the measures: each against plain torch in float64, and in one pass together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.measures.measure_all import measure_all
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.surface.batch_sizes import BatchSizes
from bnsharp_cli.measurement.surface.cost import FORWARD
from bnsharp_cli.measurement.surface.data_stream import Stream
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

CLASSES = 4
OF_OUTPUTS = ("loss", "margin", "entropy", "relative-flatness")
CONTROLS = (*OF_OUTPUTS, "gradient-norm", "weight-norm", "random")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, CLASSES)).double()


def batches(count: int = 4, size: int = 9) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randn(count, size, 5, generator=generator, dtype=torch.float64)
    return [(inputs, torch.randint(CLASSES, (size,), generator=generator)) for inputs in drawn]


def measured(name: str, data: Any = None, criterion: Any = functional.cross_entropy, **options: Any) -> Measurement:
    settings = {"precision": "float64", **options}
    return bnsharp_cli.measure(network(), batches() if data is None else data, criterion, name, **settings)


def answers(data: list[tuple[Tensor, Tensor]]) -> Tensor:
    net = network()  # in training mode, as the batch statistics are
    with torch.no_grad():
        return torch.cat([net(inputs) for inputs, _ in data])


def test_loss_is_the_mean_of_the_samples_with_its_standard_error() -> None:
    data = batches()
    each = functional.cross_entropy(answers(data), torch.cat([y for _, y in data]), reduction="none")
    found = measured("loss")
    assert found.value == pytest.approx(float(each.mean()), rel=1e-13)
    assert found.uncertainty.sampling == pytest.approx(float(each.std()) / math.sqrt(len(each)), rel=1e-10)
    assert found.value == measured("loss", criterion=nn.CrossEntropyLoss()).value


def test_the_loss_of_a_function_of_ones_own_has_the_error_of_its_batches() -> None:
    data = batches()
    losses = [(network()(x) - 1).abs().mean().item() for x, _ in data]
    found = measured("loss", criterion=lambda outputs, _: (outputs - 1).abs().mean())
    assert found.value == pytest.approx(np.mean(losses), rel=1e-13)
    assert found.uncertainty.sampling == pytest.approx(np.std(losses, ddof=1) / 2, rel=1e-10)
    assert measured("loss", data[:1], lambda z, _: (z - 1).abs().mean()).uncertainty.sampling is None


def test_margin_is_a_percentile_of_all_samples() -> None:
    data = batches()
    outputs, labels = answers(data).numpy(), torch.cat([y for _, y in data]).numpy()
    margins = [row[y] - max(np.delete(row, y)) for row, y in zip(outputs, labels, strict=True)]
    found = measured("margin")
    assert found.value == pytest.approx(np.percentile(margins, 10), rel=1e-13)
    assert found.details == {"percentile": 10.0, "labels": 36, "parameters": found.details["parameters"]}
    for criterion in (functional.multi_margin_loss, lambda z, y: functional.cross_entropy(z / 2, y)):
        assert measured("margin", criterion=criterion).value == found.value


def test_the_error_of_the_margin_is_that_of_a_percentile() -> None:
    """Against the spread of the percentile over many draws of independent margins."""
    generator = torch.Generator().manual_seed(3)
    draws = torch.randn(400, 2000, generator=generator, dtype=torch.float64)
    spread = np.percentile(draws.numpy(), 10, axis=1).std()
    errors = []
    for draw in draws[:40]:
        scores = torch.stack([draw, torch.zeros_like(draw)], 1)
        data = [(scores, torch.zeros(len(draw), dtype=torch.int64))]
        found = bnsharp_cli.measure(Scaled(), data, functional.cross_entropy, "margin", precision="float64")
        errors.append(found.uncertainty.sampling)
    assert np.mean(errors) == pytest.approx(spread, rel=0.15)


class Scaled(nn.Module):
    """Inputs times a parameter that is one."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.factor * inputs


def test_entropy_is_that_of_softmax_in_nats() -> None:
    p = answers(batches()).softmax(1)
    each = -(p * p.log()).sum(1)
    found = measured("entropy")
    assert found.value == pytest.approx(float(each.mean()), rel=1e-13)
    assert found.uncertainty.sampling == pytest.approx(float(each.std()) / math.sqrt(len(each)), rel=1e-10)


def test_entropy_of_answers_that_are_all_alike_or_certain() -> None:
    def of(scores: Tensor) -> float:
        return bnsharp_cli.measure(
            Scaled(), [(scores, torch.tensor([0, 1]))], name="entropy", precision="float64"
        ).value

    assert of(torch.full((2, 5), 3.0, dtype=torch.float64)) == pytest.approx(math.log(5), rel=1e-15)
    one = torch.tensor([[900.0, 1, 2], [0, 900, 1]], dtype=torch.float64)
    assert of(one) == 0
    assert of(torch.tensor([[0, -math.inf], [-math.inf, 1]], dtype=torch.float64)) == 0


def gradients(data: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
    net = network()
    found = []
    for inputs, labels in data:
        loss = functional.cross_entropy(net(inputs), labels)
        found.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, [*net.parameters()])]))
    return found


def test_gradient_norm_with_what_fresh_data_would_give() -> None:
    each = gradients(batches(12))
    mean = sum(each, torch.zeros(())) / 12
    pairs = [float(one @ other) for i, one in enumerate(each) for j, other in enumerate(each) if i != j]
    found = measured("gradient-norm", batches(12))
    assert found.value == pytest.approx(float(mean.norm()), rel=1e-12)
    fresh = math.sqrt(max(0.0, float(np.mean(pairs))))
    assert found.details["fresh"] == pytest.approx(fresh, rel=1e-9)
    assert found.uncertainty.sampling == pytest.approx(found.value - fresh, rel=1e-9)
    one = measured("gradient-norm", batches(1))
    assert (one.uncertainty.sampling, one.details["fresh"]) == (None, None)


def test_fresh_data_by_batches_of_unequal_sizes() -> None:
    """Of every pair of different batches, each counting by its size."""
    inputs = batches(1, 24)[0][0]
    data = [*zip(inputs.split([12, 8, 4]), torch.zeros(24).long().split([12, 8, 4]), strict=True)]  # one slope for all
    weights, each = (1.5, 1.0, 0.5), gradients(data)
    pairs = [(i, j) for i in range(3) for j in range(3) if i != j]
    products = sum(weights[i] * weights[j] * float(each[i] @ each[j]) for i, j in pairs)
    wanted = math.sqrt(products / sum(weights[i] * weights[j] for i, j in pairs))
    assert measured("gradient-norm", data).details["fresh"] == pytest.approx(wanted, rel=1e-9)


def test_weight_norm_is_that_of_the_varied_parameters() -> None:
    net = network()
    assert measured("weight-norm").value == pytest.approx(
        math.sqrt(sum(float(p.detach().square().sum()) for p in net.parameters()))
    )
    chosen = measured("weight-norm", parameters="3.*")
    assert chosen.value == pytest.approx(math.hypot(*(float(p.detach().norm()) for p in net[3].parameters())))
    assert chosen.cost == measured("random").cost == bnsharp_cli.Cost()


def test_random_is_decided_by_the_seed_alone() -> None:
    surface = LossSurface.of(network(), batches(), dtype=torch.float64)
    point, blocks = surface.point(), find_blocks(surface, surface.point())
    numbers = [MEASURES["random"](surface, point, blocks, MeasureOptions(seed=seed)).value for seed in range(100)]
    assert measured("random", seed=7).value == numbers[7]
    assert measured("random", batches(2), seed=7, parameters="3.*").value == numbers[7]
    assert len({*numbers}) == 100
    assert all(0 <= number < 1 for number in numbers)
    assert abs(np.mean(numbers) - 0.5) < 3 * math.sqrt(1 / 12 / 100)


def test_those_of_the_outputs_share_one_pass_and_are_what_each_is_alone() -> None:
    surface = LossSurface.of(network(), batches(), dtype=torch.float64)
    point, blocks = surface.point(), find_blocks(surface, surface.point())
    surface.value(point)  # the first pass on a batch gets a copy of it, whose alignment may change last bits
    made, options = surface.counter, MeasureOptions()
    before = made.all - made.trials
    found = measure_all(surface, point, blocks, OF_OUTPUTS, [options])
    assert made.all.forward - made.trials.forward - before.forward == pytest.approx(2)  # one shows how they round
    for name in OF_OUTPUTS:
        (alone,) = measure_all(surface, point, blocks, [name], [options])
        assert found[name] == alone
        assert (alone.cost, alone.uncertainty_cost) == (2 * FORWARD, FORWARD)
    remembering = surface.remembering(point)
    bnsharp_cli.measurement.measures.output_figures.output_figures(remembering, point)
    before = made.all - made.trials
    assert remembering.value(point) == surface.value(point) == found["loss"].value
    assert made.all.forward - made.trials.forward - before.forward == pytest.approx(1)  # of what remembers nothing


@pytest.mark.parametrize("name", CONTROLS)
def test_float32_differs_by_no_more_than_is_stated(name: str) -> None:
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        net = network()
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.mul_(1 + 2 * torch.rand((), generator=generator, dtype=torch.float64)).copy_(
                    parameter.float().double()
                )
        data = [(x.float(), y) for x, y in batches(4, 32)]
        exact, rough = (
            bnsharp_cli.measure(net.float(), data, name=name, precision=precision)
            for precision in ("float64", "float32")
        )
        assert abs(rough.value - exact.value) <= (rough.uncertainty.rounding or 0.0)
        assert (rough.uncertainty.rounding or 0.0) < 1e-3 * abs(exact.value)


@pytest.mark.parametrize("name", CONTROLS)
def test_batches_of_a_stream_and_unequal_ones_give_the_same(name: str) -> None:
    whole = batches(1, 30)[0]
    cut = [*zip(whole[0].split([12, 12, 6]), whole[1].split([12, 12, 6]), strict=True)]
    together, apart = (measured(name, data, bn="running") for data in ([whole], cut))
    assert apart.value == pytest.approx(together.value, rel=1e-12)
    if name in OF_OUTPUTS:
        assert apart.uncertainty.sampling == pytest.approx(together.uncertainty.sampling or 0.0, rel=1e-9)
    surface = LossSurface.of(
        network(), Read(cut), dtype=torch.float64, batch_statistics=False, sizes=BatchSizes((12, 12, 6), 30)
    )
    point, blocks = surface.point(), find_blocks(surface, surface.point())
    (streamed,) = measure_all(surface, point, blocks, [name], [MeasureOptions()])
    assert streamed.value == pytest.approx(together.value, rel=1e-12)
    assert streamed.uncertainty.sampling is None  # it is the whole split


class Read(Stream):
    """Batches that are read whenever they are asked for."""

    def __init__(self, data: list[tuple[Tensor, Tensor]]) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, place: Any) -> Any:
        return Read(self._data[place]) if isinstance(place, slice) else self._data[place]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self._data)

    def on(self, device: Any) -> Read:
        return self
