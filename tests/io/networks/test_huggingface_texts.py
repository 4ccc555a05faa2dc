"""Directories of networks of texts: built as they were written, from what their configuration says alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.io.networks.constructors import NothingDrawn
from bnsharp_cli.io.networks.identify import identify
from bnsharp_cli.io.networks.known_networks import (
    IMAGE_CLASSIFIER,
    LANGUAGE_MODEL,
    TEXT_CLASSIFIER,
    Head,
    head_of,
)
from bnsharp_cli.io.networks.load_weights import load_weights, require_fit
from tests.documents import ROOT
from tests.io.checkpoints.huggingface_texts import EVERY, SETTINGS, name_of, text_network, token_batches, write_texts

transformers = pytest.importorskip("transformers", reason="transformers has these networks")


def opened(directory: Path) -> nn.Module:
    """The network of a directory with its weights, as the commands open it."""
    checkpoint = load_checkpoint(directory)
    identity = identify(checkpoint)
    outline = identity.outline(checkpoint)
    assert outline is not None
    require_fit(outline, checkpoint, identity)
    module = identity.build(checkpoint)
    load_weights(module, checkpoint, identity)
    return module.eval()


def change(directory: Path, **entries: Any) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def refused(directory: Path) -> str:
    with pytest.raises(CheckpointRefusedError) as caught:
        opened(directory)
    assert "\n" not in caught.value.reason
    assert "\x1b" not in caught.value.reason
    assert caught.value.remedy
    return caught.value.reason


@pytest.mark.parametrize(("head", "kind"), EVERY, ids=name_of)
def test_a_directory_gives_what_the_network_in_memory_gives(head: Head, kind: str, tmp_path: Path) -> None:
    module = opened(write_texts(tmp_path, head, kind))
    ids = token_batches(head)[0][0]
    mask = torch.ones_like(ids)
    expected = text_network(head, kind)(ids).logits
    with torch.no_grad():
        for logits in (module(ids), module(input_ids=ids, attention_mask=mask)):
            torch.testing.assert_close(logits, expected, rtol=0, atol=0)


@pytest.mark.parametrize(("head", "kind"), [(TEXT_CLASSIFIER, "t5"), (LANGUAGE_MODEL, "llama")], ids=name_of)
def test_no_initial_weights_are_drawn(head: Head, kind: str, tmp_path: Path) -> None:
    directory = write_texts(tmp_path, head, kind)
    before = torch.get_rng_state()
    opened(directory)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_draw_within_bounds_ends_whatever_the_memory_held() -> None:
    with NothingDrawn():
        weight = nn.init.trunc_normal_(nn.Parameter(torch.full((8,), 100.0)), 1.0, 0.02, 0.9, 1.1)
    assert bool((weight >= 0.9).all() and (weight <= 1.1).all())


def test_every_kind_has_settings_of_its_own() -> None:
    assert SETTINGS.keys() == TEXT_CLASSIFIER.kinds | LANGUAGE_MODEL.kinds
    assert not IMAGE_CLASSIFIER.kinds & SETTINGS.keys()


SCALED = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
EARLIER: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("llama", {"rope_theta": 50.0}, {"rope_parameters": {"rope_type": "default", "rope_theta": 50.0}}),
    (
        "llama",
        {"rope_theta": 50, "rope_scaling": {**SCALED, "original_max_position_embeddings": 4}},
        {"rope_parameters": {**SCALED, "rope_theta": 50.0, "original_max_position_embeddings": 4}},
    ),
    (
        "qwen2",
        {"rope_theta": 50.0, "rope_scaling": {"type": "linear", "factor": 3.0}},
        {"rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 50.0}},
    ),
    (
        "gpt_neox",
        {"rotary_emb_base": 50, "rotary_pct": 1.0},
        {"rope_parameters": {"rope_theta": 50.0, "partial_rotary_factor": 1.0}},
    ),
    (
        "phi",
        {"rope_theta": 50.0, "partial_rotary_factor": 1.0},
        {"rope_parameters": {"rope_theta": 50.0, "partial_rotary_factor": 1.0}},
    ),
    (
        "modernbert",
        {"global_rope_theta": 50.0, "local_rope_theta": 20.0},
        {
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 50.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 20.0},
            }
        },
    ),
]


@pytest.mark.parametrize(("kind", "earlier", "today"), EARLIER, ids=str)
def test_positions_are_read_by_the_names_of_earlier_versions(
    kind: str, earlier: dict[str, Any], today: dict[str, Any], tmp_path: Path
) -> None:
    head = LANGUAGE_MODEL if kind in LANGUAGE_MODEL.kinds else TEXT_CLASSIFIER
    directory = write_texts(tmp_path, head, kind)
    settings = json.loads((directory / "config.json").read_text())
    settings.pop("rope_parameters")
    (directory / "config.json").write_text(json.dumps({**settings, **earlier}))
    ids = token_batches(head)[0][0]
    expected = text_network(head, kind, **today)(ids).logits
    torch.testing.assert_close(opened(directory)(ids), expected, rtol=0, atol=0)
    assert not torch.equal(expected, text_network(head, kind)(ids).logits)


@pytest.mark.parametrize("form", ["shards", "pytorch_model.bin"])
@pytest.mark.parametrize(("head", "kind"), [(TEXT_CLASSIFIER, "bert"), (LANGUAGE_MODEL, "gpt2")], ids=name_of)
def test_the_forms_that_a_directory_has(head: Head, kind: str, form: str, tmp_path: Path) -> None:
    if form == "shards":
        directory = write_texts(tmp_path, head, kind, max_shard_size="8KB")
        assert len(list(directory.glob("*.safetensors"))) > 1
    else:
        directory = write_texts(tmp_path, head, kind)
        torch.save(text_network(head, kind).state_dict(), directory / form)
        (directory / "model.safetensors").unlink()
    ids = token_batches(head)[0][0]
    torch.testing.assert_close(opened(directory)(ids), text_network(head, kind)(ids).logits, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("head", "kind", "entries", "says"),
    [
        (TEXT_CLASSIFIER, "bert", {"architectures": None}, "it has no architectures"),
        (TEXT_CLASSIFIER, "bert", {"architectures": []}, "it has no architectures"),
        (TEXT_CLASSIFIER, "bert", {"architectures": ["BertForMaskedLM"]}, "architectures names BertForMaskedLM"),
        (TEXT_CLASSIFIER, "bert", {"architectures": ["BertLMHeadModel"]}, "text classifier (…ForSequenceClass"),
        (TEXT_CLASSIFIER, "bert", {"architectures": ["\x1b[31mNet"]}, "its head is not known"),
        (TEXT_CLASSIFIER, "t5", {"architectures": ["T5ForConditionalGeneration"]}, "its head is not known"),
        (TEXT_CLASSIFIER, "bert", {"architectures": ["RobertaForSequenceClassification"]}, "names no BertForSequ"),
        (TEXT_CLASSIFIER, "bert", {"model_type": "reformer"}, "'reformer' is no network that is built here"),
        (LANGUAGE_MODEL, "gpt2", {"architectures": ["GPT2LMHeadModel", "GPT2ForSequenceClassification"]}, "not known"),
        (LANGUAGE_MODEL, "gpt2", {"architectures": ["GPT2DoubleHeadsModel"]}, "(…ForCausalLM or …LMHeadModel)"),
        (LANGUAGE_MODEL, "gpt2", {"architectures": ["GPT2ForSequenceClassification"]}, "lacks score.weight"),
        (LANGUAGE_MODEL, "llama", {"tie_word_embeddings": True}, "the network has one tensor for both"),
        (LANGUAGE_MODEL, "llama", {"num_attention_heads": 2}, "does not fit the architecture"),
        (LANGUAGE_MODEL, "llama", {"pad_token_id": 60}, "cannot be built"),
        (LANGUAGE_MODEL, "gpt2", {"n_positions": 33}, "does not fit the architecture"),
    ],
    ids=str,
)
def test_what_a_directory_of_texts_must_not_say(
    head: Head, kind: str, entries: dict[str, Any], says: str, tmp_path: Path
) -> None:
    directory = write_texts(tmp_path, head, kind)
    change(directory, **entries)
    assert says in refused(directory)


def test_tied_weights_are_held_once_or_twice_alike_and_never_two_different_ones(tmp_path: Path) -> None:
    directory = write_texts(tmp_path, LANGUAGE_MODEL, "llama")
    change(directory, tie_word_embeddings=True)
    assert "lm_head.weight and model.embed_tokens.weight" in refused(directory)
    ids = token_batches(LANGUAGE_MODEL)[0][0]
    theirs = transformers.AutoModelForCausalLM.from_pretrained(directory, attn_implementation="eager").eval()
    change(directory, tie_word_embeddings=False)  # the remedy that the refusal prints
    torch.testing.assert_close(opened(directory)(ids), theirs(ids).logits, rtol=0, atol=0)
    tied = text_network(LANGUAGE_MODEL, "llama", tie_word_embeddings=True)
    for state in (tied.state_dict(), {k: v for k, v in tied.state_dict().items() if k != "lm_head.weight"}):
        (directory / "model.safetensors").unlink(missing_ok=True)
        torch.save(state, directory / "pytorch_model.bin")
        change(directory, tie_word_embeddings=True)
        module = opened(directory)
        assert module.get_parameter("lm_head.weight") is module.get_parameter("model.embed_tokens.weight")
        torch.testing.assert_close(module(ids), tied(ids).logits, rtol=0, atol=0)


@pytest.mark.parametrize(("head", "kind"), EVERY, ids=name_of)
def test_the_head_is_known_from_the_class_that_transformers_writes(head: Head, kind: str) -> None:
    configuration = transformers.CONFIG_MAPPING[kind]
    name = getattr(transformers, head.table)[configuration].__name__
    assert head_of(Path("net"), {"model_type": kind, "architectures": [name]}) is head


def first_gpt2(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """GPT-2's names in the first files: without the part that all share, without the head, with masks of attention."""
    mask = torch.ones(32, 32, dtype=torch.bool).tril()[None, None]
    own = {name.removeprefix("transformer."): one for name, one in state.items() if name != "lm_head.weight"}
    return {**own, "h.0.attn.bias": mask, "h.1.attn.bias": mask}


