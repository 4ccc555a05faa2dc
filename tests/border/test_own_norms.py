"""Normalisation code of a network's own takes the statistics that are asked for, or the result says which it kept."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnsharp_cli
from tests.border.networks import Net, batches, mean_loss
from tests.border.oracle import bn_along_gradient

OPTIONS: dict[str, Any] = {"precision": "float64", "iterations": 0, "rtol": 1e-6}


class HandWritten(nn.Module):
    """Batch norm as people write it; one buffer is changed in place, the other replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.linspace(-1, 1, 16))
        self.register_buffer("running_var", torch.linspace(0.5, 2, 16))
        self.scale, self.shift = nn.Parameter(torch.ones(16)), nn.Parameter(torch.zeros(16))

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not self.training:
            return self.running_mean, self.running_var
        mean, variance = x.mean(0), x.var(0, unbiased=False)
        with torch.no_grad():
            self.running_mean.mul_(0.9).add_(0.1 * mean)
            self.running_var = 0.9 * self.running_var + 0.1 * variance
        return mean, variance

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.statistics(x)
        return (x - mean) / (variance + 1e-5).sqrt() * self.scale + self.shift


class WithDropout(HandWritten):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(super().forward(x), 0.5, self.training)


class Corrected(HandWritten):
    """As batch renormalisation, which needs running statistics in training too."""

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, variance = super().statistics(x)
        return (mean + self.running_mean) / 2, variance


class InAttributes(HandWritten):
    def __init__(self) -> None:
        super().__init__()
        self.memory = torch.zeros(16)

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.training:
            self.memory = 0.9 * self.memory + 0.1 * x.detach().mean(0)
        return self.memory, torch.ones_like(self.memory)


def notes(measured: Any) -> tuple[str, ...]:
    """What is said of norms; an own norm keeps its ε, so that no row is invariant, which is said as well."""
    return tuple(note for note in measured.notes if "scale-invariant" not in note)


def network(norm: type[nn.Module]) -> Net:
    own = Net()
    own.body = nn.Sequential(own.body[0], norm(), nn.Dropout(0.5), nn.Tanh())
    return own


def in_training(model: nn.Module) -> nn.Module:
    """Norms in training, dropout in evaluation."""
    for part in model.modules():
        part.train(not isinstance(part, nn.Dropout)) if not [*part.children()] else None
    return model


@pytest.mark.parametrize(("bn", "training"), [("batch", True), ("running", False)])
def test_hand_written_batch_norm_takes_the_statistics_that_are_asked_for(bn: Any, training: bool) -> None:
    own = network(HandWritten)
    before = {name: tensor.clone() for name, tensor in own.state_dict().items()}

    def loss(model: nn.Module) -> Tensor:
        return mean_loss()(in_training(model) if training else model.eval())

    measured = bnsharp_cli.measure(own, batches(), bn=bn, **OPTIONS)
    assert measured.value == pytest.approx(bn_along_gradient(own, loss, training=False), rel=2e-4)
    assert all(torch.equal(tensor, before[name]) for name, tensor in own.state_dict().items())
    assert any("body.1: normalisation code" in note for note in measured.notes) == training


def test_one_way_or_the_other_is_another_number() -> None:
    own = network(HandWritten)
    batch, running = (bnsharp_cli.measure(own, batches(), bn=bn, **OPTIONS).value for bn in ("batch", "running"))
    assert batch != pytest.approx(running, rel=0.1)


@pytest.mark.parametrize("norm", [WithDropout, Corrected, InAttributes])
def test_a_module_that_training_changes_otherwise_keeps_its_statistics_and_is_named(norm: type[nn.Module]) -> None:
    own = network(norm)
    measured = bnsharp_cli.measure(own, batches(), **OPTIONS)
    expected = bn_along_gradient(own, lambda model: mean_loss()(model.eval()), training=False)
    assert measured.value == pytest.approx(expected, rel=2e-4)
    (note,) = notes(measured)
    assert note.startswith("body.1: statistics of the network's own")
    assert notes(bnsharp_cli.measure(own, batches(), bn="running", **OPTIONS)) == ()


def test_constant_buffers_are_no_statistics() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.linspace(0, 1, 16))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.table

    assert notes(bnsharp_cli.measure(network(Constant), batches(), **OPTIONS)) == ()


def test_statistics_that_are_updated_elsewhere_are_statistics_too() -> None:
    class NotUpdating(HandWritten):
        def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
            if not self.training:
                return self.running_mean, self.running_var
            return x.mean(0), x.var(0, unbiased=False)

    measured = bnsharp_cli.measure(network(NotUpdating), batches(), **OPTIONS)
    expected = bn_along_gradient(network(HandWritten), lambda model: mean_loss()(in_training(model)), training=False)
    assert measured.value == pytest.approx(expected, rel=2e-4)
    assert notes(measured)[0].startswith("body.1: normalisation code")


def test_what_a_network_keeps_of_every_pass_is_no_statistic() -> None:
    class Keeps(Net):
        def forward(self, x: Tensor) -> Tensor:
            self.last = self.body(x)
            return self.head(self.last)

    own = Keeps()
    with torch.no_grad():
        own(batches()[0][0])
    assert notes(bnsharp_cli.measure(own, batches(), **OPTIONS)) == ()


def test_the_network_itself_is_named_in_words() -> None:
    class Root(HandWritten):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(16, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(super().forward(nn.functional.pad(x, (0, 6), value=1.0) + self.scale))

    assert notes(bnsharp_cli.measure(Root(), batches(), **OPTIONS))[0].startswith("the network: normalisation code")


def _scripted(part: nn.Module) -> Any:
    return torch.jit.script(part)


def _traced(part: nn.Module) -> Any:
    return torch.jit.trace(part.eval(), batches()[0][0])


def _traced_in_training(part: nn.Module) -> Any:
    return torch.jit.trace(part.train(), batches()[0][0])


@pytest.mark.parametrize(
    ("compiled", "asked", "takes"),
    [(_scripted, "batch", "running"), (_traced, "batch", "running"), (_traced_in_training, "running", "batch")],
)
@pytest.mark.filterwarnings("ignore")  # torch wants compiled code to be written otherwise
def test_norms_of_compiled_code_that_do_otherwise_are_named(compiled: Any, asked: Any, takes: Any) -> None:
    own = Net()
    own.body = compiled(own.body)
    measured, other = (bnsharp_cli.measure(own, batches(), bn=bn, **OPTIONS) for bn in (asked, takes))
    expected = bn_along_gradient(Net(), mean_loss(), training=takes == "batch")
    assert measured.value == pytest.approx(expected, rel=2e-4)
    (note,) = notes(measured)
    assert note.startswith("body.1: norms of compiled code")
    assert notes(other) == ()
