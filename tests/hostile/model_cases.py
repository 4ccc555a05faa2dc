"""Hostile directories of Hugging Face's kind: each is sound weights beside a configuration that asks for more."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.hostile.forge import MARKER, Evil

Writer = Callable[[Path], Path]
CASES: dict[str, tuple[Writer, str]] = {}
"""By name: what makes the directory or file in a folder, and a part of the one line that the command must print."""

RENAMED = "it gives its settings other names (attribute_map)"
OWN_CODE = "it asks for code of its own (auto_map)"
NOT_BUILT = "is no network that is built here"

_TEXT = {
    "model_type": "gemma3_text",
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "intermediate_size": 8,
    "vocab_size": 262,
}


def write(folder: Path, configuration: dict[str, Any] | str, tensors: dict[str, Tensor] | None = None) -> Path:
    """A directory of ``configuration`` with code that leaves the marker in ``folder``, and a pickle that does."""
    directory = folder / "model"
    directory.mkdir()
    text = configuration if isinstance(configuration, str) else json.dumps(configuration)
    (directory / "config.json").write_text(text)
    (directory / "modeling.py").write_text(f"open({str(folder / MARKER)!r}, 'w').close()\n")
    (directory / "evil.bin").write_bytes(pickle.dumps(Evil(folder), 2))
    save_file(tensors or {"w": torch.ones(10**6)}, directory / "model.safetensors")
    return directory


def add(name: str, says: str, configuration: Callable[[Path], dict[str, Any]]) -> None:
    add_file(name, says, lambda folder: write(folder, configuration(folder)))


def add_file(name: str, says: str, writer: Writer) -> None:
    assert name not in CASES, name
    CASES[name] = writer, says


def _composite(vision: dict[str, Any]) -> dict[str, Any]:
    """A classifier whose images go through a network of any kind that the file names."""
    return {"model_type": "shieldgemma2", "text_config": _TEXT, "vision_config": vision}


def _renamed(folder: Path, kind: str = "blip_vision_model") -> dict[str, Any]:
    """A network that asks for its code by a key that stands for ``auto_map``; AutoModel does not know its class."""
    return {
        "model_type": kind,
        "attribute_map": {"zzz": "auto_map"},
        "zzz": dict.fromkeys(("AutoModel", "AutoModelForImageClassification"), "modeling.Net"),
        "name_or_path": str(folder / "model"),
    }


def _timm(**settings: object) -> dict[str, Any]:
    return {"model_type": "timm_wrapper", **settings}


def _checkpoint(path: Path) -> dict[str, Any]:
    return _timm(architecture="test_vit", model_args={"checkpoint_path": str(path)})


add("renamed-inside", RENAMED, lambda folder: _composite(_renamed(folder)))
add("renamed-outside", RENAMED, lambda folder: _renamed(folder, "vit"))
add("renamed-in-a-list", RENAMED, lambda folder: {"model_type": "vit", "parts": [[_renamed(folder)]]})
add("code-in-a-list", OWN_CODE, lambda _: {"model_type": "vit", "parts": [{"auto_map": {"AutoModel": "modeling.Net"}}]})
add("quantised-anew", RENAMED, lambda _: {"model_type": "vit", "attribute_map": {"q": "quantization_config"}})
add("another-librarys-checkpoint", NOT_BUILT, lambda folder: _composite(_checkpoint(folder / "model" / "evil.bin")))
add("another-librarys-device", NOT_BUILT, lambda _: _composite(_checkpoint(Path("/dev/zero"))))
add("another-librarys-download", NOT_BUILT, lambda _: _composite(_timm(architecture="hf-hub:someone/net")))
add("another-kind", NOT_BUILT, lambda _: {"model_type": "clip", "vision_config": {"image_size": 8}})
add(
    "weights-of-another-file",
    "it names a file of weights of its own choice",
    lambda _: {"model_type": "vit", "transformers_weights": "evil.bin"},
)
add(
    "fused-layers",
    "it asks for other layers",
    lambda _: {"model_type": "vit", "fusion_config": {"patch_embeddings": 1}},
)
add("quantised-inside", RENAMED, lambda _: {"model_type": "siglip", "vision_config": {"attribute_map": {}}})


def _text(**settings: object) -> Callable[[Path], dict[str, Any]]:
    """A language model with ``settings``; the weights beside it are of none."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    own = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 64, **sizes}
    return lambda _: {**own, **settings}


FORBIDDEN = "which a file may not say"
add("text-of-many-layers", "more than 1000 layers", _text(num_hidden_layers=10**9))
add("text-of-many-words", "a number above 262,144", _text(vocab_size=10**12))
add("text-of-as-many-words-as-allowed", "which it does not hold", _text(vocab_size=2**18, hidden_size=2**18))
add("text-of-many-positions", "a number above 1,073,741,824", _text(max_position_embeddings=10**12))
add("text-of-endless-heads", "cannot be built", _text(num_attention_heads=0))
add("text-of-quantised-weights", "its weights are quantised", _text(quantization_config={"quant_method": "bnb"}))
add("text-with-own-code", OWN_CODE, _text(auto_map={"AutoModelForCausalLM": "modeling.Net"}))
add("text-with-own-code-inside", OWN_CODE, _text(text_config={"auto_map": {"AutoModelForCausalLM": "modeling.Net"}}))
add("text-with-a-kernel-to-fetch", FORBIDDEN, _text(hidden_act="kernels-community/activation"))
add("text-with-positions-of-unknown-kind", FORBIDDEN, _text(rope_scaling={"rope_type": "someone/rope"}))
add("text-with-positions-too-far-apart", FORBIDDEN, _text(rope_scaling={"type": "linear", "factor": 1e300}))
add("text-with-positions-of-words", FORBIDDEN, _text(rope_theta="__import__"))
add("text-of-a-problem-of-code", FORBIDDEN, _text(problem_type="code"))
add("text-padded-with-no-word", "cannot be built", _text(pad_token_id=64))
add("text-of-no-head", "its head is not known", _text(architectures=["modeling.Net"]))
add(
    "text-of-two-heads",
    "its head is not known",
    _text(architectures=["LlamaForCausalLM", "LlamaForSequenceClassification"]),
)
add("text-of-another-kind-of-head", "names no LlamaForCausalLM", _text(architectures=["EvilForCausalLM"]))
add(
    "text-of-layers-of-unknown-kind",
    FORBIDDEN,
    _text(model_type="qwen2", architectures=["Qwen2ForCausalLM"], layer_types=["evil"]),
)


def _beside(name: str, content: bytes = b"{}") -> Writer:
    """A directory with another file that transformers looks for."""

    def writer(folder: Path) -> Path:
        directory = write(folder, {"model_type": "vit"})
        (directory / name).write_bytes(content)
        return directory

    return writer


add_file("adapter-beside", "an adapter lies beside its weights", _beside("adapter_config.json"))
add_file(
    "parts-beside", "in parts that several processes wrote", _beside("shard-00001-model-00001-of-00001.safetensors")
)


def _sharded(folder: Path) -> Path:
    """An index that names a file by a byte that is no text."""
    directory = write(folder, {"model_type": "vit"})
    (directory / "model.safetensors").rename(directory / os.fsdecode(b"\x80.safetensors"))
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": "\udc80.safetensors"}}))
    return directory


add_file("shard-of-no-text", "it names '?.safetensors', which is no file of the directory itself", _sharded)
