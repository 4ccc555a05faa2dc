"""Hugging Face's directories: read from this disk alone, built by transformers alone, and measured."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import bnsharp_cli
from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.io.data.batches import draw_batches
from bnsharp_cli.io.data.open_data import open_data
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.networks.identify import identify
from bnsharp_cli.io.networks.load_weights import load_weights
from tests.cli.helpers import bnsharp
from tests.io.checkpoints.huggingface import network, write

transformers = pytest.importorskip("transformers", reason="transformers writes these directories")

KINDS = ("resnet", "vit", "convnext")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("written") / "resnet")


@pytest.fixture
def directory(written: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(written, tmp_path / "resnet")


def change(path: Path, **entries: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def refused(directory: Path) -> str:
    with pytest.raises(CheckpointRefusedError) as caught:
        load_checkpoint(directory)
    assert "\n" not in caught.value.reason
    assert caught.value.remedy
    return caught.value.reason


@pytest.mark.parametrize("kind", KINDS)
def test_a_directory_gives_what_the_network_in_memory_gives(tmp_path: Path, kind: str) -> None:
    directory = write(tmp_path / kind, kind)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", x=rng.integers(0, 256, (8, 3, 32, 32), dtype=np.uint8), y=rng.integers(0, 4, 8))
    preprocessing = Preprocessing()
    if kind == "vit":
        transformers.ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(directory)
        preprocessing = Preprocessing(16, (0.5,) * 3, (0.5,) * 3)
    data = f"npz:{tmp_path / 'x.npz'}"
    options = ("--data", data, "--samples", 8, "--batch-size", 8)
    document = json.loads(bnsharp("measure", directory, *options, "--json", folder=tmp_path).stdout)
    batches = draw_batches(open_data(data), 8, 8, 0, preprocessing).batches
    expected = bnsharp_cli.measure(Logits(network(kind)), batches)
    assert document["measures"]["bn"]["value"] == pytest.approx(expected.value, rel=1e-9)
    assert document["checkpoint"]["format"] == "huggingface"
    assert document["data"]["preprocessing"] == preprocessing.to_dict()
    # each channel before a batch norm: embedding, two stages, shortcut; stem and depthwise kernels before layer norms
    invariant = {"resnet": 8 + 2 * 8 + 2 * 16 + 16, "vit": 0, "convnext": 1 + 4}
    assert document["blocks"]["invariant"] == invariant[kind]


def test_copies_that_no_file_can_name_are_not_saved(tmp_path: Path) -> None:
    directory = write(tmp_path / "net")
    np.savez(tmp_path / "x.npz", x=np.zeros((8, 3, 32, 32), dtype=np.uint8), y=np.arange(8) % 4)
    options = ("--data", "npz:x.npz", "--samples", 8, "--batch-size", 8, "--save-copies", "copies")
    finished = bnsharp("rescale-test", directory, *options, folder=tmp_path, expect=2)
    assert "--save-copies: a copy is one file" in finished.stderr
    assert not (tmp_path / "copies").exists()


class Logits(nn.Module):
    """The tensor that a criterion takes, of what transformers returns."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.inner(images).logits


@pytest.mark.parametrize("form", ["shards", "pytorch_model.bin", "cache"])
def test_the_forms_that_a_directory_has(directory: Path, tmp_path: Path, form: str) -> None:
    expected = load_checkpoint(directory)
    whole = directory / "model.safetensors"
    if form == "shards":
        write(tmp_path / "shards", max_shard_size="10KB")
        directory = tmp_path / "shards"
        assert len(list(directory.glob("*.safetensors"))) > 1
    elif form == "cache":
        snapshot, blobs = tmp_path / "models--x" / "snapshots" / "1234", tmp_path / "models--x" / "blobs"
        snapshot.mkdir(parents=True)
        blobs.mkdir()
        for number, path in enumerate(directory.iterdir()):
            path.rename(blobs / str(number))
            (snapshot / path.name).symlink_to(f"../../blobs/{number}")
        directory = snapshot
    else:
        torch.save(dict(expected.state_dict), directory / form)
        whole.unlink()
    found = load_checkpoint(directory)
    assert found.state_dict.keys() == expected.state_dict.keys()
    assert all(torch.equal(found.state_dict[name], tensor) for name, tensor in expected.state_dict.items())
    load_weights(identify(found).build(found), found)


@pytest.mark.parametrize("name", ["../net.safetensors", "/etc/hostname", "..", "", "a/b", "a\\b", "a\0b", "\x1b[31m"])
def test_an_index_names_files_of_the_directory_alone(directory: Path, name: str) -> None:
    (directory / "model.safetensors").rename(directory.parent / "net.safetensors")
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
    reason = refused(directory)
    assert "no file of the directory itself" in reason or "it lacks '?[31m'" in reason or "lacks ''" in reason
    assert "\x1b" not in reason


def test_a_link_that_leads_out_is_refused(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory.parent / "net.safetensors")
    (directory / "model.safetensors").symlink_to("../net.safetensors")
    assert "'model.safetensors' leads out of it" in refused(directory)


