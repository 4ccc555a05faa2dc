"""Losses that carry float32 tensors, wherever they keep them: the value of the same loss in float64."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from tests.border.oracle import bn_limit

WEIGHTS = torch.tensor([1.0, 2.1, 0.3, 4.7, 1.1])
Criterion = Callable[[Tensor, Tensor], Tensor]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 5))


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(32, 20, generator=generator), torch.randint(5, (32,), generator=generator)) for _ in range(3)]


def focal(outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """A focal loss whose first tensor is the weights."""
    logs = functional.log_softmax(outputs, 1)
    right = logs.gather(1, targets[:, None])[:, 0]
    return -(weights[targets] * (1 - right.exp()) ** 2 * right).mean()


class Focal(nn.Module):
    """Keeps its weights as a plain attribute."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.alpha = weights

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return focal(outputs, targets, self.alpha)


class Weighted:
    """A callable of a class that is no module."""

    def __init__(self, weights: Tensor) -> None:
        self.loss = nn.CrossEntropyLoss(weight=weights)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.loss(outputs, targets)


def smoothed(outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Soft targets built in float32, and a cast of the outputs to float32, as losses for training do."""
    soft = torch.full((len(targets), 5), 0.02).scatter_(1, targets[:, None], 0.92)
    logs = torch.log_softmax(outputs.float(), dim=1)
    return -(weights.unsqueeze(0) * soft.to(logs.dtype) * logs).sum(1).mean()


def with_out(outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """A matrix product with a float32 matrix, which torch refuses for mixed types."""
    mixing = torch.eye(5) + 0.1
    return functional.cross_entropy(outputs @ (mixing * weights), targets)


CASES: dict[str, tuple[Callable[[Tensor], Any], Callable[[Tensor, Tensor, Tensor], Tensor]]] = {
    "partial": (
        lambda w: functools.partial(functional.cross_entropy, weight=w),
        lambda o, t, w: functional.cross_entropy(o, t, weight=w),
    ),
    "lambda": (
        lambda w: lambda o, t: functional.cross_entropy(o, t, weight=w),
        lambda o, t, w: functional.cross_entropy(o, t, weight=w),
    ),
    "a lambda around a module": (
        lambda w: (lambda loss: lambda o, t: loss(o, t))(nn.CrossEntropyLoss(weight=w)),
        lambda o, t, w: functional.cross_entropy(o, t, weight=w),
    ),
    "a module with a buffer": (
        lambda w: nn.CrossEntropyLoss(weight=w),
        lambda o, t, w: functional.cross_entropy(o, t, weight=w),
    ),
    "a module with an attribute": (Focal, focal),
    "a callable object": (Weighted, lambda o, t, w: functional.cross_entropy(o, t, weight=w)),
    "weights first": (lambda w: lambda o, t: focal(o, t, w), focal),
    "soft targets of its own": (lambda w: lambda o, t: smoothed(o, t, w), smoothed),
    "a matrix of its own": (lambda w: lambda o, t: with_out(o, t, w), with_out),
}


@pytest.mark.parametrize("case", CASES)
def test_the_value_is_that_of_the_loss_in_float64(case: str) -> None:
    made, reference = CASES[case]
    with torch.random.fork_rng(devices=[]):
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)  # what the reference makes is exact too
        try:
            exact = [(x.double(), y) for x, y in batches_in(default)]
            module = network_in(default)
            wanted = bn_limit(
                module, lambda own: sum(_in_double(reference, own(x), y) for x, y in exact) / 3, ["0.weight"]
            )
        finally:
            torch.set_default_dtype(default)
    for precision, error in (("auto", 2e-5), ("float64", 1e-9)):
        found = bnsharp_cli.measure(network(), batches(), made(WEIGHTS), precision=precision)
        assert found.details["limit"] == pytest.approx(wanted, rel=error)


def batches_in(dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    torch.set_default_dtype(dtype)
    made = batches()
    torch.set_default_dtype(torch.float64)
    return made


def network_in(dtype: torch.dtype) -> nn.Module:
    torch.set_default_dtype(dtype)
    made = network()
    torch.set_default_dtype(torch.float64)
    return made


def _in_double(reference: Callable[[Tensor, Tensor, Tensor], Tensor], outputs: Tensor, targets: Tensor) -> Tensor:
    if reference is smoothed:  # without its cast
        soft = torch.full((len(targets), 5), 0.02).scatter_(1, targets[:, None], 0.92)
        return -(WEIGHTS.double() * soft * torch.log_softmax(outputs, dim=1)).sum(1).mean()
    return reference(outputs, targets, WEIGHTS.double())


@pytest.mark.parametrize("case", CASES)
def test_the_users_tensors_stay_as_they_are(case: str) -> None:
    made, _ = CASES[case]
    weights = WEIGHTS.clone()
    bnsharp_cli.measure(network(), batches(), made(weights))
    assert weights.dtype == torch.float32
    assert torch.equal(weights, WEIGHTS)
    assert weights.grad is None
