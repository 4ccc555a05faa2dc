"""Frozen weights, and measures over some of the parameters: a function of these alone, the others being constants."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.errors import NotMeasurableError, UsageError
from tests.border.networks import Net, batches, mean_loss, probe, with_constants
from tests.border.oracle import bn_along_gradient, bn_limit

WEIGHT = "body.0.weight"


CHOICES: list[tuple[str | list[str], list[str], list[str]]] = [
    ("all", [WEIGHT, "body.0.bias", "body.1.weight", "body.1.bias", "head.weight", "head.bias"], [WEIGHT]),
    ("trainable", ["head.weight", "head.bias"], []),
    ("head.*", ["head.weight", "head.bias"], []),
    ("*.weight", [WEIGHT, "body.1.weight", "head.weight"], [WEIGHT]),
    ("body.0.weight", [WEIGHT], [WEIGHT]),
    (["head.bias", "body.0.*"], [WEIGHT, "body.0.bias", "head.bias"], [WEIGHT]),
    (["trainable", "body.1.b*"], ["body.1.bias", "head.weight", "head.bias"], []),
    (["?ead.[bw]*"], ["head.weight", "head.bias"], []),
]
"""How parameters are chosen, their names, and those of scale-invariant rows."""


@pytest.mark.parametrize(("asked", "names", "rows"), CHOICES, ids=lambda each: str(each)[:30])
def test_the_value_is_that_of_a_function_of_the_chosen_parameters(
    asked: str | list[str], names: list[str], rows: list[str]
) -> None:
    found = bnsharp_cli.measure(probe(), batches(), parameters=asked)
    reference = with_constants(Net(), names)
    limit, along = bn_limit(reference, mean_loss(), rows), bn_along_gradient(reference, mean_loss(), rows)
    assert found.details["limit"] == pytest.approx(limit, rel=1e-5)
    assert found.value == pytest.approx(along, rel=2e-3)
    assert found.value >= along * (1 - 1e-4)
    sizes = {name: tensor.numel() for name, tensor in Net().named_parameters()}
    assert found.details["parameters"] == {
        "chosen": [asked] if isinstance(asked, str) else asked,
        "measured": sum(sizes[name] for name in names),
        "total": sum(sizes.values()),
        "frozen": sum(size for name, size in sizes.items() if name.startswith("body")),
    }


@pytest.mark.parametrize(("asked", "names", "rows"), CHOICES, ids=lambda each: str(each)[:30])
def test_blocks_of_some_parameters(asked: str | list[str], names: list[str], rows: list[str]) -> None:
    blocks = bnsharp_cli.find_blocks(probe(), batches(), parameters=asked)
    assert [tensor.name for tensor in blocks.tensors] == [name for name, _ in Net().named_parameters() if name in names]
    assert {tensor.name for tensor in blocks.tensors if tensor.invariant} == {*rows}
    assert blocks.invariant == 16 * len(rows)


def test_the_classical_measures_vary_the_chosen_parameters_alone() -> None:
    """For small δ they are norms of the gradient, by closed forms."""
    delta = 1e-4
    model, loss = with_constants(Net(), ["head.weight", "head.bias"]).double().train(), mean_loss()
    value = loss(model)
    gradients = torch.autograd.grad(value, [*model.parameters()])
    size = math.sqrt(sum(float(g.square().sum()) for g in gradients))
    count = sum(g.numel() for g in gradients)
    weights = [weight.detach() for weight in model.parameters()]
    boxed = sum(float((g.abs() * (w.abs() + 1)).sum()) for g, w in zip(gradients, weights, strict=True))
    scale = 1 + float(value.detach())
    found = bnsharp_cli.measure(
        probe(), batches(), measure=["delta-linf", "keskar", "delta-lp"], delta=delta, parameters="trainable",
        precision="float64", ball_samples=400,
    )  # fmt: skip
    assert found["delta-linf"].value == pytest.approx(delta * size / scale, rel=1e-3)
    assert found["keskar"].value == pytest.approx(100 * delta * boxed / scale, rel=1e-3)
    expected = delta * size / math.sqrt(count + 2) / scale
    assert abs(found["delta-lp"].value - expected) < 4 * found["delta-lp"].uncertainty.sampling


class GroupNormed(nn.Module):
    """Rows that are scale-invariant together with their biases."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.layer, self.norm, self.head = nn.Linear(10, 12), nn.GroupNorm(3, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.norm(self.layer(x))))


