"""Networks that answer with several tensors: one is chosen, or none is guessed."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bnsharp_cli
from bnsharp_cli.errors import UsageError
from tests.border.networks import ROWS, Net, batches, mean_loss
from tests.border.oracle import bn_along_gradient

Named = namedtuple("Named", ["features", "scores"])
WithLogits = namedtuple("WithLogits", ["features", "logits"])
OPTIONS: dict[str, Any] = {"precision": "float64", "iterations": 0, "rtol": 1e-6}

AMBIGUOUS: dict[str, tuple[Callable[[Tensor, Tensor], Any], list[str | int]]] = {
    "tuple": (lambda hidden, scores: (hidden, scores), [1, -1, "1"]),
    "list": (lambda hidden, scores: [hidden, scores], [1]),
    "mapping": (lambda hidden, scores: {"hidden": hidden, "scores": scores}, ["scores"]),
    "namedtuple": (lambda hidden, scores: Named(hidden, scores), ["scores", 1]),
}


class Answering(Net):
    def __init__(self, shape: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Any:
        hidden = self.body(x)
        return self.shape(hidden, self.head(hidden))


@pytest.mark.parametrize("kind", AMBIGUOUS)
def test_several_candidates_are_listed_with_their_shapes_and_one_can_be_chosen(kind: str) -> None:
    shape, keys = AMBIGUOUS[kind]
    network = Answering(shape)
    for call in (bnsharp_cli.measure, bnsharp_cli.find_blocks, bnsharp_cli.rescale_test):
        with pytest.raises(UsageError, match=r"\(32, 16\).*\(32, 4\)") as refused:
            call(network, batches())
        assert refused.value.argument == "output"
        assert "Choose one with output" in refused.value.remedy
    expected = bn_along_gradient(Net(), mean_loss(), ROWS)
    for key in keys:
        assert bnsharp_cli.measure(network, batches(), output=key, **OPTIONS).value == pytest.approx(expected, rel=2e-4)


@pytest.mark.parametrize(
    "shape",
    [
        lambda hidden, scores: {"hidden": hidden, "logits": scores},
        lambda hidden, scores: {"aux": hidden, "out": scores},
        lambda hidden, scores: WithLogits(hidden, scores),
        lambda hidden, scores: (scores,),
        lambda hidden, scores: {"only": scores, "length": torch.tensor(3)},
    ],
)
def test_what_is_clear_needs_no_choice(shape: Callable[[Tensor, Tensor], Any]) -> None:
    expected = bn_along_gradient(Net(), mean_loss(), ROWS)
    assert bnsharp_cli.measure(Answering(shape), batches(), **OPTIONS).value == pytest.approx(expected, rel=2e-4)


def test_a_choice_that_is_not_there_is_refused_with_those_that_are() -> None:
    network = Answering(lambda hidden, scores: (hidden, scores))
    with pytest.raises(UsageError, match=r"output: expected one of 0 \(32, 16\), 1 \(32, 4\), found 2"):
        bnsharp_cli.measure(network, batches(), output=2)
    with pytest.raises(UsageError, match="output: expected a key or a position"):
        bnsharp_cli.measure(network, batches(), output=1.5)


def test_a_loss_of_ones_own_takes_all_or_what_was_chosen() -> None:
    network, error = Answering(lambda hidden, scores: (hidden, scores)), nn.CrossEntropyLoss()
    expected = bnsharp_cli.measure(Net(), batches(), **OPTIONS).value
    for criterion, key in ((lambda o, t: error(o[1], t), None), (lambda o, t: error(o, t), 1)):
        found = bnsharp_cli.measure(network, batches(), criterion, output=key, **OPTIONS)
        assert found.value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("key", [1, "1", np.int64(1)])
def test_a_position_or_a_whole_number_as_a_key_in_any_spelling(key: Any) -> None:
    expected = bnsharp_cli.measure(Net(), batches(), **OPTIONS).value
    for shape in (lambda hidden, scores: (hidden, scores), lambda hidden, scores: {0: hidden, 1: scores}):
        assert bnsharp_cli.measure(Answering(shape), batches(), output=key, **OPTIONS).value == pytest.approx(expected)


def test_a_choice_where_there_is_none_is_to_be_left_out() -> None:
    with pytest.raises(UsageError, match="answers with one tensor") as refused:
        bnsharp_cli.measure(Net(), batches(), output=0)
    assert (refused.value.argument, refused.value.remedy) == ("output", "Leave output out.")


@pytest.mark.parametrize("nothing", [None, (), {}])
def test_a_network_that_answers_with_nothing(nothing: Any) -> None:
    with pytest.raises(UsageError, match="no tensor of numbers") as refused:
        bnsharp_cli.measure(Answering(lambda *_: nothing), batches())
    assert refused.value.argument == "model"
