"""The loss surface: values, gradients, counting, and that nothing is touched."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.io.data.batches import DrawnBatches
from bnsharp_cli.measurement.blocks.find_blocks import find_blocks
from bnsharp_cli.measurement.invariance.self_test import self_test
from bnsharp_cli.measurement.measures.options import MeasureOptions
from bnsharp_cli.measurement.measures.registry import MEASURES
from bnsharp_cli.measurement.surface.cost import Cost
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from tests.cases import images, mlp_bn, trained, vectors


def snapshot(module: nn.Module) -> dict[str, object]:
    return {
        "state": {name: tensor.clone() for name, tensor in module.state_dict().items()},
        "gradients": [None if p.grad is None else p.grad.clone() for p in module.parameters()],
        "needs": [p.requires_grad for p in module.parameters()],
        "identity": [id(tensor) for tensor in (*module.parameters(), *module.buffers())],
        "training": [part.training for part in module.modules()],
        "hooks": [
            (len(part._forward_hooks), len(part._forward_pre_hooks), len(part._backward_hooks))
            for part in module.modules()
        ],
        "random": torch.get_rng_state(),
        "grad_enabled": torch.is_grad_enabled(),
    }


def assert_same(first: dict[str, object], second: dict[str, object]) -> None:
    for key in ("needs", "identity", "training", "hooks", "grad_enabled"):
        assert first[key] == second[key], key
    assert torch.equal(first["random"], second["random"])
    for name, tensor in first["state"].items():
        assert torch.equal(tensor, second["state"][name]), name
    for before, after in zip(first["gradients"], second["gradients"], strict=True):
        assert (before is None) == (after is None)
        assert before is None or torch.equal(before, after)


@pytest.mark.parametrize("name", [*MEASURES, "invariance"])
@pytest.mark.parametrize("statistics", [True, False])
def test_no_measure_touches_the_module(
    sample_network: nn.Module, digit_batches: DrawnBatches, name: str, statistics: bool
) -> None:
    module = nn.Sequential(sample_network, nn.Dropout(0.5)).train()
    module[0].norm2.eval()
    module[0].conv1.weight.grad = torch.full_like(module[0].conv1.weight, 0.25)
    module.register_forward_hook(lambda *_: None)
    small = tuple((x[:64], y[:64]) for x, y in digit_batches.batches)
    before = snapshot(module)
    surface = LossSurface.of(module, small, batch_statistics=statistics)
    point = surface.point()
    blocks = find_blocks(surface, point)
    options = MeasureOptions.from_flat(ball_samples=2)
    if name == "invariance":
        self_test(surface, point, blocks, options)
    else:
        MEASURES[name](surface, point, blocks, options)
    assert_same(before, snapshot(module))


def test_value_and_gradient_agree_with_a_plain_loop(digit_batches: DrawnBatches, sample_network: nn.Module) -> None:
    surface = LossSurface.of(sample_network, digit_batches.batches, dtype=torch.float64)
    reference = copy.deepcopy(sample_network).double().train()
    loss = sum(functional.cross_entropy(reference(x.double()), y) for x, y in digit_batches.batches)
    loss = loss / len(digit_batches.batches)
    loss.backward()
    value, gradient = surface.value_and_gradient(surface.point())
    assert value == pytest.approx(float(loss.detach()), rel=1e-12)
    for name, parameter in reference.named_parameters():
        torch.testing.assert_close(gradient[name], parameter.grad, rtol=1e-9, atol=1e-14)
    assert surface.value(surface.point()) == pytest.approx(value, rel=1e-12)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """So that a batch alone and beside others is the same arithmetic."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_every_batch_gradient_is_seen_once(digit_batches: DrawnBatches, sample_network: nn.Module) -> None:
    surface = LossSurface.of(sample_network, digit_batches.batches)
    point = surface.point()
    seen = []
    value, gradient = surface.value_and_batch_gradients(point, lambda *batch: seen.append(batch))
    assert [index for index, _ in seen] == list(range(len(digit_batches.batches)))
    losses = []
    for (_, slope), batch in zip(seen, digit_batches.batches, strict=True):
        alone = LossSurface.of(sample_network, [batch]).value_and_gradient(point)
        losses.append(alone[0])
        assert all(torch.equal(slope[name].double(), alone[1][name]) for name in point)
    assert value == sum(losses) / len(losses)
    for name, tensor in gradient.items():
        mean = sum(slope[name].double() for _, slope in seen) / len(seen)
        torch.testing.assert_close(tensor, mean, rtol=1e-15, atol=0)
    assert surface.counter.cost == Cost(forward=1, backward=1)


