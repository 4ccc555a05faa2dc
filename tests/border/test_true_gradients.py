"""Networks whose gradient is that of the loss, though they have kinks, dead parts or hardly a slope: never refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from bnsharp_cli.measurement.surface import slopes
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.slopes import false_slope

SIZE = 10


class Residual(nn.Module):
    """Blocks whose last scale is zero, as people start them, and a part that nothing uses."""

    def __init__(self, zeros: bool = True) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1), last)
            for last in [nn.BatchNorm2d(8), nn.BatchNorm2d(8), nn.BatchNorm2d(8)]
        )
        for block in self.blocks if zeros else ():
            nn.init.zeros_(block[-1].weight)
        self.head, self.unused = nn.Linear(8, 4), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = torch.relu(x + block(x))
        return self.head(x.amax((2, 3)))


class Experts(nn.Module):
    """Each example goes to the two experts that its gate likes best."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.lift = nn.Linear(3, 5), nn.Linear(3, 3)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4)) for _ in range(5))

    def forward(self, x: Tensor) -> Tensor:
        x = x.mean((2, 3))
        shares, chosen = self.gate(x).softmax(1).topk(2, 1)
        answers = torch.stack([expert(x) for expert in self.experts], 1)
        return (answers.gather(1, chosen[:, :, None].expand(-1, -1, 4)) * shares[:, :, None]).sum(1)


def convolutions(activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (3, 8, 8):
        layers += [nn.Conv2d(width, 8, 3, padding=1), nn.BatchNorm2d(8), activation(), nn.MaxPool2d(2, ceil_mode=True)]
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8, 4))


def _with(change: Callable[[nn.Module], object], make: Callable[[], nn.Module] = convolutions) -> nn.Module:
    model = make()
    with torch.no_grad():
        change(model)
    return model


def _biases(model: nn.Module, value: float) -> None:
    for weight in model.parameters():
        if weight.ndim == 1:
            weight.fill_(value)


def _normed() -> nn.Module:
    linear = nn.Sequential(nn.Flatten(), parametrizations.spectral_norm(nn.Linear(3 * SIZE**2, 8)), nn.ReLU())
    return linear.append(parametrizations.weight_norm(nn.Linear(8, 4)))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "max pooling": convolutions,
    "ReLU6": lambda: convolutions(nn.ReLU6),
    "hard swish": lambda: convolutions(nn.Hardswish),
    "soft shrinkage": lambda: convolutions(nn.Softshrink),
    "dead units": lambda: _with(lambda model: _biases(model, -5.0)),
    "channels that hardly vary": lambda: _with(lambda model: _biases(model, 0.0)),
    "a layer of zeros": lambda: _with(lambda model: model[4].weight.zero_()),
    "tiny weights": lambda: _with(lambda model: model[4].weight.mul_(1e-5)),
    "huge weights": lambda: _with(lambda model: model[-1].weight.mul_(1e3)),
    "pruned weights": lambda: _with(lambda model: model[4].weight.mul_((torch.rand(8, 8, 3, 3) < 0.3).float())),
    "scales of zero and a part without use": Residual,
    "residual blocks": lambda: Residual(zeros=False),
    "experts": Experts,
    "parametrizations": _normed,
}

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross-entropy": functional.cross_entropy,
    "hinges": functional.multi_margin_loss,
    "absolute": lambda outputs, y: functional.l1_loss(outputs, functional.one_hot(y, 4).to(outputs.dtype)),
    "with the rate of errors": lambda outputs, y: (
        functional.cross_entropy(outputs, y) + (outputs.argmax(1) != y).double().mean()
    ),
}


def batches(seed: int, black: bool = True) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(16, 3, SIZE, SIZE, generator=generator).clamp(-0.5, 1)
    if black:
        images[::3] = 0
    return [(images, torch.randint(4, (16,), generator=generator))]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", NETWORKS)
def test_no_gradient_of_a_loss_is_called_false(name: str, loss: str) -> None:
    for seed in range(3):
        torch.manual_seed(seed)
        surface = LossSurface.of(NETWORKS[name](), batches(seed), LOSSES[loss], dtype=torch.float64)
        assert false_slope(surface) is None, seed


@pytest.mark.parametrize("wanted", [1e-2, 1e-8, 0.0])
def test_a_loss_that_is_hardly_there_is_no_reason_to_refuse(wanted: float) -> None:
    torch.manual_seed(0)
    model = convolutions()
    images, labels = batches(0, black=False)[0]
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        functional.cross_entropy(model(images), labels).backward()
        optimiser.step()
    with torch.no_grad():
        for _ in range(60):
            if functional.cross_entropy(model(images).double(), labels) <= wanted:
                break
            model[-1].weight.mul_(1.5)
    assert functional.cross_entropy(model(images).double(), labels) <= wanted
    assert false_slope(LossSurface.of(model, [(images, labels)], dtype=torch.float64)) is None


def test_units_that_wake_up_are_no_steps() -> None:
    """Units that are just off have a slope of zero, and the loss changes where they are moved far enough."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE**2, 4), nn.ReLU())
    data = batches(0)
    with torch.no_grad():
        model[1].bias.sub_(model[:2](data[0][0]).amax(0) + 0.01)
    surface = LossSurface.of(model, data, lambda outputs, _: outputs.mean(), dtype=torch.float64)
    line = slopes._Line(surface, data[0], 0)
    assert not any(bool(slope.any()) for slope in line.gradient.values())
    assert line.value(slopes._STRIDE) > line.start
    assert false_slope(surface) is None


def test_a_look_costs_one_gradient_and_two_losses_of_a_few_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, bool]] = []
    run = LossSurface.outputs_and_loss

    def watched(surface: LossSurface, point: Any, batch: Any) -> Any:
        seen.append((len(batch[0]), torch.is_grad_enabled()))
        return run(surface, point, batch)

    monkeypatch.setattr(LossSurface, "outputs_and_loss", watched)
    torch.manual_seed(0)
    assert false_slope(LossSurface.of(convolutions(), batches(0), dtype=torch.float64)) is None
    assert seen == [(8, True), (8, False), (8, False)]


@pytest.mark.parametrize("factor", [0.0, 1e-320, 1e-290, 1e290, 1e306])
def test_losses_of_any_size(factor: float) -> None:
    torch.manual_seed(0)
    criteria: list[Any] = [lambda outputs, _: outputs.square().mean() * factor, lambda outputs, _: 0 * outputs.sum()]
    for criterion in criteria:
        assert false_slope(LossSurface.of(convolutions(), batches(0), criterion, dtype=torch.float64)) is None


@pytest.mark.parametrize("seed", range(3))
def test_kinks_within_the_step_that_a_flat_loss_needs_are_no_false_slope(seed: int) -> None:
    """Near interpolation rounding asks for large steps, in which some of many ReLUs turn."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for channels in (3, *[8] * 11):
        layers += [nn.Conv2d(channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    with torch.no_grad():
        nn.init.zeros_(network[-1].bias)[0] = 16.0
    batch = torch.randn(8, 3, 24, 24), torch.zeros(8, dtype=torch.int64)
    surface = LossSurface.of(network, [batch], functional.cross_entropy, dtype=torch.float64)
    assert false_slope(surface) is None
