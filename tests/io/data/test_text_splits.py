"""Texts as examples: every token is predicted once, and every text of a classifier has its class."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnsharp_cli.errors import BnsharpError, CheckpointRefusedError, UsageError
from bnsharp_cli.io.data.naming import NamedDataError
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.data.text_networks import TextNetwork
from bnsharp_cli.io.data.text_splits import TextSplit, open_texts
from bnsharp_cli.measurement.surface.tensor_trees import TensorTree
from bnsharp_cli.measurement.surface.token_loss import IGNORED
from tests.io.data.texts import CLASSES, PADDING, TOKENS, VOCABULARY, sentences, tokenizer, write_lines

LANGUAGE_MODEL, CLASSIFIER = ["TinyForCausalLM"], ["TinyForSequenceClassification"]


class _Network(nn.Module):
    """What is asked of a network of texts."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> None:
        """Nothing."""


def network(folder: Path, *, special: bool = False, **config: Any) -> TextNetwork:
    tokenizer(special=special).save(str(folder / "tokenizer.json"))
    known = {"vocab_size": TOKENS, "pad_token_id": VOCABULARY[PADDING], "id2label": dict(enumerate(CLASSES))}
    return TextNetwork(folder, {**known, **config}, _Network())


def windows(folder: Path, texts: Sequence[str], context: int) -> TextSplit:
    path = write_lines(folder / "a.jsonl", [{"text": text} for text in texts])
    return open_texts(path, network(folder), context, "token-cross-entropy")


def everything(split: TextSplit) -> tuple[Any, Tensor]:
    return split.load(torch.arange(len(split)), Preprocessing())


@pytest.mark.parametrize("context", [1, 4, 5, 100])
def test_every_token_but_the_first_of_each_text_is_predicted_once_and_from_its_own_text(
    tmp_path: Path, context: int
) -> None:
    texts = sentences(20)
    inputs, targets = everything(windows(tmp_path, texts, context))
    assert inputs.shape == targets.shape
    assert inputs.shape[1] <= context
    counts = targets != IGNORED
    found = [(inputs[n, t].item(), targets[n, t].item()) for n, t in counts.nonzero().tolist()]
    made = [tokenizer().encode(text).ids for text in texts]
    assert found == [pair for ids in made for pair in itertools.pairwise(ids)]
    for n in range(len(inputs)):  # within a window the tokens follow one another
        own = int(counts[n].sum())
        assert inputs[n, 1:own].tolist() == targets[n, : own - 1].tolist()
    assert (inputs[~counts] == VOCABULARY[PADDING]).all()


def test_a_plain_text_is_one_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(sentences(30)))
    split = open_texts(tmp_path / "a.txt", network(tmp_path), 8, "token-cross-entropy")
    ids = tokenizer().encode((tmp_path / "a.txt").read_text()).ids
    _, targets = everything(split)
    assert targets[targets != IGNORED].tolist() == ids[1:]
    assert split.lengths.tolist() == [8] * ((len(ids) - 1) // 8) + [(len(ids) - 1) % 8]
    assert split.name_of(0).startswith("window 1 of ")


def test_a_part_of_the_examples_is_filled_up_to_the_longest_of_them(tmp_path: Path) -> None:
    texts = sentences(20)
    split = windows(tmp_path, texts, 100)
    chosen = torch.tensor([7, 3])
    inputs, targets = split.load(chosen, Preprocessing())
    made = [tokenizer().encode(texts[n]).ids for n in chosen.tolist()]
    assert inputs.shape[1] == max(map(len, made)) - 1
    for row, goal, ids in zip(inputs, targets, made, strict=True):
        assert row[: len(ids) - 1].tolist() == ids[:-1]
        assert goal[: len(ids) - 1].tolist() == ids[1:]


def test_texts_of_one_token_are_left_out_and_that_is_said(tmp_path: Path) -> None:
    split = windows(tmp_path, ["the cat", "the", "", "dog ran"], 8)
    assert len(split) == 2
    assert split.notices == ("2 texts of fewer than 2 tokens left out",)


@pytest.mark.parametrize("special", [False, True])
def test_texts_of_a_classifier_have_a_mask_and_their_classes_by_number_or_name(tmp_path: Path, special: bool) -> None:
    texts, labels = sentences(9), [0, "bad", 2, "good", 1, "fair", 2, 0, "bad"]
    entries = [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)]
    path = write_lines(tmp_path / "a.jsonl", entries)
    split = open_texts(path, network(tmp_path, special=special), 100, "cross-entropy")
    inputs, targets = everything(split)
    assert targets.tolist() == [0, 1, 2, 0, 1, 2, 2, 0, 1]
    made = tokenizer(special=special)
    made.enable_padding(pad_id=VOCABULARY[PADDING], pad_token=PADDING)
    encoded = made.encode_batch(texts)
    assert isinstance(inputs, TensorTree)
    assert set(inputs.value) == {"input_ids", "attention_mask"}
    assert inputs.value["input_ids"].tolist() == [one.ids for one in encoded]
    assert inputs.value["attention_mask"].tolist() == [one.attention_mask for one in encoded]
    assert split.notices == ()


