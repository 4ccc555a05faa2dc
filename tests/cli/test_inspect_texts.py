"""``bnsharp inspect`` of a directory with a network of texts."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from bnsharp_cli.io.networks.known_networks import LANGUAGE_MODEL, TEXT_CLASSIFIER, Head
from bnsharp_cli.workflows.random_texts import random_texts
from tests.cli.helpers import bnsharp
from tests.io.checkpoints.huggingface_texts import name_of, write_texts

CASES = [
    # heads that are normalised one by one, in two layers: four of queries and two of keys
    (TEXT_CLASSIFIER, "qwen3", "text classifier", "9 rms norms", 2 * (4 + 2)),
    (LANGUAGE_MODEL, "gpt2", "causal language model", "5 layer norms", 0),
    (TEXT_CLASSIFIER, "t5", "text classifier", "12 rms norms", 0),
]


@pytest.mark.parametrize(("head", "kind", "words", "norms", "blocks"), CASES, ids=name_of)
def test_a_network_of_texts_is_named_with_its_head_norms_and_blocks(
    head: Head, kind: str, words: str, norms: str, blocks: int, tmp_path: Path
) -> None:
    directory = write_texts(tmp_path / kind, head, kind)
    lines = bnsharp("inspect", directory, "--quiet", folder=tmp_path).stdout.splitlines()
    assert f"head        {words}" in [line.rstrip() for line in lines]
    assert any(line.startswith(f"norms       {norms}") for line in lines)
    assert not any(line.startswith("images") for line in lines)
    assert "random texts of 16 tokens" in " ".join(" ".join(lines).split())
    document = json.loads(bnsharp("inspect", directory, "--json", folder=tmp_path).stdout)
    assert document["inputs"] == [2, 16]
    assert document["blocks"]["invariant"] == blocks
    assert document["preprocessing"] is None


def test_a_size_of_images_is_refused(tmp_path: Path) -> None:
    directory = write_texts(tmp_path / "gpt2", LANGUAGE_MODEL, "gpt2")
    finished = bnsharp("inspect", directory, "--image-size", 8, folder=tmp_path, expect=2)
    assert "--image-size: the network takes texts" in finished.stderr
    assert "Leave it out" in finished.stderr


@pytest.mark.parametrize(
    ("settings", "length", "words"),
    [
        ({"vocab_size": 5, "eos_token_id": 1, "pad_token_id": 0, "max_position_embeddings": 64}, 16, {2, 3, 4}),
        ({"vocab_size": 5, "eos_token_id": [1, 4], "pad_token_id": None, "max_position_embeddings": 8}, 4, {0, 2, 3}),
        ({"vocab_size": 3, "eos_token_id": None, "pad_token_id": None}, 16, {0, 1, 2}),
        ({"vocab_size": 1, "eos_token_id": 0, "pad_token_id": 0, "max_position_embeddings": 1}, 1, {0}),
    ],
)
def test_random_texts_end_and_are_not_filled_up(settings: dict[str, object], length: int, words: set[int]) -> None:
    texts = random_texts(SimpleNamespace(**settings), 40, seed=1)
    assert texts.shape == (40, length)
    ends = settings["eos_token_id"]
    end = ends[0] if isinstance(ends, list) else ends
    inside = texts if end is None else texts[:, :-1]
    assert set(inside.flatten().tolist()) <= words
    assert end is None or set(texts[:, -1].tolist()) == {end}
    if length > 1:
        assert set(inside.flatten().tolist()) == words
