"""Architectures by the checkpoint's own word, which is a stranger's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.networks import outlines
from bnsharp_cli.io.networks.architecture_from_metadata import bounded_options
from bnsharp_cli.io.networks.constructors import construct_on_meta
from bnsharp_cli.io.networks.identify import identify
from bnsharp_cli.models import lenet_bn
from tests.io.networks.outlines import FAMILIES, checkpoint, fitted, outline

WORDS: list[dict[str, Any]] = [
    {"arch": "resnet18"},
    {"hyper_parameters": {"model_name": "resnet18", "lr": 0.1}},
    {"hyper_parameters": {"backbone": "torchvision:resnet18"}},
    {"arch": "resnet", "model": "resnet18"},
    {"hyper_parameters": {"arch": 3, "encoder": "resnet18"}},
]


@pytest.mark.parametrize("metadata", WORDS)
def test_the_files_word_wins_over_a_guess(metadata: dict[str, Any]) -> None:
    tensors = outline("resnet18", num_classes=6)
    found = identify(checkpoint(tensors, **metadata))
    assert (found.spec, found.source) == ("torchvision:resnet18", "metadata")
    assert fitted(found, tensors)


def test_timms_training_script_means_timms_network() -> None:
    pytest.importorskip("timm")
    tensors = outline("resnet18", num_classes=6)
    marks = dict.fromkeys(("img_size", "crop_pct", "interpolation", "mean", "std"))
    word = {"arch": "resnet18", "args": {"model": "resnet18", **marks}}
    assert identify(checkpoint(tensors, **word)).spec == "timm:resnet18"
    assert identify(checkpoint(tensors, arch="resnet18")).spec == "torchvision:resnet18"


@pytest.mark.parametrize("container", ["args", "config", "hyper_parameters", "opt"])
@pytest.mark.parametrize("more", [{}, {"img_size": 32}, {"mean": None, "std": None, "lr": 0.1}])
def test_any_other_script_means_torchvisions(container: str, more: dict[str, Any]) -> None:
    pytest.importorskip("timm")
    tensors = outline("resnet18", num_classes=6)
    assert identify(checkpoint(tensors, **{container: {"model": "resnet18", **more}})).spec == "torchvision:resnet18"
    timms = {"pretrained_cfg": dict.fromkeys(("first_conv", "input_size", "mean", "std"))}
    assert identify(checkpoint(tensors, **{container: {"architecture": "resnet18", **timms}})).spec == "timm:resnet18"


def test_the_users_word_wins_over_the_files() -> None:
    tensors = outline("resnet18", num_classes=6)
    assert identify(checkpoint(tensors, arch="resnet18"), "torchvision:resnet34").spec == "torchvision:resnet34"
    own = checkpoint(lenet_bn(1, 10, 8).state_dict(), "bnsharp/1", architecture="lenet-bn")
    assert identify(own, "vgg11-bn").source == "option"
    assert identify(own).source == "metadata"


@pytest.mark.parametrize(
    "word", ["resnet34", "no_such_network", "os:system", "mine.py:net", "../x", "x" * 5000, "\x1b[31m"]
)
def test_a_word_that_does_not_fit_is_noted_and_not_followed(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnsharp_cli.io.networks.constructors.run_factory", None)
    found = identify(checkpoint(outline("resnet18"), arch=word))
    assert (found.spec, found.source) == ("torchvision:resnet18", "guess")
    assert "but that is none known here" in found.notes[0]
    assert "\x1b" not in found.notes[0]
    assert len(found.notes[0]) < 400


def test_a_file_that_names_many_networks_has_few_of_them_built(monkeypatch: pytest.MonkeyPatch) -> None:
    built = []

    def counted(spec: str, options: Any) -> nn.Module:
        built.append(spec)
        return construct_on_meta(spec, options)

    monkeypatch.setattr(outlines, "construct_on_meta", counted)
    outlines._built_shapes.cache_clear()
    stated = {
        container: {key: f"torchvision:{name}" for key, name in zip(("arch", "model", "backbone"), names, strict=True)}
        for container, names in zip(("args", "config", "opt"), zip(*[iter(FAMILIES)] * 3, strict=False), strict=False)
    }
    assert not identify(checkpoint({"a.b.c.d.weight": torch.zeros(2, 2)}, **stated)).spec
    first = [*stated["args"].values(), stated["config"]["arch"]]
    assert [spec for spec in built if spec.startswith("torchvision:")] == first


def test_a_checkpoint_cannot_name_code_to_import(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    (tmp_path / "evil.py").write_text(f"open({str(marker)!r}, 'w')\ndef net(): pass\n")
    for spec in (f"{tmp_path / 'evil.py'}:net", "os:system", "torchvision:../evil", "subprocess:run", "huggingface:/"):
        with pytest.raises(CheckpointRefusedError, match="would import code"):
            identify(checkpoint(outline("resnet18"), "bnsharp/1", architecture=spec))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"classes": 2**40}, r"classes=1099511627776, which a file may not decide"),
        ({"classes": 2**30}, r"holds 2\d,\d\d\d numbers, lenet-bn would need 91,2"),
        ({"in_channels": 2**20}, r"holds 2\d,\d\d\d numbers, lenet-bn would need"),
        ({"image_size": 1024}, r"holds 2\d,\d\d\d numbers, lenet-bn would need"),
        ({"image_size": 4096}, "image_size=4096, which a file may not decide"),
        ({"image_size": 3}, "Cannot build 'lenet-bn': image_size must be at least 8"),
        ({"classes": 10**5000}, "which a file may not decide"),
        ({"classes": -1}, "classes=-1, which a file may not decide"),
        ({"classes": True}, "classes=True, which a file may not decide"),
        ({"classes": "10"}, "classes='10', which a file may not decide"),
        ({"depth": 10**9}, "depth=1000000000, which a file may not decide"),
        ({"checkpoint_path": "/etc/passwd"}, "which a file may not decide"),
        ({"\x1b[31m\n": 1}, "which a file may not decide"),
        ([1, 2], "'architecture_options' are a list"),
    ],
)
def test_arguments_that_a_file_states_are_bounded(options: Any, says: str) -> None:
    file = checkpoint(
        lenet_bn(1, 10, 8).state_dict(), "bnsharp/1", architecture="lenet-bn", architecture_options=options
    )
    with pytest.raises(CheckpointRefusedError, match=says) as caught:
        identify(file).build(file)
    assert "\x1b" not in caught.value.reason
    assert "\n" not in caught.value.reason


def test_a_small_file_cannot_ask_for_a_large_network() -> None:
    file = checkpoint({"conv1.weight": torch.ones(64, 3, 7, 7)}, "bnsharp/1", architecture="torchvision:vit_h_14")
    with pytest.raises(CheckpointRefusedError, match=r"holds 9,408 numbers, torchvision:vit_h_14 would need 63\d,"):
        identify(file).build(file)


@pytest.mark.parametrize("size", [32, 64])
def test_a_vision_transformers_image_size_is_read_off_its_positions(size: int) -> None:
    tensors = outline("vit_b_32", num_classes=3, image_size=size)
    assert fitted(identify(checkpoint(tensors), "torchvision:vit_b_32"), tensors)


@pytest.mark.parametrize(
    ("spec", "options", "allowed"),
    [
        ("lenet-bn", {"image_size": 32, "classes": 3, "in_channels": 1}, True),
        ("vgg11-bn", {"image_size": 32}, False),
        ("torchvision:resnet18", {"num_classes": 3, "zero_init_residual": True}, True),
        ("torchvision:resnet18", {"image_size": 32}, False),
        ("torchvision:resnet18", {"zero_init_residual": 1}, False),
        ("torchvision:vit_b_16", {"image_size": 1024, "dropout": 0.5}, True),
        ("torchvision:vit_b_16", {"image_size": 1025}, False),
        ("torchvision:vit_b_16", {"dropout": 1.5}, False),
        ("torchvision:vit_b_16", {"dropout": float("nan")}, False),
        ("torchvision:googlenet", {"aux_logits": False}, True),
        ("torchvision:resnet18", {"weights": "DEFAULT"}, False),
        ("timm:resnet18", {"in_chans": 1, "drop_rate": 0, "drop_path_rate": 0.1}, True),
        ("timm:resnet18", {"checkpoint_path": "/etc/passwd"}, False),
        ("timm:resnet18", {"pretrained": True}, False),
        ("timm:resnet18", {"in_channels": 1}, False),
        ("timm:resnet18", {1: 1}, False),
    ],
)
def test_each_family_has_arguments_that_a_file_may_state(spec: str, options: Any, allowed: bool) -> None:
    if allowed:
        assert bounded_options(spec, options) == options
    else:
        with pytest.raises(CheckpointRefusedError, match="which a file may not decide"):
            bounded_options(spec, options)