def test_pairs_tell_the_network_which_text_a_token_belongs_to(tmp_path: Path) -> None:
    pairs = [*zip(sentences(9), sentences(9, 1), strict=True)]
    entries = [{"text": one, "text_pair": other, "label": 0} for one, other in pairs]
    path = write_lines(tmp_path / "a.jsonl", entries)
    split = open_texts(path, network(tmp_path, special=True), 12, "cross-entropy")
    inputs, _ = everything(split)
    made = tokenizer(special=True)
    cut = sum(len(made.encode(*pair).ids) > 12 for pair in pairs)
    made.enable_truncation(12)
    made.enable_padding(pad_id=VOCABULARY[PADDING], pad_token=PADDING)
    encoded = made.encode_batch(pairs)
    assert isinstance(inputs, TensorTree)
    assert inputs.value["input_ids"].tolist() == [one.ids for one in encoded]
    assert inputs.value["token_type_ids"].tolist() == [one.type_ids for one in encoded]
    (notice,) = split.notices
    assert notice.startswith(f"{cut} of 9 texts are longer than 12 tokens, and their ends left out")


def test_a_network_without_weights_for_kinds_is_told_none(tmp_path: Path) -> None:
    known = network(tmp_path, special=True)
    path = write_lines(tmp_path / "a.jsonl", [{"text": "the cat", "text_pair": "a dog", "label": 0}])
    for config, expected in (({}, False), ({"type_vocab_size": 1}, False), ({"type_vocab_size": 2}, True)):
        module = _Network()
        module.config = SimpleNamespace(**config)
        inputs, _ = everything(open_texts(path, dataclasses.replace(known, module=module), 12, "cross-entropy"))
        assert ("token_type_ids" in inputs.value) == expected


@pytest.mark.parametrize("context", [1, 2])
def test_a_context_for_less_than_the_special_tokens_is_refused(tmp_path: Path, context: int) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"text": "the cat", "text_pair": "a dog", "label": 0}])
    with pytest.raises(NamedDataError, match=f"no text fits into {context} token"):
        open_texts(path, network(tmp_path, special=True), context, "cross-entropy")


