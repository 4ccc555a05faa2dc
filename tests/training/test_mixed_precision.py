"""Gradients in mixed precision: true ones, however many a rule takes, and overflows that cost no step."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from bnsharp_cli.api import find_blocks
from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.training.evaluation import evaluate
from bnsharp_cli.training.examples import ExamplesInMemory
from bnsharp_cli.training.loop import Training
from bnsharp_cli.training.mixed_precision import MixedPrecision
from bnsharp_cli.training.options import TrainingOptions
from bnsharp_cli.training.registry import TRAINING_RULES
from bnsharp_cli.training.rules import Sgd
from tests.cases import images, mlp_bn, vectors

CPU = torch.device("cpu")


def gradients(module: nn.Module) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in module.parameters()]


def one_gradient(precision: MixedPrecision, module: nn.Module) -> None:
    ((inputs, targets),) = vectors(24)
    module.zero_grad()
    with precision.autocast():
        loss = functional.cross_entropy(module(inputs), targets)
    precision.backward(loss, lambda: None)


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_gradients_are_those_of_full_precision_within_the_formats(name: str) -> None:
    torch.manual_seed(0)
    module = mlp_bn()
    ((inputs, targets),) = vectors(24)
    functional.cross_entropy(module(inputs), targets).backward()
    expected = gradients(module)
    precision = MixedPrecision(name, Sgd(module, lr=0.1), CPU)
    for _ in range(3):  # several in one step
        one_gradient(precision, module)
        for found, wanted in zip(gradients(module), expected, strict=True):
            assert found.dtype == torch.float32
            assert float((found - wanted).norm()) <= 0.05 * float(wanted.norm()) + 1e-3


def test_an_overflow_is_computed_again_and_running_statistics_are_updated_once() -> None:
    torch.manual_seed(0)
    module = mlp_bn()
    fine = copy.deepcopy(module)
    precision = MixedPrecision("fp16", Sgd(module, lr=0.1), CPU)
    precision.load_state_dict({**precision.state_dict(), "scale": 2.0**40})
    one_gradient(precision, module)
    scale = precision.state_dict()["scale"]
    assert scale < 2.0**30
    one_gradient(precision_of_scale(fine, scale), fine)
    for found, wanted in zip(gradients(module), gradients(fine), strict=True):
        assert torch.equal(found, wanted)
        assert bool(torch.isfinite(found).all())
    assert int(module[1].num_batches_tracked) == 1
    assert torch.equal(module[1].running_mean, fine[1].running_mean)


def precision_of_scale(module: nn.Module, scale: float) -> MixedPrecision:
    precision = MixedPrecision("fp16", Sgd(module, lr=0.1), CPU)
    precision.load_state_dict({**precision.state_dict(), "scale": scale})
    return precision


def test_a_gradient_that_is_never_finite_is_an_error() -> None:
    weight = nn.Linear(1, 1)
    precision = MixedPrecision("fp16", Sgd(weight, lr=0.1), CPU)
    with pytest.raises(NotMeasurableError, match="not finite in float16 at any scale"):
        precision.backward((weight.weight - weight.weight.detach()).sqrt().sum(), lambda: None)


def test_a_gradient_is_added_to_what_is_there() -> None:
    """Also where the first scale overflows."""
    torch.manual_seed(0)
    module = mlp_bn()
    fine = copy.deepcopy(module)
    one_gradient(precision_of_scale(fine, 2.0**10), fine)
    precision = precision_of_scale(module, 2.0**40)
    ((inputs, targets),) = vectors(24)
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    with precision.autocast():
        loss = functional.cross_entropy(module(inputs), targets)
    precision.backward(loss, lambda: None)
    for found, wanted in zip(gradients(module), gradients(fine), strict=True):
        torch.testing.assert_close(found - 1, wanted, atol=2e-3, rtol=0)


@pytest.mark.parametrize("enabled", [False, True])
@pytest.mark.parametrize("name", [None, "bf16"])
def test_autocast_around_a_training_changes_nothing(name: str | None, enabled: bool) -> None:
    """torch keeps the cast weights of an outer autocast until it ends: the steps would be taken from the first ones."""

    def trained() -> list[float]:
        torch.manual_seed(0)
        ((inputs, targets),) = vectors(64)
        module, examples = mlp_bn(), ExamplesInMemory(inputs, targets)
        training = Training(
            module, examples, TrainingOptions(rule="sgd", epochs=3, batch_size=16, amp=name), device=CPU
        )
        figures = []
        for _ in range(3):
            figures += [training.run_epoch(), evaluate(module, examples, device=CPU).loss]
        return figures

    expected = trained()
    with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        assert trained() == expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", [None, "bf16", "fp16"])
@pytest.mark.parametrize("rule", TRAINING_RULES)
@pytest.mark.filterwarnings("ignore:Attempting to run cuBLAS, but there was no current CUDA context")
def test_every_rule_learns_on_a_gpu(rule: str, name: str | None) -> None:
    torch.manual_seed(0)
    ((inputs, targets),) = images(64)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4))
    device, examples = torch.device("cuda", 0), ExamplesInMemory(inputs, targets)
    blocks = functools.partial(find_blocks, module, [(inputs, targets)])
    options = TrainingOptions(rule=rule, epochs=40, batch_size=32, amp=name, augment=("flip",))
    training = Training(module, examples, options, device=device, blocks=blocks)
    losses = [training.run_epoch() for _ in range(40)]
    assert losses[-1] < losses[0] / 2
    assert training.gradients == 40 * 2 * training.rule.gradients_per_step
    passes_seen = 2 if training.rule.refreshes_statistics else 40 * 2  # refreshed ones are those of the last epoch
    assert int(module[1].num_batches_tracked) == passes_seen
    assert evaluate(module, examples, device=device).accuracy > 0.5
