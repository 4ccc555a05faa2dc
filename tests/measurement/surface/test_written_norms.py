"""Norms in a network's own code: known by what they answer, and then treated as torch's."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.norms import NormCall
from bnsharp_cli.measurement.surface.written_norms import follow_written_norms

WIDTH, EPSILON = 6, 1e-3


class Written(nn.Module):
    """A root-mean-square norm as transformers writes it, with parts to exchange."""

    def __init__(self, answer: Callable[[Tensor, Tensor, float], Tensor] | None = None, **attributes: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.5, 2.0, WIDTH))
        self.epsilon = EPSILON
        self.answer = answer
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        if self.answer is not None:
            return self.answer(x, self.weight, self.epsilon)
        wide = x.to(torch.float32)
        return self.weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.epsilon)).to(x.dtype)


class WrittenLayer(nn.Module):
    """A layer norm of its own, with or without bias."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.linspace(0.5, 2.0, WIDTH))
        self.shift = nn.Parameter(torch.linspace(-1.0, 2.0, WIDTH)) if bias else None
        self.eps = EPSILON

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = self.gain * centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + self.eps)
        return scaled if self.shift is None else scaled + self.shift


class Network(nn.Module):
    """A linear layer before a norm, so that its rows are scale-invariant together."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.last = nn.Linear(4, WIDTH, bias=False), norm, nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.norm(self.first(x))))


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(16, 4, generator=generator), torch.arange(16) % 3) for _ in range(2)]


def theirs(kind: str, name: str) -> Callable[[], nn.Module]:
    """A norm of transformers."""

    def make() -> nn.Module:
        module = pytest.importorskip(f"transformers.models.{kind}.modeling_{kind}", reason="transformers has it")
        norm: nn.Module = getattr(module, name)(WIDTH, EPSILON)
        with torch.no_grad():
            for parameter in norm.parameters():
                parameter.add_(torch.linspace(-0.3, 0.3, WIDTH))
        return norm

    return make


NORMS: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "written": ("rms", Written),
    "written with another name": ("rms", lambda: Written(lambda x, w, e: x / (x * x).mean(-1, True).add(e).sqrt() * w)),
    "layer": ("layer", lambda: WrittenLayer(True)),
    "layer without bias": ("layer", lambda: WrittenLayer(False)),
    "llama": ("rms", theirs("llama", "LlamaRMSNorm")),
    "t5": ("rms", theirs("t5", "T5LayerNorm")),
    "gemma": ("rms", theirs("gemma", "GemmaRMSNorm")),
    "olmo2": ("rms", theirs("olmo2", "Olmo2RMSNorm")),
    "qwen3": ("rms", theirs("qwen3", "Qwen3RMSNorm")),
    "deberta": ("layer", theirs("deberta", "DebertaLayerNorm")),
}


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_is_seen_and_its_rows_are_found(name: str) -> None:
    kind, make = NORMS[name]
    network = Network(make())
    calls: list[NormCall] = []
    surface = LossSurface.of(network, batches(), dtype=torch.float64)
    outputs = surface.outputs(surface.point(), batches()[0][0].double(), lambda _, call: calls.append(call))
    assert [(call.kind, call.epsilon) for call in calls] == [(kind, EPSILON)]
    with torch.no_grad():
        torch.testing.assert_close(outputs[0].float(), network(batches()[0][0]), rtol=1e-5, atol=1e-6)
    blocks = bnsharp_cli.find_blocks(network, batches())
    assert blocks.invariant == 1  # all rows of the first layer together: the norm divides by what they have in common
    assert {tensor.name for tensor in blocks.tensors if tensor.invariant} == {"first.weight"}


@pytest.mark.parametrize("name", ["written", "layer"])
def test_rows_that_are_found_change_nothing_together_and_something_alone(name: str) -> None:
    network = Network(NORMS[name][1]()).double()
    network.norm.__dict__["epsilon" if name == "written" else "eps"] = 0.0
    x = batches()[0][0].double()
    with torch.no_grad():
        expected, scaled, alone = network(x), copy.deepcopy(network), copy.deepcopy(network)
        for factor in (0.5, 2.0):
            scaled.first.weight.copy_(factor * network.first.weight)
            torch.testing.assert_close(scaled(x), expected, rtol=1e-13, atol=1e-13)
        alone.first.weight[0] *= 2
        assert not torch.allclose(alone(x), expected, rtol=1e-3)


@pytest.mark.parametrize("name", ["written", "layer"])
def test_a_value_is_that_of_the_same_network_with_torchs_norm(name: str) -> None:
    kind, make = NORMS[name]
    written = Network(make())
    own = nn.RMSNorm(WIDTH, EPSILON) if kind == "rms" else nn.LayerNorm(WIDTH, EPSILON)
    with torch.no_grad():
        for parameter, value in zip(own.parameters(), written.norm.parameters(), strict=True):
            parameter.copy_(value)
    torchs = copy.deepcopy(written)
    torchs.norm = own
    values = [bnsharp_cli.measure(net, batches(), precision="float64").value for net in (written, torchs)]
    assert values[0] == pytest.approx(values[1], rel=1e-12)


def test_bn_sharpness_is_invariant_on_copies_with_the_epsilon_that_the_code_has() -> None:
    assert bnsharp_cli.rescale_test(Network(Written()), batches()).verdict.startswith("BN-Sharpness is invariant")


def test_the_users_network_keeps_its_class_and_code() -> None:
    network = Network(Written())
    bnsharp_cli.measure(network, batches(), measure="loss")
    assert type(network.norm) is Written
    assert "_bnsharp_norm" not in vars(network.norm)


def counted(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """A norm of inputs that are drawn upon."""
    return functional.rms_norm(x + 0 * torch.rand(1), (WIDTH,), weight, epsilon)


OTHERS: dict[str, Callable[[], nn.Module]] = {
    "epsilon outside of the root": lambda: Written(lambda x, w, e: w * x / (x.pow(2).mean(-1, True).sqrt() + e)),
    "a length": lambda: Written(lambda x, w, e: w * x / (x.pow(2).sum(-1, True) + e).sqrt()),
    "over samples": lambda: Written(lambda x, w, e: w * x / (x.pow(2).mean(0, True) + e).sqrt()),
    "no norm": lambda: Written(lambda x, w, e: w * x + e),
    "random": lambda: Written(counted),
    "another shape": lambda: Written(lambda x, w, e: (w * x)[..., :2]),
    "no tensor": lambda: Written(lambda x, w, e: [w * x]),
    "an error": lambda: Written(lambda x, w, e: w @ torch.zeros(1, 1)),
    "two small numbers": lambda: Written(momentum=1e-4),
    "a constant beside it": lambda: Written(table=torch.ones(1)),
    "a part beside it": lambda: Written(part=nn.Identity()),
    "a statistic beside it": lambda: Written(mean=nn.Buffer(torch.zeros(1))),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_code_stays_what_it_is(name: str) -> None:
    norm = OTHERS[name]()
    state = torch.get_rng_state()
    follow_written_norms(norm)
    assert type(norm) is Written
    torch.set_rng_state(state)


def test_a_call_with_more_than_one_argument_is_the_modules_own() -> None:
    class Gated(Written):
        def forward(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
            return super().forward(x) if gate is None else super().forward(x * gate) + 1

    x, gate, norm = torch.randn(2, WIDTH), torch.randn(2, WIDTH), Gated()
    expected = norm(x, gate), norm(x=x)
    follow_written_norms(norm)
    assert type(norm) is not Gated
    assert isinstance(norm, Gated)
    torch.testing.assert_close(norm(x, gate), expected[0])
    torch.testing.assert_close(norm(x=x), expected[1])
