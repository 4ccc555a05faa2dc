"""The simulation itself: it refuses what CUDA refuses, and counts what it says it counts."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from tests.simulated.backend import NAME
from tests.simulated.device import Simulation, simulated

Operation = Callable[[Tensor, Tensor], object]


@pytest.mark.parametrize(
    "mixed",
    [
        lambda here, there: here + there,
        lambda here, there: there @ here,
        lambda here, there: torch.stack([here, there]),
        lambda here, there: here.add_(there),
        lambda here, there: torch.where(here > 0, here, there),
        lambda here, there: nn.functional.linear(there, here),
    ],
)
def test_operands_on_two_devices_are_refused(mixed: Operation) -> None:
    with simulated(), pytest.raises(RuntimeError, match="same device"):
        mixed(torch.ones(2, 2, device=NAME), torch.ones(2, 2))


def test_a_module_whose_buffer_stayed_behind_is_refused() -> None:
    class Forgetful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = torch.ones(3)

        def forward(self, inputs: Tensor) -> Tensor:
            return inputs + self.shift

    with simulated(), pytest.raises(RuntimeError, match="same device"):
        Forgetful().to(NAME)(torch.ones(2, 3, device=NAME))


def test_generators_belong_to_one_device() -> None:
    with simulated():
        for generator, device in ((torch.Generator(), NAME), (torch.Generator(NAME), "cpu")):
            with pytest.raises(RuntimeError, match="generator"):
                torch.randn(2, generator=generator, device=device)
        drawn = torch.randn(2, generator=torch.Generator(NAME).manual_seed(5), device=NAME)
        assert drawn.tolist() == torch.randn(2, generator=torch.Generator().manual_seed(5)).tolist()
    assert torch.Generator().device.type == "cpu"


def test_copies_numbers_and_indices_of_the_cpu_are_allowed() -> None:
    with simulated():
        here = torch.arange(6.0, device=NAME).reshape(2, 3)
        assert (here * 2 + torch.tensor(1.0)).cpu().tolist() == [[1, 3, 5], [7, 9, 11]]
        assert here[torch.tensor([1])].tolist() == [[3, 4, 5]]
        here[:, 0] = torch.tensor([7.0, 8.0]).to(NAME)
        assert here.tolist() == [[7, 1, 2], [8, 4, 5]]


def test_gradients_are_those_of_the_cpu() -> None:
    torch.manual_seed(0)
    module, inputs = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)), torch.randn(5, 3)
    expected = torch.autograd.grad(module(inputs).square().sum(), [*module.parameters()])
    with simulated():
        moved = module.to(NAME)
        found = torch.autograd.grad(moved(inputs.to(NAME)).square().sum(), [*moved.parameters()])
        assert all(torch.equal(one.cpu(), other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("asked", "waits"),
    [
        (lambda here: here + 1, 0),
        (lambda here: here.to(torch.float64), 0),
        (lambda here: here.sum().item(), 1),
        (lambda here: here.tolist(), 1),
        (lambda here: here.cpu(), 1),
        (lambda here: torch.zeros(3).copy_(here), 1),
        (lambda here: bool(here.any()), 1),
        (lambda here: here[here > 0], 1),
        (lambda here: here.nonzero(), 1),
        (lambda here: float(here[0]) + float(here[1]), 2),
    ],
)
def test_what_the_host_waits_for_is_counted(asked: Callable[[Tensor], object], waits: int) -> None:
    with simulated() as simulation:
        here = torch.arange(3.0, device=NAME)
        simulation.waits.clear()
        asked(here)
        assert simulation.waits.total() == waits


def test_memory_ends_and_is_given_back() -> None:
    with simulated(memory=4000) as simulation:
        kept = torch.zeros(500, device=NAME)
        view = kept[:10]
        assert simulation.live == 2000
        with pytest.raises(torch.OutOfMemoryError):
            kept.repeat(2)
        del kept
        assert simulation.live == 2000
        del view
        assert (simulation.live, simulation.peak) == (0, 2000)
        torch.zeros(1000, device=NAME)


def test_without_a_simulation_there_is_no_device() -> None:
    assert not torch.get_device_module(NAME).is_available()
    with simulated() as simulation:
        assert torch.get_device_module(NAME).is_available()
        assert isinstance(simulation, Simulation)


def test_another_thread_and_torch_tensor_reach_the_device() -> None:
    with simulated() as simulation, ThreadPoolExecutor(1) as elsewhere:
        moved = elsewhere.submit(torch.arange(3.0).to, NAME, non_blocking=True).result()
        made = torch.tensor([1.0, 2.0], device=NAME)
        assert (moved.device, made.device) == (torch.device(NAME, 0), torch.device(NAME, 0))
        assert (simulation.live, simulation.waits.total()) == (20, 0)
        assert (moved.tolist(), made.tolist()) == ([0, 1, 2], [1, 2])


def test_an_activation_is_differentiated_by_one_operation_as_on_the_cpu() -> None:
    values = torch.linspace(-3, 3, 200)
    (expected,) = torch.autograd.grad(nn.functional.silu(values.requires_grad_()).sum(), values)
    with simulated():
        there = values.detach().to(NAME).requires_grad_()
        (found,) = torch.autograd.grad(nn.functional.silu(there).sum(), there)
        assert torch.equal(found.cpu(), expected)
