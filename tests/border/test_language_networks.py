"""Networks of texts of nine families: every number against plain code in float64, on both containers alike.

Transformers' code casts to float32 in norms, rotary positions and attention, whatever the precision of the network. The
plain code here takes these casts away by what ``float32`` means while it runs; that they matter is a test of its own.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from bnsharp_cli.core.point import random_normal
from bnsharp_cli.io.networks.known_networks import LANGUAGE_MODEL, TEXT_CLASSIFIER, Head
from bnsharp_cli.measurement.blocks.relative import relative_blocks
from tests.border.oracle import Block, bn_of_blocks
from tests.io.checkpoints.huggingface_texts import (
    EVERY,
    FAMILIES,
    PAD,
    SETTINGS,
    WORDS,
    name_of,
    text_network,
    token_batches,
)

transformers = pytest.importorskip("transformers", reason="transformers has these networks")

Batches = list[tuple[Any, Tensor]]


def scores_of(outputs: Any) -> Tensor:
    """The logits of what a network of transformers, or one that answers with a tensor, returns."""
    return outputs if isinstance(outputs, Tensor) else outputs.logits


def mean_loss(outputs: Any, targets: Tensor) -> Tensor:
    """Mean cross entropy over targets that are not −100."""
    return functional.cross_entropy(scores_of(outputs).flatten(0, -2), targets.flatten(), ignore_index=-100)


def plain_loss(batches: Batches) -> Callable[[nn.Module], Tensor]:
    """The mean loss of all batches as plain code computes it."""

    def loss(network: nn.Module) -> Tensor:
        answers = [network(**inputs) if isinstance(inputs, dict) else network(inputs) for inputs, _ in batches]
        return torch.stack([mean_loss(one, y) for one, (_, y) in zip(answers, batches, strict=True)]).mean()

    return loss


@contextlib.contextmanager
def without_casts() -> Iterator[None]:
    """While it is entered, code that asks for float32 gets float64."""
    with (
        mock.patch.multiple(torch, float32=torch.float64, float=torch.float64),
        mock.patch.object(Tensor, "float", Tensor.double),
    ):
        yield


def doubled(network: nn.Module) -> nn.Module:
    """A copy in float64, of whose gradient torch leaves out no row for padding."""
    own = copy.deepcopy(network).double()
    for part in own.modules():
        if isinstance(part, nn.Embedding):
            part.padding_idx = None
    return own


def mapped(batches: list[tuple[Tensor, Tensor]]) -> Batches:
    """The same batches as keywords, every token of which counts."""
    return [({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, y) for ids, y in batches]


def heads_of(network: nn.Module, layer: int) -> list[Block]:
    """The rows of queries and keys of each head, which Qwen3 normalises together."""
    attention = network.model.layers[layer].self_attn
    return [
        {f"model.layers.{layer}.self_attn.{name}.weight": slice(first, first + attention.head_dim)}
        for name in ("q_proj", "k_proj")
        for first in range(0, len(getattr(attention, name).weight), attention.head_dim)
    ]


def blocks_by_theory(kind: str, network: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> list[Block]:
    """The rows that a norm follows with nothing in between but sums over them.

    DeBERTa's words and relative positions here go straight into a layer norm, each row alone; Qwen3's queries and keys
    into norms of a head. In all others the sum of residuals, or a nonlinearity, comes before each norm.
    """
    if kind == "deberta-v2":
        used = torch.cat([ids for ids, _ in batches]).unique().tolist()
        buckets = range(1, 8)  # −3 … 3 of four on each side, into which all distances of eight tokens fall
        rows = {"embeddings.word_embeddings": used, "encoder.rel_embeddings": buckets}
        return [{f"deberta.{name}.weight": slice(row, row + 1)} for name, own in rows.items() for row in own]
    return [*heads_of(network, 0), *heads_of(network, 1)] if kind == "qwen3" else []


ALWAYS = ("bert", "gpt2", "qwen3")
LONG = pytest.mark.slow(
    reason="two measurements of a network of many small modules take some seconds",
    quick="tests/border/test_language_networks.py::test_values_are_those_of_plain_code",
)


@pytest.mark.parametrize(
    ("head", "kind"), [pytest.param(*one, marks=() if one[1] in ALWAYS else LONG) for one in FAMILIES], ids=name_of
)
def test_values_are_those_of_plain_code(head: Head, kind: str) -> None:
    network, batches = text_network(head, kind), token_batches(head)
    blocks = blocks_by_theory(kind, network, batches)
    names = ["bn", "loss", "gradient-norm", "noise"]
    options: dict[str, Any] = {"precision": "float64", "iterations": 0, "noise_draws": 2, "sigma": 0.1}
    bare, keywords = (
        bnsharp_cli.measure(network, own, mean_loss, measure=names, **options) for own in (batches, mapped(batches))
    )
    loss = plain_loss([*batches])
    with without_casts():
        plain = doubled(network).requires_grad_(True)
        value = loss(plain)
        gradients = torch.autograd.grad(value, [*plain.parameters()], allow_unused=True)
        length = torch.stack([one.square().sum() for one in gradients if one is not None]).sum().sqrt()
        expected = {
            "bn": bn_of_blocks(network, loss, blocks, training=False),
            "loss": float(value.detach()),
            "gradient-norm": float(length),
            "noise": noise_of(network, loss, 0.1, 2),
        }
    for name in names:
        assert bare[name].value == pytest.approx(expected[name], rel=1e-10 if name != "bn" else 1e-4), name
        assert keywords[name].value == pytest.approx(bare[name].value, rel=1e-12), name
    assert abs(bare["bn"].value - expected["bn"]) <= 2 * bare["bn"].uncertainty.quadrature + 1e-9


@pytest.mark.slow(
    reason="forty networks",
    quick="tests/border/test_language_networks.py::test_values_are_those_of_plain_code",
)
@pytest.mark.parametrize(("head", "kind"), EVERY, ids=name_of)
def test_loss_and_gradient_of_every_kind_are_those_of_plain_code(head: Head, kind: str) -> None:
    network, batches = text_network(head, kind), token_batches(head)
    names = ["loss", "gradient-norm"]
    found = bnsharp_cli.measure(network, mapped(batches), mean_loss, measure=names, precision="float64")
    with without_casts():
        plain = doubled(network).requires_grad_(True)
        value = plain_loss([*batches])(plain)
        gradients = torch.autograd.grad(value, [*plain.parameters()], allow_unused=True)
    length = torch.stack([one.square().sum() for one in gradients if one is not None]).sum().sqrt()
    assert found["loss"].value == pytest.approx(float(value.detach()), rel=1e-12)
    assert found["gradient-norm"].value == pytest.approx(float(length), rel=1e-10)


def noise_of(network: nn.Module, loss: Callable[[nn.Module], Tensor], sigma: float, draws: int) -> float:
    """Mean loss change by noise on both sides, relative to each row: directions of our own, losses of plain code."""
    own = doubled(network)
    point = {name: parameter.detach().clone() for name, parameter in own.named_parameters()}
    spheres = relative_blocks(network, point, "filter").spheres(point)
    generator = torch.Generator().manual_seed(0)

    @torch.no_grad()
    def at(step: float, direction: dict[str, Tensor]) -> float:
        moved = spheres.on_segment(point, direction, step)
        for name, parameter in own.named_parameters():
            parameter.copy_(moved[name])
        return float(loss(own))

    changes = []
    for _ in range(draws):
        z = spheres.normalise(random_normal(point, generator))
        changes.append((at(sigma, z) + at(-sigma, z)) / 2 - at(0.0, z))
    return sum(changes) / draws


CAST = [(TEXT_CLASSIFIER, "t5"), (LANGUAGE_MODEL, "llama")]


@pytest.mark.parametrize(("head", "kind"), CAST, ids=name_of)
def test_casts_to_float32_round_a_loss_in_float64_unless_they_are_taken_away(head: Head, kind: str) -> None:
    network, batches = text_network(head, kind), token_batches(head)
    found = bnsharp_cli.measure(network, batches, mean_loss, measure="loss", precision="float64")
    loss = plain_loss([*batches])
    with torch.no_grad():
        rounded = float(loss(doubled(network)))
        with without_casts():
            exact = float(loss(doubled(network)))
    assert abs(rounded / exact - 1) > 1e-10
    assert found.value == pytest.approx(exact, rel=1e-13)


@pytest.mark.parametrize(("head", "kind"), [(TEXT_CLASSIFIER, "bert"), (LANGUAGE_MODEL, "llama")], ids=name_of)
def test_the_largest_eigenvalue_is_that_of_the_dense_hessian(head: Head, kind: str) -> None:
    sizes = {"hidden_size": 4, "num_attention_heads": 2, "intermediate_size": 4, "num_hidden_layers": 1}
    more = {"num_key_value_heads": 1} if kind == "llama" else {"max_position_embeddings": 8}
    network = text_network(head, kind, **sizes, **more, vocab_size=12)
    batches = [(3 + ids % 9, y % 12) for ids, y in token_batches(head)]
    found = bnsharp_cli.measure(
        network, batches, mean_loss, measure="hessian", precision="float64", iterations=60, hessian_probes=2
    )
    loss = plain_loss([*batches])
    with without_casts():
        plain = doubled(network).requires_grad_(True)
        parameters = [*plain.parameters()]
        gradients = torch.autograd.grad(loss(plain), parameters, create_graph=True, allow_unused=True)
        flat = torch.cat([one.flatten() for one in gradients if one is not None])
        rows = [
            torch.autograd.grad(one, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
            for one in flat
        ]
    hessian = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
    known = [one is not None for one in gradients]
    kept = torch.cat([torch.full((one.numel(),), own) for one, own in zip(parameters, known, strict=True)])
    largest = float(torch.linalg.eigvalsh(hessian[:, kept])[-1])
    assert found.details["unscaled"]["value"] == pytest.approx(largest, rel=1e-6)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_tied_embedding_is_one_tensor(kind: str) -> None:
    network = text_network(LANGUAGE_MODEL, kind, tie_word_embeddings=True)
    batches = token_batches(LANGUAGE_MODEL)
    head = network.get_output_embeddings().weight
    assert head is network.get_input_embeddings().weight
    blocks = bnsharp_cli.find_blocks(network, batches, mean_loss)
    numbers = {id(one): one.numel() for one in network.parameters()}
    assert blocks.free_parameters(dict(network.named_parameters())) == sum(numbers.values())
    untied = copy.deepcopy(network)
    untied.get_output_embeddings().weight = nn.Parameter(head.detach().clone())
    loss, norm = plain_loss([*batches]), {}
    for name, own in (("tied", network), ("untied", untied)):
        norm[name] = bnsharp_cli.measure(own, batches, mean_loss, measure="gradient-norm", precision="float64").value
    with without_casts():
        both = doubled(untied).requires_grad_(True)
        pair = [both.get_input_embeddings().weight, both.get_output_embeddings().weight]
        first, second = torch.autograd.grad(loss(both), pair)
    # ‖a + b‖² = ‖a‖² + ‖b‖² + 2⟨a, b⟩ for the two gradients that meet in one tensor
    assert norm["tied"] ** 2 - norm["untied"] ** 2 == pytest.approx(2 * float((first * second).sum()), rel=1e-9)


@pytest.mark.parametrize("kind", ["bert", "deberta-v2", "qwen3"])
def test_padding_changes_nothing(kind: str) -> None:
    network, batches = text_network(TEXT_CLASSIFIER, kind), token_batches(TEXT_CLASSIFIER)
    padded: Batches = []
    for ids, y in batches:
        filled = torch.cat([ids, torch.full((len(ids), 3), PAD)], 1)
        padded.append(({"input_ids": filled, "attention_mask": (filled != PAD).long()}, y))
    values = [
        bnsharp_cli.measure(network, own, mean_loss, measure=["loss", "gradient-norm"], precision="float64")
        for own in (mapped(batches), padded)
    ]
    for name in ("loss", "gradient-norm"):
        assert values[1][name].value == pytest.approx(values[0][name].value, rel=1e-10)


def test_a_token_that_pads_has_a_gradient_where_the_network_sees_it() -> None:
    """torch leaves the row of ``padding_idx`` out of the gradient, though the loss depends on it."""
    network = text_network(LANGUAGE_MODEL, "llama", pad_token_id=5)
    batches = [(ids.masked_fill(ids % 3 == 0, 5), y) for ids, y in token_batches(LANGUAGE_MODEL)]
    assert network.get_input_embeddings().padding_idx == 5
    found = bnsharp_cli.measure(network, batches, mean_loss, measure="gradient-norm", precision="float64")
    with without_casts():
        plain = doubled(network).requires_grad_(True)
        gradients = torch.autograd.grad(plain_loss([*batches])(plain), [*plain.parameters()])
    expected = torch.stack([one.square().sum() for one in gradients]).sum().sqrt()
    assert found.value == pytest.approx(float(expected), rel=1e-10)


def test_a_network_that_writes_an_answer_takes_it_beside_the_text() -> None:
    torch.manual_seed(0)
    settings = transformers.T5Config(**SETTINGS["t5"], vocab_size=WORDS, pad_token_id=PAD)
    network = transformers.T5ForConditionalGeneration._from_config(settings, attn_implementation="eager")
    batches: Batches = [
        ({"input_ids": ids, "decoder_input_ids": y[:, :3]}, y[:, 1:4].contiguous())
        for ids, y in token_batches(LANGUAGE_MODEL)
    ]
    found = bnsharp_cli.measure(network, batches, mean_loss, measure="loss", precision="float64")
    with torch.no_grad(), without_casts():
        expected = float(plain_loss(batches)(doubled(network).eval()))
    assert found.value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "mistral"])
def test_nothing_is_kept_from_one_call_to_the_next(kind: str) -> None:
    """A configuration may ask for the keys and values of a call to be returned; they do not reach the measurement."""
    batches = token_batches(LANGUAGE_MODEL)
    asked, silent = (text_network(LANGUAGE_MODEL, kind, use_cache=use) for use in (True, False))
    assert asked(batches[0][0]).past_key_values is not None
    values = [
        bnsharp_cli.measure(own, batches, mean_loss, measure="gradient-norm", precision="float64").value
        for own in (asked, silent)
    ]
    assert values[0] == values[1]