def test_pipes_loops_and_large_files_are_no_settings(directory: Path) -> None:
    path = directory / "config.json"
    path.unlink()
    os.mkfifo(path)
    assert "not a regular file" in refused(directory)
    path.unlink()
    path.symlink_to("config.json")
    assert "lacks 'config.json'" in refused(directory)
    path.unlink()
    path.write_bytes(b"{" + b" " * 2**20)
    assert "larger than 1 MiB" in refused(directory)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1, 2]", "no table of settings"),
        ("{", "not JSON"),
        ("[" * 10**5, "not JSON"),
        ('{"a":' * 50 + "1" + "}" * 50, "no table of settings"),
        ("{}", "names no model_type"),
        ('{"model_type": 3}', "names no model_type"),
    ],
)
def test_settings_that_are_none(directory: Path, text: str, says: str) -> None:
    (directory / "config.json").write_text(text)
    assert says in refused(directory)


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"auto_map": {"AutoModel": "modeling.Net"}}, "code of its own"),
        ({"vision_config": {"auto_map": {}}}, "code of its own"),
        ({"quantization_config": {"bits": 8}}, "quantised"),
        ({"use_pretrained_backbone": True}, "another network's weights"),
        ({"depths": [1, 10**9]}, "more than 1000 layers"),
        ({"num_hidden_layers": 10**12}, "more than 1000 layers"),
        ({"num_labels": 10**8}, "a number above 262,144"),
        ({"text_config": {"sizes": [[10**8]]}}, "a number above 262,144"),
    ],
)
def test_what_a_directory_must_not_ask_for(directory: Path, entries: dict[str, Any], says: str) -> None:
    (directory / "modeling.py").write_text("open('executed', 'w')")
    change(directory / "config.json", **entries)
    assert says in refused(directory)
    assert not Path("executed").exists()


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"model_type": "clip"}, "'clip' is no network that is built here"),
        ({"model_type": "bert"}, "its head is not known: architectures names ResNetForImageClassification"),
        ({"model_type": "\x1b[31m"}, "is no network that is built here"),
        ({"hidden_sizes": [8, 10**5]}, "which it does not hold"),
        ({"hidden_act": "no such thing"}, "cannot be built"),
        ({"hidden_sizes": "many"}, "cannot be built"),
        ({"hidden_sizes": [8, 32]}, "does not fit the architecture"),
    ],
)
def test_settings_of_no_network_for_these_weights(directory: Path, entries: dict[str, Any], says: str) -> None:
    change(directory / "config.json", **entries)
    checkpoint = load_checkpoint(directory)
    with pytest.raises(CheckpointRefusedError) as caught:
        load_weights(identify(checkpoint).build(checkpoint), checkpoint)
    assert says in caught.value.reason
    assert "\x1b" not in caught.value.reason


@pytest.mark.parametrize(
    ("configuration", "small", "large", "says"),
    [
        (
            "Swinv2Config",
            {"embed_dim": 8, "depths": [1], "num_heads": [1], "image_size": 32, "window_size": 4},
            {"window_size": 100, "image_size": 1024},
            "200,000,000 numbers, which it does not hold",
        ),
        (
            "EfficientNetConfig",
            {"width_coefficient": 0.1, "depth_coefficient": 0.1, "image_size": 32},
            {"depth_coefficient": 64.0},
            "far more parts than there are weights",
        ),
    ],
)
def test_settings_that_are_costly_before_there_is_a_network(
    tmp_path: Path, configuration: str, small: dict[str, Any], large: dict[str, Any], says: str
) -> None:
    config = getattr(transformers, configuration)(**small, num_labels=4)
    transformers.logging.disable_progress_bar()
    transformers.AutoModelForImageClassification.from_config(config).save_pretrained(tmp_path)
    checkpoint = load_checkpoint(tmp_path)
    assert load_weights(identify(checkpoint).build(checkpoint), checkpoint) == ()
    change(tmp_path / "config.json", **large)
    checkpoint = load_checkpoint(tmp_path)
    with pytest.raises(CheckpointRefusedError) as caught:
        identify(checkpoint).build(checkpoint)
    assert says in caught.value.reason


def test_no_implementation_of_the_files_choosing_is_fetched(directory: Path) -> None:
    kernels = {"attn_implementation": "someone/kernels", "_attn_implementation": "someone/kernels"}
    change(directory / "config.json", **kernels, dtype="float16", experts_implementation="someone/kernels")
    checkpoint = load_checkpoint(directory)
    module = identify(checkpoint).build(checkpoint)
    assert module.config._attn_implementation == "eager"
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}


@pytest.mark.parametrize("index", [{}, {"weight_map": []}, {"weight_map": {}}, {"weight_map": {"w": 3}}])
def test_an_index_of_nothing(directory: Path, index: dict[str, Any]) -> None:
    (directory / "model.safetensors").unlink()
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "no weight_map" in refused(directory)


def test_a_shard_must_hold_what_the_index_promises(directory: Path) -> None:
    index = {"weight_map": dict.fromkeys(load_checkpoint(directory).state_dict, "part.safetensors")}
    (directory / "model.safetensors").rename(directory / "part.safetensors")
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    load_checkpoint(directory)
    index["weight_map"].popitem()
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "does not hold the tensors that the index promises" in refused(directory)


def test_a_directory_without_weights(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    assert "it has none of model.safetensors" in refused(directory)
