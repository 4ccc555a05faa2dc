"""Channels last only where torch is right, and only where it computes what the plain layout does."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.errors import UsageError
from bnsharp_cli.measurement.surface.layouts import ENOUGH_CHANNELS, Convolution, ConvolutionWatch, plain
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.models import vgg11_bn
from tests.cases import images


class Residual(nn.Module):
    """A block whose shortcut is a strided 1 × 1 convolution; ``by_function`` hides that from whoever asks modules."""

    def __init__(self, width: int, outputs: int, stride: int = 2, by_function: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stride, self.by_function = stride, by_function
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.branch = nn.Conv2d(width, outputs, 3, stride=stride, padding=1, bias=False)
        self.shortcut = nn.Conv2d(width, outputs, 1, stride=stride)
        self.last = nn.Linear(outputs, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.relu(self.norm(self.stem(inputs)))
        if self.by_function:
            added = functional.conv2d(hidden, self.shortcut.weight, self.shortcut.bias, stride=self.stride)
        else:
            added = self.shortcut(hidden)
        return self.last(torch.relu(self.branch(hidden) + added).mean((2, 3)))


def measured_in_a_child(change: str = "") -> subprocess.CompletedProcess[str]:
    """L and its gradient of a small residual network, where a crash is the child's."""
    script = f"""
import torch
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from tests.cases import images
from tests.measurement.surface.test_layouts import Residual
network, ((inputs, labels),) = Residual(8, 16), images(samples=32, size=64)
{change}
surface = LossSurface.of(network, [(inputs, labels)] * 4)
for _ in range(3):
    value, gradient = surface.value_and_gradient(surface.point())
print(value)
"""
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=200)


@pytest.mark.parametrize(
    "change",
    [
        "",
        "inputs = inputs.to(memory_format=torch.channels_last)",
        "network = network.to(memory_format=torch.channels_last)",
    ],
)
def test_a_small_residual_network_does_not_kill_the_process(change: str) -> None:
    finished = measured_in_a_child(change)
    assert finished.returncode == 0, finished.stderr
    assert float(finished.stdout) > 0


@pytest.mark.parametrize("by_function", [False, True])
@pytest.mark.parametrize(
    ("width", "stride", "channels_last"), [(8, 2, False), (16, 2, False), (ENOUGH_CHANNELS, 2, True), (8, 1, True)]
)
def test_channels_last_where_it_is_known_to_be_right(
    width: int, stride: int, channels_last: bool, by_function: bool
) -> None:
    network = Residual(width, 16, stride, by_function)
    surfaces = [LossSurface.of(network, images(size=16), layout=layout) for layout in ("auto", "plain")]
    chosen, alone = (surface.plan() for surface in surfaces)
    assert (chosen.channels_last, alone.channels_last) == (channels_last, False)
    assert chosen.held == alone.held
    (value, gradient), (expected, wanted) = (surface.value_and_gradient(surface.point()) for surface in surfaces)
    assert value == pytest.approx(expected, rel=1e-6)
    for name, tensor in gradient.items():
        torch.testing.assert_close(tensor, wanted[name], rtol=1e-4, atol=1e-6)


def test_our_vgg_is_computed_channels_last() -> None:
    torch.manual_seed(0)
    surface = LossSurface.of(vgg11_bn(), images(size=32, classes=10))
    assert surface.plan().channels_last


