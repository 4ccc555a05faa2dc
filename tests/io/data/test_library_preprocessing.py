"""Which preprocessing a network's images get, against what torchvision and timm do themselves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as reference
from torchvision.transforms._presets import ImageClassification

from bnsharp_cli.errors import CheckpointRefusedError, named
from bnsharp_cli.io.data.library_preprocessing import (
    choose_preprocessing,
    without_unfollowed,
)
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.data.preprocessing_override import PreprocessingOverride
from bnsharp_cli.io.networks.constructors import construct_on_meta
from bnsharp_cli.io.networks.network_identity import NetworkIdentity

MEAN_AND_STD = "mean and std: expected both, one finite number per channel, std positive"
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def chosen(
    spec: str,
    metadata: dict[str, Any] | None = None,
    override: PreprocessingOverride = PreprocessingOverride(),  # noqa: B008  (frozen)
    **options: Any,
) -> tuple[Preprocessing, str]:
    module = construct_on_meta(spec, options) if spec.startswith("timm:") else nn.Identity()
    return choose_preprocessing(metadata or {}, NetworkIdentity(spec, options, "option"), module, override)


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b1", "vit_b_16", "vit_l_16"])
@pytest.mark.parametrize("size", [(300, 400), (401, 230), (180, 180), (224, 224)])
def test_torchvisions_networks_get_torchvisions_own_transform(name: str, size: tuple[int, int]) -> None:
    preprocessing, said = chosen(f"torchvision:{name}")
    image = torch.rand(3, *size, generator=torch.Generator().manual_seed(0))
    ours = preprocessing.normalise(preprocessing.resize(image)[None])[0]
    theirs = models.get_model_weights(name).DEFAULT.transforms()(image)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert f"torchvision's own preprocessing; {named('image_size')}" in said


def test_a_network_of_other_classes_keeps_the_size_of_its_images() -> None:
    preprocessing, said = chosen("torchvision:resnet18", num_classes=10)
    assert preprocessing == Preprocessing(None, *IMAGENET)
    assert "without its resizing, since 10 classes are not its 1,000" in said


def test_a_network_of_one_size_gets_it() -> None:
    preprocessing, _ = chosen("torchvision:vit_b_16", num_classes=10)
    assert (preprocessing.image_size, preprocessing.shorter_side) == (224, 224)
    preprocessing, _ = chosen("torchvision:vit_b_16", num_classes=10, image_size=64)
    assert (preprocessing.image_size, preprocessing.shorter_side) == (64, 64)


def test_a_network_of_one_channel_is_not_normalised_by_three() -> None:
    preprocessing, said = chosen("torchvision:resnet18", num_classes=10, in_channels=1)
    assert preprocessing == Preprocessing()
    assert "without its mean and std, which are not of 1 channel and its resizing" in said


def test_the_files_own_entry_wins() -> None:
    stated = Preprocessing(32, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    assert chosen("torchvision:resnet18", {"preprocessing": stated.to_dict()}) == (stated, "")
    assert chosen("lenet-bn") == (Preprocessing(), "")


def require_same_image(preprocessing: Preprocessing, transform: Any, size: tuple[int, int]) -> None:
    """The two do the same to a random image of a size, but for what PIL rounds to whole numbers on the way."""
    channels = len(preprocessing.mean) or 3
    image = reference.to_pil_image(torch.rand(channels, *size, generator=torch.Generator().manual_seed(0)))
    ours = preprocessing.normalise(preprocessing.resize(reference.to_tensor(image))[None])[0]
    theirs = transform(image)
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().mean()) < 0.01


def test_timms_networks_get_timms() -> None:
    data = pytest.importorskip("timm.data")
    for name in ("resnet18", "vit_tiny_patch16_224", "mobilenetv3_small_050"):
        module = construct_on_meta(f"timm:{name}", {})
        preprocessing, said = chosen(f"timm:{name}")
        config = data.resolve_model_data_config(module)
        require_same_image(preprocessing, data.create_transform(**config), (400, 301))
        assert "timm's own" in said


def test_what_timms_training_script_was_told_is_done() -> None:
    pytest.importorskip("timm")
    args = {"model": "resnet18", "img_size": 64, "mean": [0.1, 0.2, 0.3], "std": None, "crop_pct": 1.0, "lr": 0.1}
    args["interpolation"] = "bilinear"
    preprocessing, _ = chosen("timm:resnet18", {"args": args}, num_classes=10)
    assert preprocessing == Preprocessing(64, (0.1, 0.2, 0.3), IMAGENET[1], shorter_side=64, interpolation="bilinear")
    del args["interpolation"]  # which no script of timm's leaves out
    assert chosen("timm:resnet18", {"args": args}, num_classes=10) == chosen("timm:resnet18", num_classes=10)


SCRIPT = {"model": "resnet18", "img_size": None, "mean": None, "std": None, "crop_pct": None, "interpolation": ""}


@pytest.mark.parametrize(
    "told",
    [
        {"input_size": [3, 48, 48], "img_size": 64},
        {"img_size": 64, "crop_mode": "squash", "crop_pct": 1},
        {"img_size": 40, "mean": [0.4], "std": [0.3], "interpolation": "bicubic", "crop_pct": 0.5},
        {"crop_pct": 0, "crop_mode": "", "interpolation": ""},
        {"in_chans": 1, "img_size": 28, "mean": [0.2], "std": [0.5]},
        {"in_chans": 3, "input_size": [1, 28, 28], "mean": [0.2], "std": [0.5]},
        {"in_chans": 3, "img_size": 28, "mean": [0.2], "std": [0.5, 0.4, 0.3]},
    ],
)
def test_it_is_done_as_timm_does_it(told: dict[str, Any]) -> None:
    data = pytest.importorskip("timm.data")
    channels = told.get("input_size", [told.get("in_chans", 3)])[0]
    preprocessing, _ = chosen("timm:resnet18", {"args": {**SCRIPT, **told}}, in_chans=channels)
    assert len(preprocessing.mean) == channels
    config = data.resolve_data_config({**SCRIPT, **told}, construct_on_meta("timm:resnet18", {}).pretrained_cfg)
    require_same_image(preprocessing, data.create_transform(**config), (90, 71))


@pytest.mark.parametrize(
    "told",
    [
        {"img_size": 10**9},
        {"input_size": [3, 48]},
        {"input_size": [3, 48, 32]},
        {"mean": ["x"]},
        {"mean": []},
        {"mean": [0.1, 0.2]},
        {"mean": [0.1, 0.2, 0.3], "in_chans": 1},
        {"in_chans": 10**9},
        {"std": [0.0, 1.0, 1.0]},
        {"crop_pct": 1e-9},
        {"crop_mode": "border"},
        {"interpolation": "random"},
    ],
)
def test_what_cannot_be_followed_of_timms_script_is_refused(told: dict[str, Any]) -> None:
    pytest.importorskip("timm")
    metadata = {"args": {**SCRIPT, **told}}
    with pytest.raises(CheckpointRefusedError, match=r"cannot be followed: .*image_size, mean, std"):
        chosen("timm:resnet18", metadata)
    whole = PreprocessingOverride(32, (0.5,) * 3, (0.5,) * 3)
    assert chosen("timm:resnet18", metadata, override=whole)[0].image_size == 32


@pytest.mark.parametrize(
    ("name", "says"), [("deepseek_vit_412m", "to the centre"), ("vit_base_patch16_sapiens2", "1024 × 768, not square")]
)
def test_networks_that_timm_preprocesses_in_another_way_are_refused(name: str, says: str) -> None:
    pytest.importorskip("timm")
    with pytest.raises(CheckpointRefusedError, match=says):
        chosen(f"timm:{name}")


@pytest.mark.parametrize("how", ["bilinear", "bicubic"])
@pytest.mark.parametrize("classes", [10, 1000])
def test_what_torchvisions_reference_script_was_told_is_done(how: str, classes: int) -> None:
    args = {"model": "resnet18", "val_resize_size": 48, "val_crop_size": 32, "interpolation": how}
    preprocessing, said = chosen("torchvision:resnet18", {"args": args}, num_classes=classes)
    mode = InterpolationMode(how)
    theirs = ImageClassification(crop_size=32, resize_size=48, interpolation=mode)
    image = torch.rand(3, 70, 55, generator=torch.Generator().manual_seed(0))
    ours = preprocessing.normalise(preprocessing.resize(image)[None])[0]
    torch.testing.assert_close(ours, theirs(image), atol=1e-5, rtol=1e-5)
    assert "reference script" in said


@pytest.mark.parametrize("change", [{"val_crop_size": 64}, {"val_resize_size": "48"}, {"interpolation": "nearest"}])
def test_what_cannot_be_followed_of_the_reference_script_is_refused(change: dict[str, object]) -> None:
    args = {"val_resize_size": 48, "val_crop_size": 32, "interpolation": "bilinear", **change}
    with pytest.raises(CheckpointRefusedError, match=r"cannot be followed: its .*image_size, mean, std"):
        chosen("torchvision:resnet18", {"args": args})
    rest, said = without_unfollowed({"args": args, "epoch": 3})
    assert (rest, said[:37]) == ({"epoch": 3}, "the preprocessing cannot be followed:")


def test_the_crop_of_timms_training_script_stands_where_the_network_is_told_its_size() -> None:
    data = pytest.importorskip("timm.data")
    args = {**dict.fromkeys(("interpolation", "mean", "std")), "model": "test_vit", "img_size": 96, "crop_pct": 0.5}
    assert data.resolve_data_config(args)["crop_pct"] == 0.5
    preprocessing, _ = choose_preprocessing(
        {"args": args},
        NetworkIdentity("timm:test_vit", {"img_size": 96}, "option"),
        construct_on_meta("timm:test_vit", {"img_size": 96}),
        PreprocessingOverride(),
    )
    assert (preprocessing.image_size, preprocessing.shorter_side) == (96, 192)
