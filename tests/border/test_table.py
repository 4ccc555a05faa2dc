"""Every row of the table at every entry point: the value of plain code, or an error of ours that says what to do."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import bnsharp_cli
from bnsharp_cli.errors import BnsharpError
from bnsharp_cli.integrations.lightning import BNSharpnessCallback
from bnsharp_cli.training.rules import Sgd, TrainingRule
from bnsharp_cli.training.sam import Asam, Sam
from tests.border.oracle import bn_of_blocks
from tests.border.table import ROWS_OF_VALUES, ROWS_REFUSED, Row

CLOSE = 2e-3
RHO, LR, ETA = 0.05, 0.1, 0.01

Entry = Callable[[Row], Any]


def measured(row: Row) -> float:
    return bnsharp_cli.measure(row.model, row.batches, row.criterion, **dict(row.options)).value


def blocks(row: Row) -> int:
    return bnsharp_cli.find_blocks(row.model, row.batches, row.criterion, **dict(row.options)).invariant


def rescaled(row: Row) -> bool:
    options = {"ball_samples": 2, **dict(row.options)}
    return bnsharp_cli.rescale_test(row.model, row.batches, row.criterion, **options).invariant


def monitored(row: Row) -> float:
    logged: dict[str, float] = {}
    module: Any = SimpleNamespace(
        get_submodule=lambda _: row.model, log_dict=lambda figures, **_: logged.update(figures)
    )
    callback = BNSharpnessCallback(row.batches, row.criterion, **dict(row.options))
    trainer: Any = SimpleNamespace(current_epoch=0)
    callback.on_fit_start(trainer, module)
    callback.on_train_epoch_end(trainer, module)
    return logged["bn_sharpness"]


@pytest.mark.parametrize("entry", [measured, monitored], ids=["measure", "monitor"])
@pytest.mark.parametrize("name", ROWS_OF_VALUES)
def test_values(name: str, entry: Entry) -> None:
    row = ROWS_OF_VALUES[name]()
    assert entry(row) == pytest.approx(bn_of_blocks(row.model, row.loss, row.blocks), rel=CLOSE)


@pytest.mark.parametrize("name", ROWS_OF_VALUES)
def test_blocks(name: str) -> None:
    row = ROWS_OF_VALUES[name]()
    assert blocks(row) == len(row.blocks)


@pytest.mark.parametrize("name", ROWS_OF_VALUES)
def test_rescaled_copies(name: str) -> None:
    row = ROWS_OF_VALUES[name]()
    if row.blocks:
        assert rescaled(row)
        return
    with pytest.raises(BnsharpError) as refused:
        rescaled(row)
    assert refused.value.remedy


@pytest.mark.parametrize("name", ROWS_OF_VALUES)
@pytest.mark.parametrize("kind", [Sgd, Sam, Asam])
def test_a_rule(name: str, kind: type[TrainingRule]) -> None:
    row = ROWS_OF_VALUES[name]()
    trained, plain = (copy.deepcopy(row.model).double() for _ in range(2))
    rule = kind(trained, lr=LR) if kind is Sgd else kind(trained, lr=LR, rho=RHO)
    rule.step(lambda: row.loss(trained))
    for name_, weight in _plain_step(plain, row.loss, kind).items():
        assert torch.allclose(dict(trained.named_parameters())[name_], weight, rtol=1e-9, atol=1e-11), name_


def _plain_step(
    model: torch.nn.Module, loss: Callable[[torch.nn.Module], Tensor], kind: type[TrainingRule]
) -> dict[str, Tensor]:
    """θ − lr ∇L(θ + ε), with ε = 0 (SGD), ρ g/‖g‖ (SAM) or ρ T²g/‖T g‖, T = |θ| + η but for vectors (ASAM)."""
    names, weights = zip(*model.named_parameters(), strict=True)
    start = [weight.detach().clone() for weight in weights]
    slopes = _gradient(loss(model), weights)
    if kind is not Sgd:
        ones = [torch.ones_like(weight) for weight in start]
        scales = ones if kind is Sam else [w.abs() + ETA if w.ndim > 1 else o for w, o in zip(start, ones, strict=True)]
        scaled = [scale * slope for scale, slope in zip(scales, slopes, strict=True)]
        size = torch.stack([each.square().sum() for each in scaled]).sum().sqrt()
        with torch.no_grad():
            for weight, scale, each in zip(weights, scales, scaled, strict=True):
                weight += RHO * scale * each / size
        slopes = _gradient(loss(model), weights)
    return {name: own - LR * slope for name, own, slope in zip(names, start, slopes, strict=True)}


def _gradient(loss: Tensor, weights: Any) -> list[Tensor]:
    return [each.to_dense() for each in torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)]


@pytest.mark.parametrize("entry", [measured, blocks, rescaled], ids=["measure", "find_blocks", "rescale_test"])
@pytest.mark.parametrize("name", ROWS_REFUSED)
def test_refusals(name: str, entry: Entry) -> None:
    refused = ROWS_REFUSED[name]()
    with pytest.raises(BnsharpError) as error:
        entry(refused.row)
    assert error.value.argument == refused.argument
    assert error.value.remedy
