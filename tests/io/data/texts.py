"""A tiny tokenizer as the ``tokenizers`` library writes it, files of text, and networks beside the tokenizer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

tokenizers = pytest.importorskip("tokenizers", reason="it reads tokenizer.json")

WORDS = ["the", "cat", "dog", "sat", "ran", "on", "under", "a", "mat", "tree", ".", "and", "saw", "big", "small"]
PADDING, UNKNOWN, BEGIN, END = "<pad>", "<unk>", "<s>", "</s>"
VOCABULARY = {word: number for number, word in enumerate([PADDING, UNKNOWN, BEGIN, END, *WORDS])}
TOKENS = len(VOCABULARY)
CONTEXT = 16
CLASSES = ("good", "bad", "fair")


def tokenizer(*, special: bool = False) -> Any:
    """Words by their spaces; with a beginning, an end and kinds of pairs if ``special``."""
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(VOCABULARY, unk_token=UNKNOWN))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.add_special_tokens([PADDING, UNKNOWN, BEGIN, END])
    if special:
        made.post_processor = tokenizers.processors.TemplateProcessing(
            single=f"{BEGIN} $A {END}",
            pair=f"{BEGIN} $A {END} $B:1 {END}:1",
            special_tokens=[(BEGIN, VOCABULARY[BEGIN]), (END, VOCABULARY[END])],
        )
    return made


def sentences(count: int, seed: int = 0, longest: int = 12) -> list[str]:
    """Texts of 3 to ``longest`` words."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        length = int(torch.randint(3, longest + 1, (), generator=generator))
        found.append(" ".join(WORDS[int(one)] for one in torch.randint(len(WORDS), (length,), generator=generator)))
    return found


def write_lines(path: Path, entries: Sequence[Any]) -> Path:
    """A file .jsonl."""
    path.write_text("".join(f"{json.dumps(one)}\n" for one in entries))
    return path


def write_network(folder: Path, *, classifies: bool = False, seed: int = 0, **settings: Any) -> Path:
    """A directory with a tiny GPT-2, or a tiny BERT that classifies, and the tokenizer."""
    transformers = pytest.importorskip("transformers", reason="it has these networks")
    transformers.logging.disable_progress_bar()
    torch.manual_seed(seed)
    if classifies:
        sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
        own = {"vocab_size": TOKENS, "max_position_embeddings": CONTEXT, "id2label": dict(enumerate(CLASSES))}
        configuration = transformers.BertConfig(**{**sizes, **own, "pad_token_id": VOCABULARY[PADDING], **settings})
        network = transformers.BertForSequenceClassification(configuration)
    else:
        sizes = {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": CONTEXT, "vocab_size": TOKENS}
        ends = dict.fromkeys(("bos_token_id", "eos_token_id"), VOCABULARY[END])
        network = transformers.GPT2LMHeadModel(transformers.GPT2Config(**{**sizes, **ends, **settings}))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    network.save_pretrained(folder)
    tokenizer(special=classifies).save(str(folder / "tokenizer.json"))
    return folder
