"""Batches of unequal size: every example counts alike under a mean loss, a sum stays one, and the result says which."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import bnsharp_cli
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.bound.options import BoundOptions
from bnsharp_cli.measurement.bound.pac_bayes import pac_bayes_bound
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.surface.adapters import CheckedCriterion
from bnsharp_cli.measurement.surface.examination import examined
from bnsharp_cli.measurement.surface.fixed_batches import fixed_batches
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.settings import EVERY_PARAMETER
from bnsharp_cli.measurement.surface.stacking import PointsAtOnce
from tests.border.networks import ROWS, Net, penalty
from tests.border.oracle import bn_along_gradient, bn_limit, plain_loss_and_gradient

Batches = list[tuple[Tensor, Tensor]]
OfBatch = Callable[[nn.Module, Tensor, Tensor], Tensor]

SIZES = (32, 32, 7, 20)
WEIGHTS = torch.tensor([1.0, 2.1, 0.3, 4.7])
COUNT_BY_SIZE = "batches of 7 to 32 examples count by their sizes, because the loss averages over examples"
NOT_WEIGHTED = "are not weighted, because the loss adds up"
COUNT_ALIKE = "count alike whatever their sizes, because the loss is not known to be a mean"


def batches(sizes: tuple[int, ...] = SIZES) -> Batches:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(n, 10, generator=generator), torch.randint(4, (n,), generator=generator)) for n in sizes]


def entropy(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(model(x), y)


def by_size(of_batch: OfBatch, data: Batches) -> Callable[[nn.Module], Tensor]:
    """Σ_b n_b L_b / Σ_b n_b in float64."""
    examples = sum(len(y) for _, y in data)
    return lambda model: torch.stack([len(y) * of_batch(model, x.double(), y) for x, y in data]).sum() / examples


def alike(of_batch: OfBatch, data: Batches) -> Callable[[nn.Module], Tensor]:
    return lambda model: torch.stack([of_batch(model, x.double(), y) for x, y in data]).mean()


def surface_of(
    data: Any, criterion: Any = functional.cross_entropy, points: Any = "auto", dtype: torch.dtype = torch.float64
) -> LossSurface:
    checked = CheckedCriterion(criterion, "'loss'")
    return examined(
        LossSurface.of(Net(), fixed_batches(data), checked, dtype=dtype, points_at_once=PointsAtOnce(points))
    )


@pytest.mark.parametrize("points", ["auto", "loop"])
def test_the_loss_and_its_gradient_are_means_over_examples(points: str) -> None:
    surface = surface_of(batches(), points=points)
    point = surface.point()
    loss, gradient = plain_loss_and_gradient(Net(), by_size(entropy, batches()))
    assert surface.values([point, point]) == pytest.approx([loss, loss], rel=1e-12)
    for value, found in (surface.value_and_gradient(point), *surface.values_and_gradients([point, point])):
        assert value == pytest.approx(loss, rel=1e-12)
        for name, expected in gradient.items():
            assert torch.allclose(found[name], expected, rtol=1e-9, atol=1e-12), name


LOSSES: dict[str, tuple[Callable[[nn.Module], Any], OfBatch, Any, str]] = {
    "a mean": (lambda _: functional.cross_entropy, entropy, by_size, COUNT_BY_SIZE),
    "a mean by classes": (
        lambda _: nn.CrossEntropyLoss(WEIGHTS),
        lambda model, x, y: functional.cross_entropy(model(x), y, WEIGHTS.double()),
        by_size,
        COUNT_BY_SIZE,
    ),
    "a mean and a penalty": (
        lambda model: lambda outputs, y: functional.cross_entropy(outputs, y) + 0.01 * penalty(model),
        lambda model, x, y: entropy(model, x, y) + 0.01 * penalty(model),
        by_size,
        COUNT_BY_SIZE,
    ),
    "a sum": (
        lambda _: nn.CrossEntropyLoss(reduction="sum"),
        lambda model, x, y: functional.cross_entropy(model(x), y, reduction="sum"),
        alike,
        NOT_WEIGHTED,
    ),
    "a plain sum": (
        lambda _: lambda outputs, y: functional.cross_entropy(outputs, y, reduction="none").sum() / 32,
        lambda model, x, y: functional.cross_entropy(model(x), y, reduction="sum") / 32,
        alike,
        NOT_WEIGHTED,
    ),
    "a loss between the two": (
        lambda _: lambda outputs, y: functional.cross_entropy(outputs, y, reduction="sum") / len(y) ** 0.5,
        lambda model, x, y: functional.cross_entropy(model(x), y, reduction="sum") / len(y) ** 0.5,
        alike,
        COUNT_ALIKE,
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_each_loss_counts_its_batches_as_it_should(name: str) -> None:
    criterion, of_batch, weighed, said = LOSSES[name]
    model = Net()
    measured = bnsharp_cli.measure(model, batches(), criterion(model), precision="float64")
    rows = () if "penalty" in name else ROWS
    assert measured.value == pytest.approx(bn_along_gradient(model, weighed(of_batch, batches()), rows), rel=2e-4)
    assert [note for note in measured.notes if said in note]


def test_batches_of_one_size_have_no_note() -> None:
    assert bnsharp_cli.measure(Net(), batches((16, 16))).notes == ()


def test_a_loader_that_keeps_its_rest() -> None:
    x, y = batches((45,))[0]
    loader = DataLoader(TensorDataset(x, y), batch_size=16)
    data = [*loader]
    assert [len(labels) for _, labels in data] == [16, 16, 13]
    report = bnsharp_cli.rescale_test(Net(), loader, ball_samples=2)
    assert report.invariant
    assert report.notes == (COUNT_BY_SIZE.replace("7 to 32", "13 to 16"),)
    assert bnsharp_cli.find_blocks(Net(), loader).invariant == 16


def test_running_statistics_see_no_batches() -> None:
    x, y = batches((45,))[0]
    values = {
        bnsharp_cli.measure(
            Net(), DataLoader(TensorDataset(x, y), batch_size=size), bn="running", precision="float64"
        ).value
        for size in (45, 16, 7)
    }
    assert max(values) == pytest.approx(min(values), rel=1e-9)


class Regularised(Net):
    """Answers with a number of its own beside the outputs, a mean or a sum over examples."""

    reduction = "mean"

    def forward(self, x: Tensor) -> Any:
        features = self.body(x)
        size = features.square().sum()
        return {"logits": self.head(features), "size": size / len(x) if self.reduction == "mean" else size}


def own_number(outputs: Any, _: Tensor) -> Any:
    return outputs["size"]


def logits_alone(outputs: Any, y: Tensor) -> Tensor:
    return functional.cross_entropy(outputs["logits"], y)


@pytest.mark.parametrize(("reduction", "weighed"), [("mean", by_size), ("sum", alike)])
def test_a_loss_that_the_network_computes_itself_is_tried_on_a_doubled_batch(reduction: str, weighed: Any) -> None:
    model = Regularised()
    model.reduction = reduction
    measured = bnsharp_cli.measure(model, batches(), own_number, precision="float64")
    expected = bn_along_gradient(model, weighed(lambda net, x, _: net(x)["size"], batches()), ROWS)
    assert measured.value == pytest.approx(expected, rel=2e-4)
    assert [note for note in measured.notes if (COUNT_BY_SIZE if reduction == "mean" else NOT_WEIGHTED) in note]


class OfItsSizes(Regularised):
    def forward(self, x: Tensor) -> Any:
        assert len(x) in SIZES
        return super().forward(x)


def test_what_cannot_be_told_counts_alike() -> None:
    measured = bnsharp_cli.measure(OfItsSizes(), batches(), logits_alone)
    assert [note for note in measured.notes if COUNT_ALIKE in note]
    assert measured.value == pytest.approx(bn_along_gradient(Net(), alike(entropy, batches()), ROWS), rel=1e-3)


def test_the_first_batch_may_have_no_loss() -> None:
    def loss(outputs: Tensor, y: Tensor) -> Tensor:
        return (functional.cross_entropy(outputs, y, reduction="none") * (y != 3)).mean()

    data = batches()
    data[0] = (data[0][0], torch.full((32,), 3))
    assert surface_of(data, loss).averages


def test_dropout_in_eval_mode_is_no_obstacle() -> None:
    class Drops(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(functional.dropout(self.body(x)))

    assert COUNT_BY_SIZE in bnsharp_cli.measure(Drops(), batches()).notes


@pytest.mark.parametrize("sizes", [(32, 32, 7, 20), (7, 40, 3, 5, 21)])
def test_the_sampling_error_weighs_parts_of_the_batches_by_examples(sizes: tuple[int, ...]) -> None:
    data, count = batches(sizes), len(sizes)
    found = bnsharp_cli.measure(Net(), data, precision="float64", delta=1e-5, uncertainty="full")
    curve = {each["batches"]: each["value"] for each in found.details["sampling"]["values"]}

    def limit(part: Batches) -> float:
        return bn_limit(Net(), by_size(entropy, part), ROWS)

    half = count // 2
    assert curve[count // 4] == pytest.approx(limit(data[: count // 4]), rel=1e-3)
    assert curve[half] == pytest.approx((limit(data[:half]) + limit(data[half:])) / 2, rel=1e-3)
    assert found.details["sampling"]["cross_fitted"] == pytest.approx(_crossed(data[:half], data[half:]), rel=1e-3)


def _crossed(one: Batches, other: Batches) -> float:
    """The mean over both orders of ⟨∇L of one, the direction of the other⟩, times (2/3)^½."""
    parts = [plain_loss_and_gradient(Net(), by_size(entropy, part))[1] for part in (one, other)]
    weights = dict(Net().double().named_parameters())
    total = 0.0
    for own, slope in (parts, parts[::-1]):
        free = [name for name in own if name not in ROWS]
        length = math.sqrt(sum(float(own[name].square().sum()) for name in free))
        crossed = sum(float((own[name] * slope[name]).sum()) for name in free) / length
        for name in ROWS:
            inner, sizes = (own[name] * slope[name]).sum(1), own[name].norm(dim=1)
            crossed += float((inner / sizes * weights[name].detach().norm(dim=1)).sum())
        total += abs(crossed) / 2
    return total * math.sqrt(2 / 3)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_bound_is_of_every_example_whatever_the_loss_of_the_network(reduction: str) -> None:
    surface = surface_of(batches(), nn.CrossEntropyLoss(reduction=reduction))
    point = surface.point()
    found = pac_bayes_bound(surface, point, find_blocks(surface, point), MeasureOptions(), BoundOptions(kl=5.0))

    def clipped(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(model(x), y, reduction="none").clamp(max=found.options.clip).mean()

    expected = plain_loss_and_gradient(Net(), by_size(clipped, batches()))[0] / found.options.clip
    assert found.empirical_loss == pytest.approx(expected, rel=1e-9)
    assert found.terms == sum(SIZES) // max(SIZES)


def test_some_parameters_are_weighed_likewise() -> None:
    chosen = bnsharp_cli.measure(Net(), batches(), parameters=["*"], precision="float64").value
    assert chosen == bnsharp_cli.measure(Net(), batches(), parameters=EVERY_PARAMETER, precision="float64").value
