"""Losses, accuracies and gaps on test data, and their standard errors, beside plain torch."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.measurement.measures.generalization import Generalization, generalization
from bnsharp_cli.measurement.measures.sample_groups import MOST_GROUPS, sample_groups
from bnsharp_cli.measurement.surface.batch_sizes import BatchSizes
from bnsharp_cli.measurement.surface.loss_surface import LossSurface

Batches = list[tuple[Tensor, Tensor]]


def drawn(sizes: list[int], seed: int = 0, classes: int = 3) -> Batches:
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(size, 4, generator=generator), torch.randint(classes, (size,), generator=generator))
        for size in sizes
    ]


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Linear(4, 3)


def by_sample(module: nn.Module, batches: Batches) -> tuple[Tensor, Tensor]:
    """The loss and the answer of every sample, in float64."""
    precise = nn.Linear(4, 3).double()
    precise.load_state_dict(module.state_dict())
    outputs = [precise(inputs.double()) for inputs, _ in batches]
    losses = [functional.cross_entropy(out, y, reduction="none") for out, (_, y) in zip(outputs, batches, strict=True)]
    right = [(out.argmax(1) == y).double() for out, (_, y) in zip(outputs, batches, strict=True)]
    return torch.cat(losses).detach(), torch.cat(right)


def measured(
    module: nn.Module, trained: Batches, test: Batches, available: int | None = None, **settings: object
) -> Generalization:
    sizes = BatchSizes(tuple(len(y) for _, y in trained), available)
    surface = LossSurface.of(module, trained, sizes=sizes, dtype=torch.float64)
    point = surface.point()
    elsewhere = surface.on(test, BatchSizes.of(test))
    return generalization(surface, point, surface.evaluated(point), elsewhere, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("sizes", [[20, 20, 10], [64], [3, 1]])
def test_figures_and_errors_are_those_of_the_single_samples(sizes: list[int]) -> None:
    module, trained, test = network(), drawn([16, 16, 16], 5), drawn(sizes)
    found = measured(module, trained, test)
    losses, right = by_sample(module, test)
    known, known_right = by_sample(module, trained)
    assert found.samples == len(losses)
    assert found.loss == pytest.approx(float(losses.mean()), rel=1e-12)
    assert found.loss_error == pytest.approx(float(losses.std() / len(losses) ** 0.5), rel=1e-9)
    assert found.accuracy == pytest.approx(float(right.mean()))
    assert found.gap == pytest.approx(float(losses.mean() - known.mean()), rel=1e-9)
    assert found.accuracy_gap == pytest.approx(float(known_right.mean() - right.mean()))
    assert found.groups.sizes == (1,) * len(losses)
    batch = known.reshape(3, 16).mean(1)
    assert found.gap_error == pytest.approx(math.hypot(found.loss_error, float(batch.std() / 3**0.5)), rel=1e-9)


def test_many_samples_are_a_few_hundred_groups_of_about_the_same_error() -> None:
    module, test = network(), drawn([900, 900, 147])
    found = measured(module, drawn([16, 16]), test)
    losses, right = by_sample(module, test)
    assert len(found.groups.sizes) <= MOST_GROUPS + len(test)
    assert {*found.groups.sizes} <= {7, 8}
    assert found.loss == pytest.approx(float(losses.mean()), rel=1e-12)
    assert found.loss_error == pytest.approx(float(losses.std() / len(losses) ** 0.5), rel=0.15)
    assert found.accuracy_error == pytest.approx(float(right.std() / len(losses) ** 0.5), rel=0.15)
    starts = torch.tensor((0, *found.groups.sizes[:-1])).cumsum(0).tolist()
    sums = [float(losses[a : a + size].sum()) for a, size in zip(starts, found.groups.sizes, strict=True)]
    each = len(losses) / len(sums)
    assert [*found.groups.losses] == pytest.approx([one / each for one in sums], rel=1e-9)


def test_the_whole_split_adds_no_error_and_a_part_of_it_adds_its_share() -> None:
    module, trained, test = network(), drawn([16, 16, 16], 5), drawn([40])
    whole, half = measured(module, trained, test, 48), measured(module, trained, test, 96)
    assert whole.gap_error == whole.loss_error
    assert whole.accuracy_gap_error == whole.accuracy_error
    known, _ = by_sample(module, trained)
    own = float(known.reshape(3, 16).mean(1).std() / 3**0.5) * 0.5**0.5
    assert half.loss_error is not None
    assert half.gap_error == pytest.approx(math.hypot(half.loss_error, own), rel=1e-9)


def test_one_batch_of_many_tells_nothing_of_the_others() -> None:
    found = measured(network(), drawn([16], 5), drawn([40]), 96)
    assert found.gap_error is None
    assert found.loss_error is not None


def test_a_network_that_makes_no_mistake_may_still_make_one() -> None:
    module = nn.Linear(3, 3)
    module.load_state_dict({"weight": 9 * torch.eye(3), "bias": torch.zeros(3)})
    labels = torch.arange(30) % 3
    test = [(functional.one_hot(labels).float(), labels)]
    surface = LossSurface.of(module, test)
    found = sample_groups(surface, surface.point())
    assert found.accuracy == 1
    assert found.accuracy_error == pytest.approx(math.sqrt(32 / 34 * 2 / 34 / 34))


def test_a_loss_that_is_no_mean_of_the_samples_parts_has_its_batches_as_groups() -> None:
    torch.manual_seed(2)
    module = nn.Linear(4, 1)
    test = [(torch.randn(size, 4), torch.randn(size, 1)) for size in (8, 8, 4)]
    surface = LossSurface.of(module, test, functional.mse_loss, dtype=torch.float64)
    found = sample_groups(surface, surface.point())
    squares = [float(functional.mse_loss(module.double()(x.double()), y.double()).detach()) for x, y in test]
    assert found.sizes == (8, 8, 4)
    assert [*found.losses] == pytest.approx([one * part for one, part in zip(squares, (1.2, 1.2, 0.6), strict=True)])
    assert found.accuracy is None
    assert found.accuracy_error is None


def test_weights_of_classes_and_labels_that_do_not_count() -> None:
    module, (batch, *_) = network(), drawn([24])
    labels = torch.where(torch.arange(24) % 4 == 0, -100, batch[1])
    criterion = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 5.0]))
    surface = LossSurface.of(module, [(batch[0], labels)], criterion, dtype=torch.float64)
    found = sample_groups(surface, surface.point())
    outputs = module.double()(batch[0].double()).detach()
    assert found.loss == pytest.approx(float(nn.CrossEntropyLoss(criterion.weight.double())(outputs, labels)))
    counted = labels >= 0
    assert found.labels == 18
    assert found.accuracy == pytest.approx(float((outputs.argmax(1) == labels)[counted].double().mean()))
    assert len(found.losses) == 24
    assert found.losses[0] == 0


def test_without_classes_there_is_no_accuracy() -> None:
    found = measured(network(), drawn([16, 16]), drawn([40]), of_classes=False)
    assert found.accuracy is found.accuracy_gap is found.accuracy_gap_error is None
    assert found.groups.accuracies == ()


def test_the_error_is_how_far_the_loss_of_other_samples_is() -> None:
    module = network()
    every, _ = by_sample(module, drawn([20_000], 9))
    apart = []
    for seed in range(200):
        found = measured(module, drawn([8, 8]), drawn([300], 100 + seed))
        assert found.loss_error is not None
        apart.append((found.loss - float(every.mean())) / found.loss_error)
    assert 0.85 < float(torch.tensor(apart).std()) < 1.15


@pytest.mark.parametrize("bn", ["batch", "running"])
def test_the_python_interface_answers_the_same_and_leaves_the_model_alone(bn: Literal["batch", "running"]) -> None:
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    trained, test = drawn([16, 16], 5), drawn([40, 20])
    found = bnsharp_cli.generalization_gap(module, trained, test, bn=bn)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert module.training
    plain = module.double().train(bn == "batch")
    losses = [
        [functional.cross_entropy(plain(x.double()), y).item() * len(y) for x, y in batches]
        for batches in (trained, test)
    ]
    assert found.loss == pytest.approx(sum(losses[1]) / 60, rel=1e-5)
    assert found.gap == pytest.approx(sum(losses[1]) / 60 - sum(losses[0]) / 32, rel=1e-4)


def test_bad_test_batches_are_named() -> None:
    with pytest.raises(bnsharp_cli.UsageError) as refused:
        bnsharp_cli.generalization_gap(network(), drawn([16]), [])
    assert refused.value.argument == "test_batches"
    assert refused.value.reason.startswith("test_batches: ")