TEXT = {"text": "the cat sat"}
REFUSED = {
    "no label": ("cross-entropy", [{**TEXT, "label": 1}, TEXT], {}, "line 2 of a.jsonl has no label"),
    "another label": ("cross-entropy", [{**TEXT, "label": "b\x1b"}], {}, r"label 'b\\x1b', the network's classes"),
    "a label left out": ("cross-entropy", [{**TEXT, "label": -100}], {}, "has the label -100, and classes are"),
    "a label beyond all": ("cross-entropy", [{**TEXT, "label": 2**63}], {}, "has the label 9223372036854775808, and"),
    "a name of two": ("cross-entropy", [{**TEXT, "label": "a"}], {"id2label": {0: "a", 1: "a", 2: "b"}}, "have b"),
    "a class beyond all": ("cross-entropy", [{**TEXT, "label": "a"}], {"id2label": {"9" * 5000: "a"}}, "have no names"),
    "no names": ("cross-entropy", [{**TEXT, "label": "bad"}], {"id2label": None}, "classes have no names"),
    "nothing to classify": ("cross-entropy", [{"text": " ", "label": 1}], {}, "line 1 of a.jsonl has no token"),
    "one token": ("token-cross-entropy", [{"text": "the"}], {}, "no token that follows another one"),
    "a pair": ("token-cross-entropy", [{**TEXT, "text_pair": "a"}], {}, "line 1 of a.jsonl has a text_pair"),
    "too few tokens": ("token-cross-entropy", [TEXT], {"vocab_size": 5}, r"makes token \d+, the network has 5 \("),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_texts_that_do_not_fit_are_refused(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loss, entries, config, says = REFUSED[name]
    monkeypatch.chdir(tmp_path)
    write_lines(Path("a.jsonl"), entries)
    with pytest.raises(BnsharpError, match=says) as refused:
        open_texts(Path("a.jsonl"), network(Path(), **config), 8, loss)
    assert refused.value.exit_code == 3
    assert refused.value.reason.isprintable()


@pytest.mark.parametrize(
    ("architectures", "loss"),
    [
        (LANGUAGE_MODEL, "token-cross-entropy"),
        (["GPT2LMHeadModel"], "token-cross-entropy"),
        (CLASSIFIER, "cross-entropy"),
        (None, "token-cross-entropy"),
        ("x", "token-cross-entropy"),
    ],
)
def test_the_usual_loss_follows_from_the_architecture(tmp_path: Path, architectures: Any, loss: str) -> None:
    assert network(tmp_path, architectures=architectures).usual_loss() == loss


def test_other_heads_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ends in ForSequenceClassification, ForCausalLM, LMHeadModel"):
        network(tmp_path, architectures=["T5ForConditionalGeneration"]).usual_loss()


@pytest.mark.parametrize(
    ("config", "settings", "most"),
    [
        ({"max_position_embeddings": 20}, "", 20),
        ({"n_positions": 20, "n_ctx": 10}, "", 10),
        ({"max_position_embeddings": 20}, '{"model_max_length": 12}', 12),
        ({"max_position_embeddings": 20}, '{"model_max_length": 1000000000000000019884624838656}', 20),
        ({"max_position_embeddings": 20, "model_type": "roberta", "pad_token_id": 1}, "", 18),
        ({"max_position_embeddings": True}, "[]", None),
        ({"max_position_embeddings": 2**40}, "{", None),
    ],
)
def test_how_many_tokens_a_network_takes(tmp_path: Path, config: Any, settings: str, most: int | None) -> None:
    if settings:
        (tmp_path / "tokenizer_config.json").write_text(settings)
    assert network(tmp_path, **config).most_tokens == most


def test_padding_is_a_token_of_the_network(tmp_path: Path) -> None:
    assert network(tmp_path, pad_token_id=3).padding == 3
    for stated in (None, TOKENS, -1, True, "3"):
        known = network(tmp_path, pad_token_id=stated)
        assert known.padding is None
        with pytest.raises(UsageError, match=r"names no pad_token_id in config\.json"):
            known.require_padding()


def test_without_a_tokenizer_the_directory_is_named(tmp_path: Path) -> None:
    known = network(tmp_path)
    known.require_tokenizer()
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(UsageError, match=r"has no tokenizer\.json"):
        known.require_tokenizer()
    with pytest.raises(UsageError, match=r"has no tokenizer\.json"):
        dataclasses.replace(known, directory=tmp_path / "net.pt").require_tokenizer()


def test_a_tokenizer_elsewhere_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    known = network(tmp_path / "net")
    (tmp_path / "net" / "tokenizer.json").rename(tmp_path / "tokenizer.json")
    (tmp_path / "net" / "tokenizer.json").symlink_to(tmp_path / "tokenizer.json")
    with pytest.raises(CheckpointRefusedError, match=r"'tokenizer\.json' leads out of it"):
        _ = known.tokenizer
