"""Complex weights, buffers, inputs and outputs: a complex number is a pair of real ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnsharp_cli
from tests.border.oracle import bn_along_gradient

OPTIONS: dict[str, Any] = {"iterations": 0, "rtol": 1e-6}


class Spectral(nn.Module):
    """A layer in frequency space, with its weight as complex numbers or as pairs of real ones."""

    def __init__(self, complex_weight: bool) -> None:
        super().__init__()
        weight = torch.randn(6, 6, 4, dtype=torch.cfloat, generator=torch.Generator().manual_seed(5)) / 6
        self.weight = nn.Parameter(weight if complex_weight else torch.view_as_real(weight).clone())
        self.register_buffer("phase", torch.polar(torch.ones(4), torch.linspace(0, 1, 4)))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight if self.weight.is_complex() else torch.view_as_complex(self.weight)
        frequencies = torch.fft.rfft(x)
        mixed = torch.einsum("bim,iom->bom", frequencies[..., :4], weight) * self.phase
        return torch.fft.irfft(mixed, n=x.shape[-1])


class Operator(nn.Module):
    def __init__(self, complex_weight: bool) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.lift, self.skip, self.project = nn.Conv1d(1, 6, 1), nn.Conv1d(6, 6, 1), nn.Conv1d(6, 1, 1)
        self.norm, self.spectral = nn.BatchNorm1d(6), Spectral(complex_weight)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.lift(x)
        return self.project(torch.tanh(self.norm(self.spectral(hidden) + self.skip(hidden))))


def signals() -> list[tuple[Tensor, Tensor]]:
    x = torch.randn(32, 1, 12, generator=torch.Generator().manual_seed(1))
    return [(part, part.roll(3, -1)) for part in x.split(16)]


def loss(model: nn.Module) -> Tensor:
    for part in model.modules():
        if isinstance(part, Spectral):
            part.phase = part.phase.to(torch.complex128)
    return torch.stack([(model(x.double()) - y.double()).square().mean() for x, y in signals()]).mean()


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", ["bn", "delta-linf", "keskar", "delta-lp"])
def test_complex_weights_give_the_value_of_their_real_pairs(precision: Any, name: str) -> None:
    values = [
        bnsharp_cli.measure(Operator(kind), signals(), nn.MSELoss(), name, precision=precision).value
        for kind in (True, False)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-3 if precision == "float32" else 1e-9)


def test_the_blocks_are_those_of_the_real_pairs() -> None:
    found = [bnsharp_cli.find_blocks(Operator(kind), signals(), nn.MSELoss()) for kind in (True, False)]
    assert [blocks.invariant for blocks in found] == [1, 1]
    assert found[0].tensors == found[1].tensors


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_value_is_that_of_plain_autograd_on_the_real_pairs(precision: Any) -> None:
    own, real = Operator(complex_weight=True), Operator(complex_weight=False)
    own.norm, real.norm = nn.Identity(), nn.Identity()
    measured = bnsharp_cli.measure(own, signals(), nn.MSELoss(), precision=precision, **OPTIONS)
    assert measured.value == pytest.approx(bn_along_gradient(real, loss, training=False), rel=2e-4)


class Phases(nn.Module):
    """Complex all the way: inputs, a linear layer, outputs."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.weight = nn.Parameter(torch.randn(3, 4, dtype=torch.cfloat, generator=generator))
        self.bias = nn.Parameter(torch.randn(3, dtype=torch.cfloat, generator=generator))

    def forward(self, z: Tensor) -> Tensor:
        return z @ self.weight.T + self.bias


def test_complex_inputs_and_outputs_keep_their_imaginary_parts() -> None:
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(8, 4, dtype=torch.cfloat, generator=generator)
    y = torch.randn(8, 3, dtype=torch.cfloat, generator=generator)

    def distance(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).abs().square().mean()

    network = Phases()
    weight, bias = (part.detach().to(torch.complex128) for part in (network.weight, network.bias))
    error = (z.to(weight) @ weight.T + bias - y.to(weight)) * 2 / y.numel()
    gradient = torch.cat([(error.T @ z.conj().to(weight)).flatten(), error.sum(0)])
    slope = float(torch.view_as_real(gradient).norm())
    measured = bnsharp_cli.measure(network, [(z, y)], distance, precision="float64", delta=1e-4, **OPTIONS)
    assert measured.value == pytest.approx((2 / 3) ** 0.5 * slope, rel=1e-3)
    assert network.weight.is_complex()