@pytest.mark.parametrize(
    ("asked", "invariant", "members"),
    [
        ("all", 3, {"layer.weight", "layer.bias"}),
        ("layer.*", 3, {"layer.weight", "layer.bias"}),
        ("layer.weight", 0, set()),
        ("*.weight", 0, set()),
    ],
)
def test_a_joint_block_that_loses_a_member_is_none(asked: str, invariant: int, members: set[str]) -> None:
    blocks = bnsharp_cli.find_blocks(GroupNormed(), batches(), parameters=asked)
    assert blocks.invariant == invariant
    assert {tensor.name for tensor in blocks.tensors if tensor.invariant} == members
    names = [tensor.name for tensor in blocks.tensors]
    expected = bn_limit(with_constants(GroupNormed(), names), mean_loss()) if not invariant else None
    found = bnsharp_cli.measure(GroupNormed(), batches(), parameters=asked)
    assert expected is None or found.details["limit"] == pytest.approx(expected, rel=1e-5)


def test_a_set_of_the_extended_partition_that_loses_a_member_is_none() -> None:
    def gamma_and_beta(asked: str) -> int:
        torch.manual_seed(0)
        layers = nn.Linear(10, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 4)
        model = nn.Sequential(*layers)
        nn.init.uniform_(model[1].bias)
        return len(bnsharp_cli.find_blocks(model, batches(), partition="extended", parameters=asked).joint)

    assert gamma_and_beta("all") == gamma_and_beta("1.*") == 1
    assert gamma_and_beta("1.weight") == 0


@pytest.mark.parametrize(
    ("asked", "bn"),
    [("body.0.*", "batch"), ("*.weight", "batch"), (WEIGHT, "batch"), ("*.weight", "running"), (WEIGHT, "running")],
)
def test_copies_rescale_the_chosen_rows(asked: str, bn: str) -> None:
    model = Net().train()
    for inputs, _ in batches():
        model(inputs)
    report = bnsharp_cli.rescale_test(model, batches(), bn=bn, parameters=asked, ball_samples=2)
    assert report.invariant
    assert all(copy.loss_drift < 1e-12 for copy in report.copies)
    assert "the others are constants" in report.notes[0]


