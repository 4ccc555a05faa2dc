"""Compensated sums against exact fractions, and against the functions whose sums they are."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.compensated import CompensatedSums

DOUBLE = {"dtype": torch.float64}


def test_a_linear_layer_is_the_exact_one_rounded(generator: torch.Generator) -> None:
    """To 0.6 units, where the products span sixteen orders of magnitude and cancel."""
    x = torch.randn(4, 50, generator=generator, **DOUBLE) * 10 ** (
        4 * torch.randn(4, 50, generator=generator, **DOUBLE)
    )
    weight, bias = torch.randn(3, 50, generator=generator, **DOUBLE), torch.randn(3, generator=generator, **DOUBLE)
    with CompensatedSums():
        found = functional.linear(x, weight, bias)
    worst = {"compensated": Fraction(0), "ordinary": Fraction(0)}
    for i, j in torch.cartesian_prod(torch.arange(4), torch.arange(3)).tolist():
        products = (Fraction(a) * Fraction(b) for a, b in zip(x[i].tolist(), weight[j].tolist(), strict=True))
        exact = sum(products, Fraction(bias[j].item()))
        for kind, value in (("compensated", found), ("ordinary", functional.linear(x, weight, bias))):
            worst[kind] = max(worst[kind], abs(Fraction(value[i, j].item()) / exact - 1) * 2**53)
    assert worst["compensated"] <= 1.2
    assert worst["ordinary"] > worst["compensated"]


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Linear(7, 5), (4, 7)),
        (nn.Conv2d(3, 4, 3, stride=2, padding=1), (2, 3, 8, 8)),
        (nn.BatchNorm1d(6), (9, 6)),
        (nn.BatchNorm2d(3), (4, 3, 5, 5)),
        (nn.LayerNorm((5, 5)), (4, 3, 5, 5)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_values_and_gradients_are_those_of_the_ordinary_functions(
    module: nn.Module, shape: tuple[int, ...], generator: torch.Generator
) -> None:
    module = module.double()
    for parameter in module.parameters():
        nn.init.normal_(parameter, generator=generator)
    x = torch.randn(shape, generator=generator, **DOUBLE)
    labels = torch.randint(2, (len(x),), generator=generator)

    def loss_and_gradients() -> tuple[Tensor, ...]:
        loss = functional.cross_entropy(module(x).flatten(1), labels)
        return (loss, *torch.autograd.grad(loss, list(module.parameters())))

    ordinary = loss_and_gradients()
    with CompensatedSums():
        compensated = loss_and_gradients()
    for one, other in zip(ordinary, compensated, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)