@pytest.mark.usefixtures("one_thread")
def test_a_batch_leaves_no_gradient_behind_for_the_next(digit_batches: DrawnBatches, sample_network: nn.Module) -> None:
    """Of a large network that would be a second copy of it."""
    halves = [(x[part], y[part]) for x, y in digit_batches.batches for part in (slice(128), slice(128, 256))]
    surface = LossSurface.of(sample_network, halves)
    earlier: list[weakref.ref[Tensor]] = []

    def observe(_: int, gradient: dict[str, Tensor]) -> None:
        assert all(seen() is None for seen in earlier)
        earlier.extend(weakref.ref(tensor) for tensor in gradient.values())

    surface.value_and_batch_gradients(surface.point(), observe)
    assert len(earlier) == len(halves) * len(surface.point()) > len(surface.point())


def test_running_statistics_are_eval_mode(digit_batches: DrawnBatches, sample_network: nn.Module) -> None:
    surface = LossSurface.of(sample_network, digit_batches.batches, batch_statistics=False, dtype=torch.float64)
    reference = copy.deepcopy(sample_network).double().eval()
    with torch.no_grad():
        losses = [float(functional.cross_entropy(reference(x.double()), y)) for x, y in digit_batches.batches]
    assert surface.value(surface.point()) == pytest.approx(sum(losses) / len(losses), rel=1e-12)


def test_gradient_is_that_of_the_value(generator: torch.Generator) -> None:
    surface = LossSurface.of(trained(nn.Tanh()), vectors(), dtype=torch.float64)
    point = surface.point()
    _, gradient = surface.value_and_gradient(point)
    direction = {
        name: torch.randn(tensor.shape, generator=generator, dtype=torch.float64) for name, tensor in point.items()
    }
    slope = sum(float((gradient[name] * direction[name]).sum()) for name in point)
    steps = (1e-4, 5e-5)
    errors = []
    for step in steps:
        ends = [
            surface.value({name: tensor + sign * step * direction[name] for name, tensor in point.items()})
            for sign in (1, -1)
        ]
        errors.append(abs((ends[0] - ends[1]) / (2 * step) - slope))
    assert errors[0] < 1e-5 * max(1.0, abs(slope))
    assert errors[1] < errors[0] / 3


def test_passes_are_counted() -> None:
    surface = LossSurface.of(mlp_bn(), vectors())
    point = surface.point()
    surface.values([point, point, point])
    surface.in_precision(torch.float64).value_and_gradient(point)
    assert surface.counter.cost == Cost(forward=4, backward=1)


def test_dropout_is_off_and_repeats_are_bit_identical() -> None:
    module = nn.Sequential(mlp_bn(), nn.Dropout(0.9))
    surface = LossSurface.of(module.train(), vectors())
    assert surface.value(surface.point()) == surface.value(surface.point())


def test_accuracy_counts_classes() -> None:
    module = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.eye(2))
    batch = (torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1, 1, 0]))
    accuracy = LossSurface.of(module, [batch]).evaluated({"weight": torch.eye(2).double()}).accuracy
    assert accuracy == 0.75


@pytest.mark.parametrize("last", [True, False])
def test_accuracy_of_tokens_wherever_the_classes_are(last: bool) -> None:
    module = nn.Sequential(nn.Linear(2, 3, bias=False), *([] if last else [nn.Unflatten(0, (-1, 5)), Transposed()]))
    inputs, labels = torch.randn(4, 5, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(4, 5).long()
    labels[0, 1] = -100
    batch = (inputs if last else inputs.flatten(0, 1), labels)
    surface = LossSurface.of(module, [batch], lambda scores, _: scores.square().mean())
    right = (module[0](inputs).argmax(2) == 0)[labels == 0]
    assert surface.evaluated(surface.point()).accuracy == pytest.approx(float(right.double().mean()))


class Transposed(nn.Module):
    """Tokens and classes in torch's order."""

    def forward(self, scores: Tensor) -> Tensor:
        return scores.transpose(1, 2)


def test_regression_has_no_accuracy() -> None:
    module = nn.Linear(4, 1)
    inputs, _ = vectors()[0]
    surface = LossSurface.of(module, [(inputs, torch.zeros(len(inputs), 1))], functional.mse_loss)
    figures = surface.evaluated(surface.point())
    loss, accuracy = figures.loss, figures.accuracy
    assert accuracy is None
    assert loss == pytest.approx(float(module(inputs).detach().square().mean()), rel=1e-5)


def test_a_batch_the_network_cannot_take_is_one_clear_error() -> None:
    surface = LossSurface.of(mlp_bn(inputs=5), vectors())
    with pytest.raises(NotMeasurableError, match=r"does not accept a batch of \(24, 4\)"):
        surface.value(surface.point())
    surface = LossSurface.of(mlp_bn(), [(torch.randn(1, 4), torch.tensor([0]))])
    with pytest.raises(NotMeasurableError, match="Expected more than 1 value per channel"):
        surface.value(surface.point())


def test_labels_beyond_the_classes_are_one_clear_error() -> None:
    inputs, _ = images()[0]
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    surface = LossSurface.of(module, [(inputs, torch.full((len(inputs),), 9))])
    with pytest.raises(NotMeasurableError, match="criterion does not accept"):
        surface.value(surface.point())