def first_bert(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """BERT's: norms of gamma and beta, and the numbers of the positions."""
    words = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    own = {}
    for name, one in state.items():
        ending = next((word for word in words if name.endswith(word)), None)
        own[name if ending is None else name.replace(ending, words[ending])] = one
    return {**own, "bert.embeddings.position_ids": torch.arange(32)[None]}


def with_frequencies(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Llama's, when the frequencies of positions were kept in every layer."""
    return {**state, **{f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.ones(2) for i in range(2)}}


@pytest.mark.parametrize(
    ("head", "kind", "renamed"),
    [
        (LANGUAGE_MODEL, "gpt2", first_gpt2),
        (TEXT_CLASSIFIER, "bert", first_bert),
        (LANGUAGE_MODEL, "llama", with_frequencies),
    ],
    ids=("gpt2", "bert", "llama"),
)
def test_files_of_earlier_versions_open(head: Head, kind: str, renamed: Any, tmp_path: Path) -> None:
    directory = write_texts(tmp_path, head, kind)
    network = text_network(head, kind)
    (directory / "model.safetensors").unlink()
    torch.save(renamed(network.state_dict()), directory / "pytorch_model.bin")
    ids = token_batches(head)[0][0]
    torch.testing.assert_close(opened(directory)(ids), network(ids).logits, rtol=0, atol=0)


def test_the_page_lists_the_kinds_that_are_built() -> None:
    page = (ROOT / "docs" / "checkpoints.md").read_text()
    rows = re.findall(r"^\| (text|causal) .* \| (.*) \|$", page, re.MULTILINE)
    of_texts, of_language = (cell for _, cell in rows)
    known = [set(re.findall(r"`([^`]+)`", cell)) for cell in (of_texts, of_language)]
    assert known == [set(TEXT_CLASSIFIER.kinds - LANGUAGE_MODEL.kinds), set(LANGUAGE_MODEL.kinds)]
    assert f"{len(TEXT_CLASSIFIER.kinds)} kinds of networks of texts" in (ROOT / "SECURITY.md").read_text()
    assert f"{len(IMAGE_CLASSIFIER.kinds)} kinds of image classifiers" in (ROOT / "SECURITY.md").read_text()
