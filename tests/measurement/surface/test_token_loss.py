"""The loss of tokens is the mean over all that count, however they are put into batches."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.errors import DataRefusedError
from bnsharp_cli.measurement.surface.batch_sizes import BatchSizes
from bnsharp_cli.measurement.surface.examination import examined
from bnsharp_cli.measurement.surface.loss_surface import LossSurface
from bnsharp_cli.measurement.surface.token_loss import IGNORED, token_cross_entropy

_VOCABULARY, _CONTEXT, _SEQUENCES = 11, 7, 9


class _LanguageModel(nn.Module):
    """Logits for each place, of an embedding alone."""

    def __init__(self, vocabulary: int = _VOCABULARY) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.embedding = nn.Embedding(vocabulary, 5)
        self.head = nn.Linear(5, vocabulary)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T, V)."""
        logits: Tensor = self.head(torch.tanh(self.embedding(tokens)))
        return logits


def _sequences(context: int = _CONTEXT, vocabulary: int = _VOCABULARY) -> tuple[Tensor, Tensor]:
    """Tokens and targets, of which every sequence counts another number."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(vocabulary, (_SEQUENCES, context), generator=generator)
    targets = torch.randint(vocabulary, (_SEQUENCES, context), generator=generator)
    for number in range(_SEQUENCES):
        targets[number, 1 + number % context :] = IGNORED
    return tokens, targets


def _mean_in_float64(network: nn.Module, tokens: Tensor, targets: Tensor) -> float:
    """−log p, token by token."""
    with torch.no_grad():
        probabilities = network.double()(tokens).softmax(-1)
    counted = [(n, t) for n in range(len(targets)) for t in range(targets.shape[1]) if targets[n, t] != IGNORED]
    return math.fsum(-math.log(probabilities[n, t, targets[n, t]]) for n, t in counted) / len(counted)


def _surface(size: int, dtype: torch.dtype = torch.float64) -> LossSurface:
    batches = [*zip(*(torch.split(part, size) for part in _sequences()), strict=True)]
    return examined(LossSurface.of(_LanguageModel(), batches, token_cross_entropy, dtype=dtype))


@pytest.mark.parametrize("size", [1, 3, 8, _SEQUENCES])
def test_the_loss_is_the_mean_over_all_tokens_whatever_the_batches_are(size: int) -> None:
    surface = _surface(size)
    expected = _mean_in_float64(_LanguageModel(), *_sequences())
    assert surface.value(surface.point()) == pytest.approx(expected, rel=1e-13)
    assert math.fsum(surface.weights) == pytest.approx(surface.count)


@pytest.mark.parametrize("size", [1, 3, 8])
def test_the_gradient_is_that_of_the_mean_over_all_tokens(size: int) -> None:
    surface = _surface(size)
    network = _LanguageModel().double()
    tokens, targets = _sequences()
    logits = network(tokens).flatten(0, 1)
    functional.cross_entropy(logits, targets.flatten()).backward()
    _, gradient = surface.value_and_gradient(surface.point())
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(gradient[name], parameter.grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("size", [1, 3, 8])
def test_several_points_at_once_and_parts_count_tokens_too(size: int) -> None:
    surface = _surface(size)
    point = surface.point()
    elsewhere = {name: 1.5 * tensor for name, tensor in point.items()}
    one, other = surface.values([point, elsewhere])
    assert (one, other) == pytest.approx((surface.value(point), surface.value(elsewhere)), rel=1e-12)
    tokens, targets = (part[:size] for part in _sequences())
    expected = _mean_in_float64(_LanguageModel(), tokens, targets)
    assert surface.part(0, 1).value(point) == pytest.approx(expected, rel=1e-13)


def test_the_accuracy_is_that_of_tokens_where_places_are_as_many_as_the_vocabulary() -> None:
    network = _LanguageModel(_CONTEXT)
    tokens, targets = _sequences(vocabulary=_CONTEXT)
    surface = LossSurface.of(network, [(tokens, targets)], token_cross_entropy, dtype=torch.float64)
    with torch.no_grad():
        guesses = network.double()(tokens).argmax(-1)
    counted = targets != IGNORED
    right = int((guesses == targets)[counted].sum())
    figures = surface.evaluated(surface.point())
    assert (figures.right, figures.labelled) == ((right,), (int(counted.sum()),))


def test_a_note_says_that_batches_count_by_their_tokens() -> None:
    (note,) = _surface(3).conduct.notes
    assert note == "batches of 6 to 15 tokens count by their sizes, because the loss averages over tokens"


def test_measures_of_the_interface_do_not_depend_on_the_batches() -> None:
    values = []
    for size in (1, 3, _SEQUENCES):
        batches = [*zip(*(torch.split(part, size) for part in _sequences()), strict=True)]
        found = bnsharp_cli.measure(_LanguageModel(), batches, bnsharp_cli.token_cross_entropy, precision="float64")
        values.append(found.value)
    assert values[1:] == pytest.approx([values[0]] * 2, rel=1e-6)


def test_the_gap_counts_tokens() -> None:
    network, (tokens, targets) = _LanguageModel(), _sequences()  # measured in float32
    train, test = [(tokens[:4], targets[:4])], [(tokens[4:6], targets[4:6]), (tokens[6:], targets[6:])]
    found = bnsharp_cli.generalization_gap(network, train, test, token_cross_entropy)
    expected = _mean_in_float64(_LanguageModel(), tokens[4:], targets[4:])
    assert found.loss == pytest.approx(expected, rel=1e-5)
    assert found.groups.tokens == tuple((targets[4:] != IGNORED).sum(1).tolist())
    own = [_mean_in_float64(_LanguageModel(), tokens[n : n + 1], targets[n : n + 1]) for n in range(4, _SEQUENCES)]
    apart = [count * (loss - expected) for count, loss in zip(found.groups.tokens, own, strict=True)]
    n, total = len(own), sum(found.groups.tokens)
    error = math.sqrt(n / (n - 1) * math.fsum(a * a for a in apart)) / total  # of a ratio, linearised
    assert found.loss_error == pytest.approx(error, rel=1e-4)


def test_sizes_of_tokens_are_put_in_order_and_cut_with_their_batches() -> None:
    sizes = BatchSizes((2, 2, 1), 9, (6, 3, 1))
    assert sizes.in_order([2, 0, 1]) == BatchSizes((1, 2, 2), 9, (1, 6, 3))
    assert sizes.part(1, 3).weights == (1.5, 0.5)
    assert BatchSizes((2, 1)).in_order([1, 0]) == BatchSizes((1, 2))


def test_outputs_of_another_shape_are_refused() -> None:
    with pytest.raises(DataRefusedError, match=r"answers with outputs of \(2, 5\), expected logits \(2, 3, V\)"):
        token_cross_entropy(torch.zeros(2, 5), torch.zeros(2, 3, dtype=torch.int64))
    with pytest.raises(DataRefusedError, match="answers with no single tensor"):
        token_cross_entropy({"a": torch.zeros(2), "b": torch.zeros(2)}, torch.zeros(2, 3, dtype=torch.int64))