class _FalseGradient(torch.autograd.Function):
    """The identity, whose gradient is false where the input is channels last."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        ctx.false = not inputs.is_contiguous()
        return inputs.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * (1.05 if ctx.false else 1.0)


class _FalseOutput(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs if inputs.is_contiguous() else inputs * 1.05


class _Faulty(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return _FalseGradient.apply(inputs)


@pytest.mark.parametrize(("fault", "right"), [(nn.Identity(), True), (_Faulty(), False), (_FalseOutput(), False)])
def test_a_layout_that_computes_something_else_is_not_chosen(fault: nn.Module, right: bool) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), fault, nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 4)
    )
    assert LossSurface.of(network, images()).plan().channels_last == right


def test_the_comparison_is_not_counted_and_draws_no_random_numbers() -> None:
    class Drawing(nn.Conv2d):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs + torch.rand(inputs.shape)).flatten(1)

    states = []
    for layout in ("auto", "plain"):
        torch.manual_seed(1)
        surface = LossSurface.of(Drawing(3, 8, 3), images(), layout=layout)
        assert surface.plan().channels_last == (layout == "auto")
        assert surface.counter.cost.forward == surface.counter.cost.backward == 0
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_every_function_that_convolves_is_noticed() -> None:
    inputs, kernel = torch.randn(1, 8, 6, 6), torch.randn(8, 8, 1, 1)
    with ConvolutionWatch() as watch:
        functional.conv2d(inputs, kernel, stride=2)
        torch.conv2d(inputs, kernel[:, :4], groups=2, padding="same")
        functional.conv_transpose2d(inputs, kernel)
        functional.conv1d(inputs[0].flatten(1), kernel[:, :, 0])
    assert watch.seen == {
        Convolution((1, 1), 8, (2, 2)),
        Convolution((1, 1), 4, (1, 1)),
        Convolution((1, 1), 8, (1, 1), transposed=True),
    }
    assert {one for one in watch.seen if one.safe} == {Convolution((1, 1), 4, (1, 1))}


def test_images_and_kernels_are_taken_to_the_plain_layout() -> None:
    straight = torch.randn(2, 3, 4, 5)
    assert plain(straight) is straight
    dot = torch.randn(16, 8, 1, 1).to(memory_format=torch.channels_last)
    grey = torch.randn(2, 4, 5, 1).permute(0, 3, 1, 2)  # this and `dot` are contiguous, and channels last by strides
    for other in (straight.to(memory_format=torch.channels_last), dot, grey):
        assert torch.equal(plain(other), other)
        assert plain(other).stride() == torch.empty(other.shape).stride()
    vector = torch.randn(4, 2).T
    assert plain(vector) is vector


class _OfPictures(nn.Module):
    """Takes its pictures by name or among others, as networks of Hugging Face do."""

    def __init__(self) -> None:
        super().__init__()
        self.residual = Residual(32, 32)

    def forward(self, pictures: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.residual(pictures if mask is None else pictures * mask)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("form", [lambda x: {"pictures": x}, lambda x: (x, torch.ones_like(x)), lambda x: [x]])
def test_pictures_in_a_dictionary_or_among_others_give_the_loss_of_plain_code(form: Any, channels_last: bool) -> None:
    network, ((inputs, labels),) = _OfPictures(), images(samples=8, size=8)
    if channels_last:
        inputs = inputs.to(memory_format=torch.channels_last)
    result = bnsharp_cli.measure(network, [(form(inputs), labels)], measure=["loss", "bn"], precision="float64")
    plainly = functional.cross_entropy(network.train().double()(inputs.double()), labels).item()
    assert result["loss"].value == pytest.approx(plainly, rel=1e-9)
    assert result["bn"].value > 0


def test_an_unknown_layout_is_refused() -> None:
    with pytest.raises(UsageError, match="layout: expected auto or plain, found 'nhwc'"):
        LossSurface.of(nn.Conv2d(3, 8, 3), images(), layout="nhwc")


@pytest.mark.parametrize("instructions", [{}, {"ONEDNN_MAX_CPU_ISA": "AVX2"}])
def test_torch_is_right_wherever_the_rule_says_so(instructions: dict[str, str]) -> None:
    command = [sys.executable, "-m", "benchmarks.layouts", "--cases", "200", "--work", "1e7", "--safe"]
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive", **instructions}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=200)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "safe by the rule: 0 of 1" in finished.stdout
