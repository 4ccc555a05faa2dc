"""Tokens as a bare tensor, in a tuple or in a mapping: the same blocks and the same value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bnsharp_cli
from tests.border.oracle import bn_along_gradient

OPTIONS: dict[str, Any] = {"precision": "float64", "iterations": 0, "rtol": 1e-6}
WORDS = 60


class Words(nn.Module):
    """An embedding in front of a layer norm, so that each word's row is scale-invariant."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.norm, self.head = nn.Embedding(WORDS, 8), nn.LayerNorm(8), nn.Linear(8, 4)

    def forward(self, ids: Tensor, mask: Tensor | None = None, scale: Tensor | None = None) -> Tensor:
        hidden = torch.tanh(self.norm(self.words(ids)))
        weight = torch.ones_like(ids) if mask is None else mask
        shares = weight[..., None].to(hidden.dtype)
        pooled = (hidden * shares).sum(1) / shares.sum(1)
        return self.head(pooled if scale is None else pooled * scale)


class WithBias(Words):
    """Its words' rows have a number each beside them, which the first samples do not all use."""

    def __init__(self) -> None:
        super().__init__()
        self.words.bias = nn.Parameter(torch.randn(WORDS))

    def forward(self, ids: Tensor, mask: Tensor | None = None, scale: Tensor | None = None) -> Tensor:
        return super().forward(ids, mask, scale) + self.words.bias[ids].mean(1, keepdim=True)


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    ids, labels = torch.randint(1, WORDS, (96, 3), generator=generator), torch.randint(4, (96,), generator=generator)
    return [*zip(ids.split(32), labels.split(32), strict=True)]


def masks() -> list[Tensor]:
    mask = torch.ones(96, 3, dtype=torch.int64)
    mask[:, -1] = torch.randint(2, (96,), generator=torch.Generator().manual_seed(2))
    return [*mask.split(32)]


FORMS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "bare": lambda ids, y: (ids, y),
    "tuple": lambda ids, y: ((ids,), y),
    "list": lambda ids, y: ([ids], y),
    "mapping": lambda ids, y: ({"ids": ids}, y),
    "labels inside": lambda ids, y: {"ids": ids, "labels": y},
    "with nothing": lambda ids, y: {"ids": ids, "mask": None, "labels": y},
    "int32": lambda ids, y: ({"ids": ids.int()}, y),
}


def used() -> int:
    return len(torch.cat([ids for ids, _ in batches()]).unique())


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_batch_gives_the_same_blocks_and_value(form: str) -> None:
    own = [FORMS[form](ids, y) for ids, y in batches()]
    expected = bn_along_gradient(
        Words(),
        lambda m: torch.stack([functional.cross_entropy(m(ids), y) for ids, y in batches()]).mean(),
        ["words.weight"],
        training=False,
    )
    assert bnsharp_cli.find_blocks(Words(), own).invariant == used()
    assert bnsharp_cli.measure(Words(), own, **OPTIONS).value == pytest.approx(expected, rel=2e-4)


@pytest.mark.parametrize("kind", [torch.int64, torch.int32, torch.bool, torch.float32])
@pytest.mark.parametrize("order", [("ids", "mask", "scale"), ("scale", "mask", "ids")])
def test_a_mask_and_a_number_beside_the_tokens(kind: torch.dtype, order: tuple[str, ...]) -> None:
    parts = [
        ({"ids": ids, "mask": mask.to(kind), "scale": torch.tensor(1.5)}, y)
        for (ids, y), mask in zip(batches(), masks(), strict=True)
    ]
    own = [({name: inputs[name] for name in order}, y) for inputs, y in parts]
    expected = bn_along_gradient(
        Words(),
        lambda m: torch.stack(
            [
                functional.cross_entropy(m(ids, mask, torch.tensor(1.5)), y)
                for (ids, y), mask in zip(batches(), masks(), strict=True)
            ]
        ).mean(),
        ["words.weight"],
        training=False,
    )
    seen = torch.cat([ids[mask.bool()] for (ids, _), mask in zip(batches(), masks(), strict=True)]).unique()
    assert bnsharp_cli.find_blocks(Words(), own).invariant == len(seen)
    assert bnsharp_cli.measure(Words(), own, **OPTIONS).value == pytest.approx(expected, rel=2e-4)


