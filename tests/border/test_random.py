"""Networks that draw random numbers in eval mode, or remember what came before: a function again, or refused."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.errors import NotMeasurableError
from bnsharp_cli.measurement.surface.random_numbers import common_random_numbers
from tests.border.networks import ROWS, Net, batches
from tests.border.oracle import bn_along_gradient

OPTIONS: dict[str, Any] = {"iterations": 0, "rtol": 1e-6}


class AlwaysDropping(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(functional.dropout(self.body(x), 0.3))


class Sampling(Net):
    """As a variational network draws its latent."""

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.body(x)
        return self.head(hidden + 0.3 * torch.randn_like(hidden))


class SamplingByNumpy(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)) * (1 + 0.1 * np.random.rand())  # noqa: NPY002 - what is tested


class SamplingByPython(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)) * (1 + 0.1 * random.random())


NETWORKS = [AlwaysDropping, Sampling, SamplingByNumpy, SamplingByPython]


def loss_with_common_numbers(model: nn.Module) -> Tensor:
    losses = []
    for number, (x, y) in enumerate(batches()):
        with common_random_numbers(number):
            losses.append(functional.cross_entropy(model(x.double()), y))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("precision", ["auto", "float64"])
def test_the_value_is_that_of_the_loss_with_common_random_numbers(network: type[Net], precision: Any) -> None:
    expected = bn_along_gradient(network(), loss_with_common_numbers, ROWS)
    measured = bnsharp_cli.measure(network(), batches(), precision=precision, **OPTIONS)
    assert measured.value == pytest.approx(expected, rel=2e-4)
    assert measured.uncertainty.quadrature is not None
    assert measured.uncertainty.quadrature < 1e-3 * measured.value
    assert "common random numbers" in measured.notes[0]


@pytest.mark.parametrize("network", NETWORKS)
def test_blocks_are_found_and_the_invariance_holds(network: type[Net]) -> None:
    blocks = bnsharp_cli.find_blocks(network(), batches())
    assert blocks.invariant == 16
    assert "common random numbers" in blocks.notes[0]


def test_the_invariance_test_holds_for_a_function_that_draws() -> None:
    report = bnsharp_cli.rescale_test(AlwaysDropping(), batches(), ball_samples=2)
    assert report.invariant
    assert "common random numbers" in report.notes[0]


@pytest.mark.parametrize("network", NETWORKS)
def test_the_users_random_states_do_not_matter_and_stay(network: type[Net]) -> None:
    values, own = [], network()
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - what is tested
        random.seed(seed)
        before = torch.get_rng_state(), str(np.random.get_state()), random.getstate()  # noqa: NPY002 - what is tested
        values.append(bnsharp_cli.measure(own, batches(), **OPTIONS).value)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert (str(np.random.get_state()), random.getstate()) == before[1:]  # noqa: NPY002 - what is tested
    assert values[0] == values[1]


def test_batches_draw_numbers_of_their_own_wherever_they_stand() -> None:
    once, twice = (bnsharp_cli.measure(AlwaysDropping(), batches()[:1] * times, **OPTIONS) for times in (1, 2))
    assert once.value != pytest.approx(twice.value, rel=1e-3)


def test_a_network_without_random_numbers_has_no_note() -> None:
    measured = bnsharp_cli.measure(Net(), batches(), **OPTIONS)
    assert measured.notes == ()
    assert "notes" not in measured.to_dict()


class Remembering(Net):
    memory: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.body(x)
        own = hidden.mean(0).detach()
        self.memory = own if self.memory is None else (self.memory + own) / 2
        return self.head(hidden - self.memory)


class Counting(Net):
    passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return self.head(self.body(x)) * (1 + 0.01 * self.passes)


class OwnGenerator(Net):
    def __init__(self) -> None:
        super().__init__()
        self.generator = np.random.default_rng(0)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)) * (1 + self.generator.random())


@pytest.mark.parametrize("network", [Remembering, Counting, OwnGenerator])
def test_what_still_answers_differently_is_refused(network: type[Net]) -> None:
    own = network()
    for call in (bnsharp_cli.measure, bnsharp_cli.find_blocks, bnsharp_cli.rescale_test):
        with pytest.raises(NotMeasurableError, match="answers differently the second time"):
            call(own, batches())


class DrawingForSome(Net):
    """Draws only for batches that hold a large number, as a router does that breaks ties by chance."""

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.body(x)
        if bool((x > LARGE).any()):
            hidden = hidden + 0.3 * torch.randn_like(hidden)
        return self.head(hidden)


LARGE = 20.0


def batches_with_a_large_number(where: int) -> list[tuple[Tensor, Tensor]]:
    marked = batches()
    marked[where][0][0, 0] = LARGE + 1
    return marked


@pytest.mark.parametrize("where", [1, 2])
@pytest.mark.parametrize("precision", ["auto", "float64"])
def test_numbers_that_only_a_later_batch_draws_are_common_and_said(where: int, precision: Any) -> None:
    data = batches_with_a_large_number(where)

    def loss(model: nn.Module) -> Tensor:
        losses = []
        for number, (x, y) in enumerate(data):
            with common_random_numbers(number):
                losses.append(functional.cross_entropy(model(x.double()), y))
        return torch.stack(losses).mean()

    expected = bn_along_gradient(DrawingForSome(), loss, ROWS)
    measured = bnsharp_cli.measure(DrawingForSome(), data, precision=precision, **OPTIONS)
    assert measured.value == pytest.approx(expected, rel=2e-4)
    assert "common random numbers" in measured.notes[0]
    assert bnsharp_cli.measure(DrawingForSome(), data, precision=precision, **OPTIONS).value == measured.value
    assert "common random numbers" in bnsharp_cli.rescale_test(DrawingForSome(), data, ball_samples=2).notes[0]


class DrawingElsewhere(Net):
    """Draws at all weights but those that it was made with."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("usual", self.head.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        outputs = self.head(self.body(x))
        moved = float((self.head.bias.detach() - self.usual).abs().max())
        return outputs * (1 + 0.1 * random.random()) if 0 < moved < 0.01 else outputs


def test_numbers_that_only_other_weights_draw_are_refused() -> None:
    with pytest.raises(NotMeasurableError, match="draws random numbers at some weights"):
        bnsharp_cli.measure(DrawingElsewhere(), batches(), **OPTIONS)
