"""Tiny networks of texts as transformers has them, with seeded random weights, and their directories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnsharp_cli.io.networks.known_networks import LANGUAGE_MODEL, TEXT_CLASSIFIER, Head

transformers = pytest.importorskip("transformers", reason="transformers has these networks")

WORDS, CLASSES, LENGTH = 60, 4, 7
PAD, END = 0, 1
"""Numbers of the tokens that fill a text up and end it."""

_SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}
_LONG = {"max_position_embeddings": 32}
_SHARED_KEYS = {**_SIZES, **_LONG, "num_key_value_heads": 2}
_TOKENS = {"bos_token_id": 2, "eos_token_id": END, "pad_token_id": PAD}
SETTINGS: dict[str, dict[str, Any]] = {
    "albert": {**_SIZES, **_LONG, "embedding_size": 12},
    "bert": {**_SIZES, **_LONG},
    "camembert": {**_SIZES, **_LONG},
    "deberta": {**_SIZES, **_LONG, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "deberta-v2": {
        **_SIZES,
        **_LONG,
        "relative_attention": True,
        "position_buckets": 4,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "type_vocab_size": 0,
        "conv_kernel_size": 3,
        "conv_act": "gelu",
    },
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 4, "hidden_dim": 24, **_LONG},
    "electra": {**_SIZES, **_LONG, "embedding_size": 12},
    "gemma": {**_SHARED_KEYS, "head_dim": 6},
    "gemma2": {**_SHARED_KEYS, "head_dim": 6, "query_pre_attn_scalar": 6, "sliding_window": 3},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 32},
    "gpt_neox": {**_SIZES, **_LONG, "rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}},
    "llama": {**_SHARED_KEYS},
    "mistral": {**_SHARED_KEYS, "sliding_window": 3},
    "modernbert": {**_SIZES, **_LONG, "local_attention": 4, "layer_types": ["full_attention", "sliding_attention"]},
    "mpnet": {**_SIZES, **_LONG},
    "olmo2": {**_SHARED_KEYS},
    "opt": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 24, **_LONG},
    "phi": {**_SHARED_KEYS},
    "qwen2": {**_SHARED_KEYS, "use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1},
    "qwen3": {**_SHARED_KEYS, "head_dim": 6},
    "roberta": {**_SIZES, **_LONG},
    "smollm3": {**_SHARED_KEYS, "no_rope_layers": [1, 0]},
    "stablelm": {**_SHARED_KEYS},
    "starcoder2": {**_SHARED_KEYS, "sliding_window": 3},
    "t5": {"d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": PAD},
    "xlm-roberta": {**_SIZES, **_LONG},
}
"""Of each kind; heads that share keys, windows and relative positions are among them, and none is of its usual size."""

FAMILIES = [
    *((TEXT_CLASSIFIER, kind) for kind in ("bert", "roberta", "deberta-v2", "t5", "qwen3")),
    *((LANGUAGE_MODEL, kind) for kind in ("gpt2", "llama", "qwen2", "mistral")),
]
"""Heads and kinds that are measured against other code."""

EVERY = [(head, kind) for head in (TEXT_CLASSIFIER, LANGUAGE_MODEL) for kind in sorted(head.kinds)]


def name_of(value: object) -> str:
    """What a parameter of a test is called."""
    return value.words if isinstance(value, Head) else str(value)


def text_network(head: Head, kind: str, **settings: Any) -> nn.Module:
    """A tiny network in evaluation mode, without dropout in any mode.

    Args:
        head: what it answers with.
        kind: as ``model_type`` names it.
        **settings: instead of those of ``SETTINGS``.
    """
    torch.manual_seed(0)
    configuration = transformers.CONFIG_MAPPING[kind]
    own = {**_TOKENS, "vocab_size": WORDS, "num_labels": CLASSES, **SETTINGS[kind], **settings}
    network = getattr(transformers, head.table)[configuration]
    module: nn.Module = network._from_config(configuration(**own), attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in module.parameters():  # no zero bias, and no gain of one, that would hide a missing one
            parameter.add_(0.2 * torch.randn_like(parameter))
    return module


def write_texts(folder: Path, head: Head, kind: str, **how: Any) -> Path:
    """What ``save_pretrained`` writes of such a network, without its progress bar."""
    transformers.logging.disable_progress_bar()
    text_network(head, kind).save_pretrained(folder, **how)
    return folder


def token_batches(head: Head, count: int = 2, samples: int = 6) -> list[tuple[Tensor, Tensor]]:
    """Batches of texts without padding that end alike, with classes, or with the token after each."""
    generator = torch.Generator().manual_seed(1)
    batches = []
    for _ in range(count):
        ids = torch.randint(3, WORDS, (samples, LENGTH + 1), generator=generator)
        if head is TEXT_CLASSIFIER:
            ids[:, -1] = END
            batches.append((ids, torch.randint(CLASSES, (samples,), generator=generator)))
        else:
            batches.append((ids[:, :-1], ids[:, 1:].contiguous()))
    return batches