def test_rows_that_only_some_samples_use_beside_a_bias() -> None:
    found = [bnsharp_cli.find_blocks(WithBias(), [FORMS[form](*pair) for pair in batches()]) for form in FORMS]
    assert [blocks.invariant for blocks in found] == [used()] * len(FORMS)


CONFIGURATIONS = {
    "bert": {},
    "mpnet": {},
    "distilbert": {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16},
    "deberta-v2": {"position_biased_input": False, "type_vocab_size": 0, "relative_attention": True},
    "t5": {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "decoder_start_token_id": 0, "eos_token_id": 4},
    "modernbert": {"pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2},
}
SIZES = {
    "vocab_size": WORDS,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "num_labels": 4,
}


LONG = pytest.mark.slow(
    reason="one more family of text networks",
    quick="tests/border/test_tokens.py::test_text_networks_take_a_mapping_as_they_take_tokens",
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "kind", [kind if kind == "bert" else pytest.param(kind, marks=LONG) for kind in CONFIGURATIONS]
)
def test_text_networks_take_a_mapping_as_they_take_tokens(kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    configuration = transformers.AutoConfig.for_model(kind, **{**SIZES, **CONFIGURATIONS[kind]})
    network = transformers.AutoModelForSequenceClassification.from_config(configuration).eval()
    ids = [torch.cat([part + 4, torch.full((len(part), 1), 4)], 1).clamp_max(WORDS - 1) for part, _ in batches()]
    labels = [y for _, y in batches()]
    bare = [*zip(ids, labels, strict=True)]
    mapped = [{"input_ids": part, "attention_mask": torch.ones_like(part), "labels": y} for part, y in bare]
    found = [bnsharp_cli.find_blocks(network, own).invariant for own in (bare, mapped)]
    assert found[0] == found[1]
    values = [bnsharp_cli.measure(network, own, precision="float64").value for own in (bare, mapped)]
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    losses = []
    for part, y in bare:
        logits = network(part).logits
        losses.append(functional.cross_entropy(logits, y))
    assert torch.isfinite(torch.stack(losses)).all()


class Record:
    """A batch as graph libraries have them; to walk over it yields no arguments."""

    def __init__(self, ids: Tensor, mask: Tensor) -> None:
        self.ids, self.mask = ids, mask

    def __iter__(self) -> Any:
        return iter(vars(self).items())


class OfRecord(Words):
    def forward(self, batch: Record) -> Tensor:  # type: ignore[override]  # another network, with the same layers
        return super().forward(batch.ids, batch.mask)


@pytest.mark.parametrize("alone", [True, False])
def test_a_record_is_the_only_argument(alone: bool) -> None:
    records = [Record(ids, mask) for (ids, _), mask in zip(batches(), masks(), strict=True)]
    labels = [y for _, y in batches()]
    of_records: list[Any] = [(record if alone else (record,), y) for record, y in zip(records, labels, strict=True)]
    of_tuples = [((record.ids, record.mask), y) for record, y in zip(records, labels, strict=True)]
    expected = bnsharp_cli.measure(Words(), of_tuples, **OPTIONS)
    assert bnsharp_cli.measure(OfRecord(), of_records, **OPTIONS).value == pytest.approx(expected.value, rel=1e-9)


def test_packed_sequences_are_one_argument() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.recurrent, self.head = nn.GRU(5, 6), nn.Linear(6, 4)

        def forward(self, x: Any) -> Tensor:
            return self.head(self.recurrent(x)[1][0])

    generator, y = torch.Generator().manual_seed(0), torch.tensor([0, 1, 2])
    packed = nn.utils.rnn.pack_sequence([torch.randn(length, 5, generator=generator) for length in (5, 4, 2)])
    expected = bn_along_gradient(Recurrent(), lambda model: functional.cross_entropy(model(packed.double()), y))
    for inputs in (packed, (packed,)):
        batch: list[Any] = [(inputs, y)]
        assert bnsharp_cli.measure(Recurrent(), batch, **OPTIONS).value == pytest.approx(expected, rel=2e-4)