class Tied(nn.Module):
    """One tensor under two names."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.middle, self.last = (nn.Linear(10, 10, bias=False) for _ in range(3))
        self.last.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.middle(torch.tanh(self.first(x)))))


@pytest.mark.parametrize("asked", ["first.*", "last.*", "last.weight", ["first.weight", "last.weight"]])
def test_tied_weights_are_chosen_by_any_of_their_names(asked: str | list[str]) -> None:
    tied = Tied()
    loss = mean_loss()
    own = copy.deepcopy(tied).double()
    (gradient,) = torch.autograd.grad(loss(own), [own.first.weight])
    expected = math.sqrt(2 / 3) * float(gradient.norm())
    found = bnsharp_cli.measure(tied, batches(), parameters=asked)
    assert found.details["limit"] == pytest.approx(expected, rel=1e-5)
    assert found.details["parameters"]["measured"] == 100


class Quantized(nn.Module):
    """Whole numbers as a parameter, which nothing can vary."""

    def __init__(self, whole: bool = True) -> None:
        super().__init__()
        torch.manual_seed(2)
        numbers = torch.randint(-9, 9, (8, 10))
        self.levels = nn.Parameter(numbers if whole else numbers.float(), requires_grad=False)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(0.1 * functional.linear(x, self.levels.to(x.dtype)))


@pytest.mark.parametrize("asked", ["all", "trainable", "*"])
def test_whole_numbers_are_constants(asked: str) -> None:
    expected = bn_limit(with_constants(Quantized(False), ["head.weight", "head.bias"]), mean_loss())
    found = bnsharp_cli.measure(Quantized(), batches(), parameters=asked)
    assert found.details["limit"] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(UsageError, match="parameters: expected all"):
        bnsharp_cli.measure(Quantized(), batches(), parameters="levels")


def unused() -> nn.Module:
    model = Net()
    model.add_module("spare", nn.Linear(3, 3))
    return model


def test_parameters_that_the_loss_does_not_use() -> None:
    with pytest.raises(NotMeasurableError, match=r"the loss depends on none of spare\.\*") as refused:
        bnsharp_cli.measure(unused(), batches(), parameters="spare.*")
    assert refused.value.remedy == "Choose others, or parameters all."
    both = bnsharp_cli.measure(unused(), batches(), parameters=["spare.*", "head.*"])
    head = bnsharp_cli.measure(Net(), batches(), parameters="head.*")
    assert both.details["limit"] == pytest.approx(head.details["limit"], rel=1e-6)


class PerBatch(nn.Module):
    """Experts of which a batch uses one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.positive, self.negative = nn.Linear(10, 4), nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.positive(x) if x.sum() > 0 else self.negative(x)


@pytest.mark.parametrize("asked", ["positive.*", "negative.*"])
def test_batches_that_do_not_use_the_chosen_parameters_count(asked: str) -> None:
    signs = {bool(x.sum() > 0) for x, _ in batches()}
    assert signs == {True, False}
    names = [f"{asked[:8]}.weight", f"{asked[:8]}.bias"]
    expected = bn_limit(with_constants(PerBatch(), names), mean_loss())
    assert bnsharp_cli.measure(PerBatch(), batches(), parameters=asked).details["limit"] == pytest.approx(expected)


def convolutions() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4),
    )  # fmt: skip


@pytest.mark.parametrize("layout", ["auto", "plain"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("asked", ["8.*", "3.*", ["0.weight", "4.*"]])
def test_convolutions_among_constants(layout: str, precision: str, asked: str | list[str]) -> None:
    generator = torch.Generator().manual_seed(2)
    data = [(torch.randn(16, 3, 8, 8, generator=generator), torch.arange(16) % 4) for _ in range(2)]

    def loss(model: nn.Module) -> Tensor:
        return sum(functional.cross_entropy(model(x.double()), y) for x, y in data) / 2

    blocks = bnsharp_cli.find_blocks(convolutions(), data, parameters=asked)
    names = [tensor.name for tensor in blocks.tensors]
    rows = [tensor.name for tensor in blocks.tensors if tensor.invariant]
    assert rows == [name for name in ("0.weight", "3.weight") if name in names]
    found = bnsharp_cli.measure(
        convolutions(), data, parameters=asked, layout=layout, precision=precision, restarts=1, iterations=2
    )
    assert found.details["limit"] == pytest.approx(
        bn_limit(with_constants(convolutions(), names), loss, rows), rel=1e-4
    )


@pytest.mark.parametrize("asked", ["head.bias", "body.0.bias", "*.bias"])
@pytest.mark.parametrize("delta", [1e-3, 1e-5])
def test_the_rounding_of_constants_counts(asked: str, delta: float) -> None:
    """Last bits of zeros do not move, but the constants are rounded in every pass."""
    model = Net()
    with torch.no_grad():
        model.head.weight.mul_(10)
        for name in ("body.0.bias", "body.1.bias", "head.bias"):
            model.get_parameter(name).zero_()
    model.body[1] = nn.Identity()  # so that the first bias acts
    found, exact = (
        bnsharp_cli.measure(model, batches(), parameters=asked, precision=precision, delta=delta, iterations=0)
        for precision in ("float32", "float64")
    )
    assert abs(found.value - exact.value) <= found.uncertainty.rounding + 1e-3 * exact.value
