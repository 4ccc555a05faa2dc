"""A directory of a network of texts may ask for code, kernels and other forms of answers: none of it is heard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.io.networks.identify import identify
from bnsharp_cli.io.networks.known_networks import LANGUAGE_MODEL, TEXT_CLASSIFIER, Head
from bnsharp_cli.io.networks.load_weights import load_weights
from tests.io.checkpoints.huggingface_texts import name_of, text_network, token_batches, write_texts

pytest.importorskip("transformers", reason="transformers builds these networks")


@pytest.mark.parametrize(("head", "kind"), [(TEXT_CLASSIFIER, "bert"), (LANGUAGE_MODEL, "llama")], ids=name_of)
def test_a_network_of_texts_is_built_of_its_own_code_alone(
    head: Head, kind: str, connections: list[Any], tmp_path: Path
) -> None:
    directory = write_texts(tmp_path / kind, head, kind)
    written = json.loads((directory / "config.json").read_text())
    kernels = "kernels-community/flash-attn"
    asked = {
        "attn_implementation": kernels,
        "_attn_implementation": kernels,
        "_attn_implementation_internal": kernels,
        "experts_implementation": kernels,
        "per_layer_config": {"0": {"attn_implementation": kernels}},
        "base_model_tp_plan": {"layers.*": "colwise"},
        "tokenizer_class": "someone/Tokenizer",
        "name_or_path": "someone/net",
        "use_cache": True,
        "output_attentions": True,
        "return_dict": False,
        "dtype": "float16",
    }
    (directory / "config.json").write_text(json.dumps({**written, **asked}))
    checkpoint = load_checkpoint(directory)
    module = identify(checkpoint).build(checkpoint)
    load_weights(module, checkpoint)
    ids = token_batches(head)[0][0]
    assert torch.equal(module.eval()(ids), text_network(head, kind)(ids).logits)
    settings = module.config.to_dict()
    assert (module.config._attn_implementation, module.config.use_cache) == ("eager", False)
    assert not {name for name, value in settings.items() if value == kernels or name in ("per_layer_config",)}
    assert connections == []
