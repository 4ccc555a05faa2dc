"""Networks and losses that take derivatives themselves: forces of an energy, residuals of a differential equation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.errors import NotMeasurableError
from tests.border.oracle import bn_along_gradient, bn_limit


def potential() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))


class Forces(nn.Module):
    """Energy, and minus its gradient in the positions, as packages for molecules compute it."""

    def __init__(self, graph: Callable[[nn.Module], bool] = lambda module: module.training) -> None:
        super().__init__()
        self.energy = potential()
        self.graph = graph

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        positions = positions.requires_grad_(True)
        energy = self.energy(positions)
        (slope,) = torch.autograd.grad(energy.sum(), positions, create_graph=self.graph(self))
        return energy, -slope


class ForcesInside(Forces):
    """With gradients switched on by its own code."""

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            moved = positions.clone().requires_grad_()
            energy = self.energy(moved)
            (slope,) = torch.autograd.grad(energy.sum(), moved, create_graph=True)
        return energy, -slope


class FunctionalForces(Forces):
    """By torch.func."""

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        energy = self.energy(positions)
        slope = torch.func.grad(lambda x: self.energy(x).sum())(positions)
        return energy, -slope


def molecules() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(12, 3, generator=generator), torch.randn(12, 4, generator=generator)) for _ in range(2)]


def energy_and_forces(outputs: tuple[Tensor, Tensor], targets: Tensor) -> Tensor:
    energy, forces = outputs
    return functional.mse_loss(energy[:, 0], targets[:, 0]) + 3 * functional.mse_loss(forces, targets[:, 1:])


def forces_loss(module: nn.Module) -> Tensor:
    return sum(energy_and_forces(module(x.double().clone()), y.double()) for x, y in molecules()) / 2


@pytest.mark.parametrize(
    "network",
    [
        Forces,
        lambda: Forces(lambda _: True),
        lambda: Forces(lambda _: False),
        ForcesInside,
        FunctionalForces,
    ],
    ids=["graph in training", "graph always", "no graph", "gradients inside", "torch.func"],
)
@pytest.mark.parametrize("precision", ["auto", "float64"])
def test_energies_and_forces(network: Callable[[], nn.Module], precision: str) -> None:
    found = bnsharp_cli.measure(network(), molecules(), energy_and_forces, precision=precision)
    reference = ForcesInside()
    assert found.details["limit"] == pytest.approx(bn_limit(reference, forces_loss), rel=1e-5)
    assert found.value >= bn_along_gradient(reference, forces_loss) * (1 - 1e-3)
    data = molecules()
    bnsharp_cli.measure(network(), data, energy_and_forces)
    assert not any(x.requires_grad for x, _ in data)


@pytest.mark.parametrize("name", ["delta-lp", "delta-linf", "keskar"])
def test_the_classical_measures_of_forces(name: str) -> None:
    inside = bnsharp_cli.measure(ForcesInside(), molecules(), energy_and_forces, name=name)
    plain = bnsharp_cli.measure(Forces(), molecules(), energy_and_forces, name=name)
    assert plain.value == pytest.approx(inside.value, rel=1e-6)
    assert plain.value > 0


def test_several_starts_run_one_after_the_other() -> None:
    found = bnsharp_cli.measure(Forces(), molecules(), energy_and_forces, restarts=2, precision="float64")
    assert found.value >= bn_along_gradient(Forces(lambda _: True), forces_loss) * (1 - 1e-6)


class Field(nn.Module):
    """u(x), with the points that a loss differentiates in."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = potential()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.clone().requires_grad_()
        return self.layers(x), x


def poisson(outputs: tuple[Tensor, Tensor], targets: Tensor) -> Tensor:
    """(Δu − f)², from second derivatives."""
    u, x = outputs
    (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    laplacian = sum(torch.autograd.grad(slope[:, i].sum(), x, create_graph=True)[0][:, i] for i in range(3))
    return functional.mse_loss(laplacian, targets[:, 0])


class Residual(nn.Module):
    """The same inside the network, which answers with the residual."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = potential()

    def forward(self, x: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(self.layers(x).sum(), x, create_graph=True)
        return sum(torch.autograd.grad(slope[:, i].sum(), x, create_graph=True)[0][:, i] for i in range(3))


def field_loss(module: nn.Module) -> Tensor:
    return sum(poisson(module(x.double()), y.double()) for x, y in molecules()) / 2


@pytest.mark.parametrize("precision", ["auto", "float64"])
def test_differential_equations(precision: str) -> None:
    wanted = bn_limit(Field(), field_loss)
    by_loss = bnsharp_cli.measure(Field(), molecules(), poisson, precision=precision)
    assert by_loss.details["limit"] == pytest.approx(wanted, rel=1e-4)
    first = [(x, y[:, 0]) for x, y in molecules()]
    by_network = bnsharp_cli.measure(Residual(), first, nn.MSELoss(), precision=precision)
    assert by_network.details["limit"] == pytest.approx(wanted, rel=1e-4)
    assert by_network.value >= bn_along_gradient(Field(), field_loss) * (1 - 1e-3)


class NormedForces(nn.Module):
    """Forces of an energy with batch norm and max pooling, so that there is something to rescale."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.energy = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(16, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.requires_grad_()
        energy = self.energy(x)
        return energy, torch.autograd.grad(energy.sum(), x, create_graph=True)[0]


def test_forces_of_a_pooled_and_normed_network() -> None:
    generator = torch.Generator().manual_seed(1)
    data = [(torch.randn(8, 1, 4, 4, generator=generator), torch.randn(8, generator=generator)) for _ in range(2)]

    def criterion(outputs: Any, targets: Tensor) -> Tensor:
        return functional.mse_loss(outputs[0][:, 0], targets) + outputs[1].square().mean()

    def loss(module: nn.Module) -> Tensor:
        return sum(criterion(module(x.double().clone()), y.double()) for x, y in data) / 2

    wanted = bn_limit(NormedForces(), loss, ["energy.0.weight"])
    found = bnsharp_cli.measure(NormedForces(), data, criterion)
    assert found.details["limit"] == pytest.approx(wanted, rel=1e-4)
    assert bnsharp_cli.rescale_test(NormedForces(), data, criterion, ball_samples=2).invariant


class Backward(Forces):
    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        positions = positions.clone().requires_grad_()
        energy = self.energy(positions)
        energy.sum().backward(retain_graph=True)
        return energy, -positions.grad


def test_backward_inside_is_refused() -> None:
    with pytest.raises(NotMeasurableError, match="calls backward") as refused:
        bnsharp_cli.measure(Backward(), molecules(), energy_and_forces)
    assert "create_graph=True" in refused.value.remedy
