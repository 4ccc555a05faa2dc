"""The settings of Hugging Face's directories: each file read once, all of them in the digest, images as they say."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.checkpoints import model_directory
from bnsharp_cli.io.checkpoints.checkpoint import load_checkpoint
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.networks.identify import identify
from bnsharp_cli.io.networks.load_weights import load_weights
from tests.cli.helpers import bnsharp
from tests.io.checkpoints.huggingface import write

transformers = pytest.importorskip("transformers", reason="transformers writes these directories")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return write(tmp_path / "resnet")


def change(path: Path, **entries: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def test_a_preprocessing_that_is_not_followed_asks_for_all_of_it(directory: Path, tmp_path: Path) -> None:
    """The refusal's remedy works as it is printed, and what needs no images needs no preprocessing."""
    settings = {"image_mean": [0.1] * 3, "image_std": [0.2] * 3, "size": {"height": 32, "width": 64}}
    (directory / "preprocessor_config.json").write_text(json.dumps(settings))
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", x=rng.integers(0, 256, (8, 3, 32, 64), dtype=np.uint8), y=rng.integers(0, 4, 8))
    options = ("--data", f"npz:{tmp_path / 'x.npz'}", "--samples", 8, "--batch-size", 8)
    finished = bnsharp("measure", directory, *options, folder=tmp_path, expect=3)
    assert "another form than a square: height 32, width 64" in finished.stderr
    assert "Say what the network gets, with all of --image-size, --mean, --std" in " ".join(finished.stderr.split())
    given = ("--image-size", 0, "--mean", "0.1,0.1,0.1", "--std", "0.2,0.2,0.2")
    document = json.loads(bnsharp("measure", directory, *options, *given, "--json", folder=tmp_path).stdout)
    assert document["data"]["preprocessing"] == Preprocessing(None, (0.1,) * 3, (0.2,) * 3).to_dict()
    finished = bnsharp("measure", directory, *options, *given[:4], folder=tmp_path, expect=3)
    assert "another form than a square" in finished.stderr
    notes = json.loads(bnsharp("inspect", directory, "--json", folder=tmp_path).stdout)["checkpoint"]["notes"]
    assert any("the preprocessing cannot be followed" in note for note in notes)


def test_the_place_where_a_processor_is_looked_for_first(directory: Path) -> None:
    settings = {"image_mean": [0.1] * 3, "image_std": [0.2] * 3, "image_processor_type": "ViTImageProcessor"}
    (directory / "preprocessor_config.json").write_text(json.dumps({**settings, "size": 16}))
    (directory / "processor_config.json").write_text(json.dumps({"image_processor": {**settings, "size": 24}}))
    expected = transformers.AutoImageProcessor.from_pretrained(directory)
    assert load_checkpoint(directory).metadata["preprocessing"]["image_size"] == expected.size["height"] == 24
    (directory / "processor_config.json").write_text(json.dumps({"processor_class": "Processor"}))
    assert load_checkpoint(directory).metadata["preprocessing"]["image_size"] == 16


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "processor_config.json"])
def test_the_digest_is_of_all_that_decides_the_number(directory: Path, name: str) -> None:
    (directory / name).write_text((directory / name).read_text() if name == "config.json" else '{"size": 16}')
    before = load_checkpoint(directory).sha256
    assert load_checkpoint(directory).sha256 == before
    entries = {"size": 24} if name != "config.json" else {"layer_norm_eps": 0.5}
    change(directory / name, **entries)
    assert load_checkpoint(directory).sha256 != before


def test_each_file_of_settings_is_read_once(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever changes a file after it was read changes nothing: neither the network nor the digest."""
    read: list[str] = []
    door = model_directory.open_untrusted

    def counted(path: Path) -> Any:
        read.append(path.name)
        return door(path)

    monkeypatch.setattr(model_directory, "open_untrusted", counted)
    (directory / "preprocessor_config.json").write_text('{"size": 16}')
    checkpoint = load_checkpoint(directory)
    change(directory / "config.json", hidden_sizes=[8, 32])
    assert load_weights(identify(checkpoint).build(checkpoint), checkpoint) == ()
    assert sorted(read) == ["config.json", "preprocessor_config.json"]


def test_directories_that_timm_writes(directory: Path) -> None:
    settings = {"architecture": "resnet18", "pretrained_cfg": {"input_size": [3, 64, 64], "mean": [0.5], "std": [0.5]}}
    (directory / "config.json").write_text(json.dumps(settings))
    metadata = load_checkpoint(directory).metadata
    assert metadata["architecture"] == "timm:resnet18"
    found = Preprocessing.from_dict(metadata["preprocessing"])
    assert found == Preprocessing(64, (0.5,) * 3, (0.5,) * 3, shorter_side=73, interpolation="bicubic")


@pytest.mark.parametrize(
    ("stated", "said"), [("float16", True), ("bfloat16", True), ("float32", False), (["x"], False)]
)
def test_weights_that_transformers_would_round_are_said(directory: Path, stated: object, said: bool) -> None:
    change(directory / "config.json", dtype=stated)
    checkpoint = load_checkpoint(directory)
    assert any(f"says {stated}, to which transformers rounds" in note for note in checkpoint.notes) == said
    if isinstance(stated, str):
        theirs = transformers.AutoModelForImageClassification.from_pretrained(directory).state_dict()
        rounded = [not ours.equal(theirs[name].to(ours.dtype)) for name, ours in checkpoint.state_dict.items()]
        assert any(rounded) == said


def timms_directory(folder: Path, **stated: object) -> Path:
    """What timm writes of a tiny classifier of ten classes and one channel, and its weights twice as large by index."""
    hub = pytest.importorskip("timm.models._hub", reason="timm writes these directories")
    timm = importlib.import_module("timm")
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=10, in_chans=1)
    hub.save_for_hf(network, folder, model_args={"in_chans": 1}, safe_serialization=False)
    save_file({name: 2 * tensor for name, tensor in network.state_dict().items()}, folder / "half.safetensors")
    index = {"weight_map": dict.fromkeys(network.state_dict(), "half.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config = json.loads((folder / "config.json").read_text())
    change(folder / "config.json", pretrained_cfg={**config["pretrained_cfg"], **stated})
    return folder


def test_timm_knows_no_index(tmp_path: Path) -> None:
    directory = timms_directory(tmp_path / "net")
    theirs = importlib.import_module("timm").create_model(f"local-dir:{directory}", pretrained=True).state_dict()
    ours = load_checkpoint(directory).state_dict
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)


def test_rows_of_a_classifier_that_stand_for_no_class(tmp_path: Path) -> None:
    directory = timms_directory(tmp_path / "net", label_offset=1)
    with pytest.raises(CheckpointRefusedError, match="the first rows of its classifier stand for no class"):
        load_checkpoint(directory)
