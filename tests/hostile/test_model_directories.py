"""Every hostile directory of Hugging Face's kind is refused, and sound ones build nothing but what they declare."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.checkpoints.checkpoint import Checkpoint, load_checkpoint
from bnsharp_cli.io.networks.declared_settings import ForbiddenSettingError, declared
from bnsharp_cli.io.networks.huggingface_networks import class_and_settings
from bnsharp_cli.io.networks.identify import identify
from bnsharp_cli.io.networks.known_networks import HEADS, IMAGE_CLASSIFIER, Head, alone
from bnsharp_cli.io.networks.load_weights import load_weights
from tests.hostile import network_cases
from tests.hostile.forge import MARKER
from tests.hostile.harness import Harness
from tests.hostile.model_cases import CASES
from tests.hostile.test_checkpoints import FAST, one_line

transformers = pytest.importorskip("transformers", reason="transformers builds these networks")
constants = pytest.importorskip("huggingface_hub.constants")


def test_there_are_cases_of_both_tables() -> None:
    assert {"renamed-inside", "a-slow-network"} <= CASES.keys()
    assert network_cases.__doc__


@pytest.mark.parametrize("name", CASES)
def test_a_stranger_is_refused(command: Harness, tmp_path: Path, name: str) -> None:
    write, says = CASES[name]
    folder = tmp_path / "folder"
    folder.mkdir()
    path = write(folder)
    before = {entry.name for entry in tmp_path.rglob("*")}
    finished = command("measure", path, "--data", "digits", *FAST, folder=folder)
    assert finished.code == 3, finished
    assert says in one_line(finished)
    assert not (folder / MARKER).exists()
    assert {entry.name for entry in tmp_path.rglob("*")} == before


def test_a_sound_directory_passes_through_the_same_harness(command: Harness, tmp_path: Path) -> None:
    from tests.io.checkpoints.huggingface import write as write_sound

    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", x=rng.integers(0, 256, (8, 3, 32, 32), dtype=np.uint8), y=rng.integers(0, 4, 8))
    data = ("--data", "npz:x.npz", "--samples", 8, "--batch-size", 8, "--quiet")
    finished = command("measure", write_sound(tmp_path / "resnet"), *data, folder=tmp_path)
    assert finished.code == 0, finished.stderr


def test_a_size_that_a_file_may_not_choose_is_the_users_to_choose(command: Harness, tmp_path: Path) -> None:
    write, _ = CASES["enlarged-and-cut"]
    finished = command("measure", write(tmp_path), "--data", "digits", "--image-size", 8, *FAST, folder=tmp_path)
    assert finished.code == 0, finished.stderr


@pytest.mark.parametrize("kind", sorted({kind for head in HEADS for kind in head.kinds}))
def test_a_configuration_has_only_what_its_class_declares(kind: str) -> None:
    configuration = transformers.CONFIG_MAPPING[kind]
    asked = {"auto_map": {}, "attribute_map": {}, "_attn_implementation": "x", "dtype": "float16", "__class__": "x"}
    written = json.loads(json.dumps(configuration(num_labels=5, architectures=["Net"]).to_dict()))
    kept = declared(configuration, {**written, **asked, "return_dict": False, "self": 1})
    assert not kept.keys() & {*asked, "return_dict", "self"}
    assert configuration.from_dict(kept).to_dict() == configuration.from_dict(written).to_dict()


def test_nested_configurations_have_no_more() -> None:
    nested = {"attribute_map": {}, "auto_map": {}, "hidden_size": 8}
    assert declared(transformers.SiglipConfig, {"vision_config": nested}) == {"vision_config": {"hidden_size": 8}}


def test_nothing_is_fetched_said_or_asked_and_nothing_stays_so(
    connections: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    def state() -> tuple[object, ...]:
        reports = transformers.logging
        return sys.stdin, reports.get_verbosity(), reports.is_progress_bar_enabled(), constants.HF_HUB_OFFLINE

    transformers.logging.set_verbosity_warning()
    before = state()
    with alone():
        with pytest.raises(OSError, match="huggingface"):
            transformers.AutoConfig.from_pretrained("someone/net")
        with pytest.raises(EOFError):
            input()
        transformers.ViTConfig(num_labels=3, id2label={"0": "\x1b[31m"})
        transformers.logging.get_logger("transformers.any").critical("fine")
        warnings.warn("fine", stacklevel=1)
    assert state() == before
    assert connections == []
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["resnet", "vit", "convnext"])
def test_a_network_is_built_and_filled_without_another_machine(
    kind: str, connections: list[Any], tmp_path: Path
) -> None:
    from tests.io.checkpoints.huggingface import write as write_sound

    directory = write_sound(tmp_path / kind, kind)
    settings = {**json.loads((directory / "config.json").read_text()), "architectures": ["someone/net", "Net"]}
    (directory / "config.json").write_text(json.dumps(settings))
    checkpoint = load_checkpoint(directory)
    module = identify(checkpoint).build(checkpoint)
    load_weights(module, checkpoint)
    assert connections == []


def test_the_class_that_a_directory_names_is_one_of_its_kind() -> None:
    kind = {"model_type": "deit", "hidden_size": 8, "num_attention_heads": 1, "num_hidden_layers": 1}
    for stated, expected in (
        ([], "DeiTForImageClassification"),
        (["DeiTForImageClassificationWithTeacher"], "DeiTForImageClassificationWithTeacher"),
        (["ViTForImageClassification"], "DeiTForImageClassification"),
    ):
        network, settings = class_and_settings(transformers, {**kind, "architectures": stated}, IMAGE_CLASSIFIER)
        assert network.__name__ == expected
        assert settings._attn_implementation == "eager"


LEVIT = {
    "model_type": "levit",
    "image_size": 64,
    "num_labels": 2,
    "hidden_sizes": [16, 24, 32],
    "num_attention_heads": [1, 2, 2],
    "depths": [1, 1, 1],
    "key_dim": [8, 8, 8],
}


@pytest.mark.parametrize(
    ("stated", "refused"),
    [
        (LEVIT, ""),
        ({**LEVIT, "down_ops": [["Subsample", 8, 2, 4, 2, 2], ["Subsample", 8, 3, 4, 2, 2]]}, ""),
        ({**LEVIT, "down_ops": [["Subsample", 8, 2, 4, 2, 1], ["Subsample", 8, 3, 4, 2, 2]]}, "down_ops"),
        ({"model_type": "textnet", "depths": [1, 1, 1, 1]}, "depths"),
        ({"model_type": "swin", "hidden_size": 768, "num_layers": 4}, ""),
        ({"model_type": "swin", "hidden_size": 769}, "hidden_size"),
        ({"model_type": "swin", "num_hidden_layers": 5}, "num_hidden_layers"),
        ({"model_type": "convnext", "num_hidden_layers": 3}, "num_hidden_layers"),
        ({"model_type": "resnet", "out_features": ["stage2"], "something": 1}, ""),
    ],
)
def test_what_a_class_derives_from_its_settings_is_not_the_files_to_state(stated: dict[str, Any], refused: str) -> None:
    if not refused:
        class_and_settings(transformers, stated, IMAGE_CLASSIFIER)
        return
    with pytest.raises(ForbiddenSettingError, match=f"{refused} is .*does not follow"):
        class_and_settings(transformers, stated, IMAGE_CLASSIFIER)


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.words)
def test_every_configuration_is_read_as_transformers_writes_it(head: Head) -> None:
    for kind in sorted(head.kinds):
        settings = transformers.CONFIG_MAPPING[kind]()
        if head.takes_text:
            settings.architectures = [getattr(transformers, head.table)[type(settings)].__name__]
        written = json.loads(settings.to_json_string(use_diff=False))
        _, read = class_and_settings(transformers, written, head)
        assert {**read.to_dict(), "use_cache": None} == {**settings.to_dict(), "use_cache": None}


def test_levits_directory_is_read_as_transformers_writes_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = transformers.LevitForImageClassification(transformers.LevitConfig(**LEVIT)).eval()
    network.save_pretrained(tmp_path)
    assert [""] in json.loads((tmp_path / "config.json").read_text())["down_ops"]
    checkpoint = load_checkpoint(tmp_path)
    module = identify(checkpoint).build(checkpoint)
    load_weights(module, checkpoint)
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(module.eval()(images), network(images).logits)


TIMMS = {"global_pool": "max"}, {"act_layer": "gelu"}, {"output_stride": 8}, {"bn_eps": 0.5}, {"stem_type": ""}


def _timms_network(**arguments: object) -> torch.nn.Module:
    timm = pytest.importorskip("timm", reason="timm builds these networks")
    torch.manual_seed(0)
    network: torch.nn.Module = timm.create_model("test_resnet", num_classes=4, **arguments).eval()
    return network


def _timms_directory(folder: Path, network: torch.nn.Module) -> Path:
    """The directory as timm itself writes it, with the arguments of the constructor."""
    from timm.models import save_for_hf

    save_for_hf(network, folder)
    assert json.loads((folder / "config.json").read_text())["model_args"]
    return folder


def require_same_answers(checkpoint: Checkpoint, network: nn.Module) -> None:
    """The network that a checkpoint is opened as answers as the one whose weights it has."""
    module = identify(checkpoint).build(checkpoint)
    load_weights(module, checkpoint)
    images = torch.randn(4, 3, 64, 64)
    assert torch.equal(module.eval()(images), network(images))


@pytest.mark.parametrize("arguments", [*TIMMS, {}], ids=str)
def test_timms_arguments_that_no_shape_tells_are_followed_or_refused(tmp_path: Path, arguments: dict[str, Any]) -> None:
    network = _timms_network(**{key: value for key, value in arguments.items() if key not in {"bn_eps", "stem_type"}})
    path = _timms_directory(tmp_path, network)
    if arguments.keys() & {"bn_eps", "stem_type"}:
        settings = json.loads((path / "config.json").read_text())
        settings["model_args"] |= arguments
        (path / "config.json").write_text(json.dumps(settings))
    checkpoint = load_checkpoint(path)
    if arguments and "global_pool" not in arguments:
        with pytest.raises(CheckpointRefusedError, match=f"builds its network with {next(iter(arguments))}="):
            identify(checkpoint)
        return
    require_same_answers(checkpoint, network)


def test_options_of_other_scripts_mean_something_else(tmp_path: Path) -> None:
    network = _timms_network()
    args = {"model": "test_resnet", "gp": 10.0, "bn_eps": "x"}  # a gradient penalty
    torch.save({"state_dict": network.state_dict(), "args": args}, tmp_path / "last.pth.tar")
    require_same_answers(load_checkpoint(tmp_path / "last.pth.tar"), network)


@pytest.mark.parametrize(
    ("option", "argument"), [({"gp": "max"}, {"global_pool": "max"}), ({"bn_eps": 0.5}, None), ({"gp": None}, {})]
)
def test_options_of_timms_training_script_that_no_shape_tells(
    tmp_path: Path, option: dict[str, Any], argument: dict[str, Any] | None
) -> None:
    network = _timms_network(**(argument or {}))
    path = tmp_path / "last.pth.tar"
    marks = dict.fromkeys(("crop_pct", "img_size", "interpolation", "mean", "std"))
    torch.save({"state_dict": network.state_dict(), "args": {**marks, "model": "test_resnet", **option}}, path)
    checkpoint = load_checkpoint(path)
    if argument is None:
        with pytest.raises(CheckpointRefusedError, match="builds its network with bn_eps="):
            identify(checkpoint)
        return
    require_same_answers(checkpoint, network)


def test_options_of_other_scripts_do_not_decide_over_timms_network(tmp_path: Path) -> None:
    network = _timms_network()
    path = tmp_path / "last.pth.tar"
    args = {"model": "timm:test_resnet", "gp": 10.0, "bn_eps": 0.5}
    torch.save({"state_dict": network.state_dict(), "args": args}, path)
    require_same_answers(load_checkpoint(path), network)
