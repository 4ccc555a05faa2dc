"""Preprocessing: the arithmetic against torchvision's, and which one a network's images get."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as reference
from torchvision.transforms._presets import ImageClassification

from bnsharp_cli.errors import CheckpointRefusedError, DataRefusedError, UsageError, named
from bnsharp_cli.io.data.channel_statistics import channel_statistics
from bnsharp_cli.io.data.library_preprocessing import (
    choose_preprocessing,
    require_modest,
    without_unfollowed,
)
from bnsharp_cli.io.data.open_data import open_data
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.data.preprocessing_override import PreprocessingOverride
from bnsharp_cli.io.data.splits import ArraySplit
from bnsharp_cli.io.networks.constructors import construct_on_meta
from bnsharp_cli.io.networks.network_identity import NetworkIdentity

MEAN_AND_STD = "mean and std: expected both, one finite number per channel, std positive"
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def chosen(spec: str, metadata: dict[str, Any] | None = None, **options: Any) -> tuple[Preprocessing, str]:
    module = construct_on_meta(spec, options) if spec.startswith("timm:") else nn.Identity()
    return choose_preprocessing(
        metadata or {}, NetworkIdentity(spec, options, "option"), module, PreprocessingOverride()
    )


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b1", "vit_b_16", "vit_l_16"])
@pytest.mark.parametrize("size", [(300, 400), (401, 230), (180, 180), (224, 224)])
def test_torchvisions_networks_get_torchvisions_own_transform(name: str, size: tuple[int, int]) -> None:
    preprocessing, said = chosen(f"torchvision:{name}")
    image = torch.rand(3, *size, generator=torch.Generator().manual_seed(0))
    ours = preprocessing.normalise(preprocessing.resize(image)[None])[0]
    theirs = models.get_model_weights(name).DEFAULT.transforms()(image)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert f"torchvision's own preprocessing; {named('image_size')}" in said


def test_an_image_a_thousand_times_as_long_as_short_takes_no_more_memory() -> None:
    resized = Preprocessing(8, shorter_side=512).resize(torch.rand(3, 1, 100_000))
    assert resized.shape == (3, 8, 8)


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


def test_timms_networks_get_timms() -> None:
    data = pytest.importorskip("timm.data")
    for name in ("resnet18", "vit_tiny_patch16_224", "mobilenetv3_small_050"):
        module = construct_on_meta(f"timm:{name}", {})
        preprocessing, said = chosen(f"timm:{name}")
        config = data.resolve_model_data_config(module)
        transform = data.create_transform(**config)
        image = reference.to_pil_image(torch.rand(3, 400, 301, generator=torch.Generator().manual_seed(0)))
        ours = preprocessing.normalise(preprocessing.resize(reference.to_tensor(image))[None])[0]
        theirs = transform(image)
        assert ours.shape == theirs.shape
        assert float((ours - theirs).abs().mean()) < 0.01  # PIL rounds to whole numbers on the way
        assert "timm's own" in said


def test_what_timms_training_script_was_told_is_done() -> None:
    pytest.importorskip("timm")
    args = {"model": "resnet18", "img_size": 64, "mean": [0.1, 0.2, 0.3], "std": None, "crop_pct": 1.0, "lr": 0.1}
    args["interpolation"] = "bilinear"
    preprocessing, _ = chosen("timm:resnet18", {"args": args}, num_classes=10)
    assert preprocessing == Preprocessing(64, (0.1, 0.2, 0.3), IMAGENET[1], shorter_side=64, interpolation="bilinear")
    del args["interpolation"]  # which no script of timm's leaves out
    assert chosen("timm:resnet18", {"args": args}, num_classes=10) == chosen("timm:resnet18", num_classes=10)


TIMMS_MARKS = dict.fromkeys(("crop_pct", "img_size", "interpolation", "mean", "std"))


@pytest.mark.parametrize(
    ("told", "options"),
    [
        ({"input_size": [3, 48, 48], "img_size": 96}, {}),
        ({"input_size": (1, 48, 48), "mean": [0.5], "std": [0.25]}, {"in_chans": 1}),
        ({"img_size": 48, "in_chans": 1, "mean": [0], "std": [1]}, {"in_chans": 1}),
        ({"img_size": 48, "crop_mode": "squash", "crop_pct": 0.5}, {}),
        ({"img_size": 48, "crop_mode": "", "crop_pct": 0.0, "interpolation": ""}, {}),
        ({"img_size": 48, "crop_pct": 1, "mean": [0.5], "interpolation": "bilinear"}, {}),
    ],
)
def test_what_timms_training_script_was_told_is_what_timm_does(told: dict[str, Any], options: dict[str, Any]) -> None:
    data = pytest.importorskip("timm.data")
    args = {"model": "resnet18", **TIMMS_MARKS, **told}
    preprocessing, _ = chosen("timm:resnet18", {"args": args}, num_classes=10, **options)
    module = construct_on_meta("timm:resnet18", {"num_classes": 10, **options})
    config = data.resolve_data_config(args, model=module)
    waves = torch.linspace(0, 5, 70).sin()[:, None] * torch.linspace(0, 7, 99).cos() / 4 + 0.5  # nothing to clip
    image = waves.expand(config["input_size"][0], -1, -1)
    theirs = data.create_transform(**config)(reference.to_pil_image(image))
    ours = preprocessing.normalise(preprocessing.resize((image * 255).floor()[None] / 255))[0]
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max()) < 3 / 255 / min(config["std"])  # PIL rounds to whole numbers on the way


def test_the_crop_of_timms_training_script_stands_where_the_network_is_told_its_size() -> None:
    data = pytest.importorskip("timm.data")
    args = {"model": "test_vit", **TIMMS_MARKS, "img_size": 96, "crop_pct": 0.5}
    preprocessing, _ = chosen("timm:test_vit", {"args": args}, img_size=96)
    assert data.resolve_data_config(args)["crop_pct"] == 0.5
    assert (preprocessing.image_size, preprocessing.shorter_side) == (96, 192)


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"input_size": [3, 48, 64]}, "48 × 64, not square"),
        ({"input_size": [48]}, "input_size is not"),
        ({"input_size": 48}, "no size"),
        ({"img_size": 10**9}, "no size"),
        ({"img_size": 48.0}, "no size"),
        ({"img_size": 0}, "input_size is not"),
        ({"in_chans": 4000}, "channels"),
        ({"crop_mode": "border"}, "another way"),
        ({"crop_mode": ["center"]}, "another way"),
        ({"interpolation": "random"}, "another way"),
        ({"crop_pct": 1.5}, "crop_pct is 1.5"),
        ({"mean": ["x"]}, "mean is no moderate number"),
        ({"mean": 0.5}, "no list"),
        ({"mean": [0.5, 0.5]}, "2 numbers"),
        ({"std": [0.0, 1.0, 1.0]}, "std is not positive"),
    ],
)
def test_what_cannot_be_followed_of_timms_training_script_is_refused(told: dict[str, Any], says: str) -> None:
    pytest.importorskip("timm")
    metadata = {"args": {"model": "resnet18", **TIMMS_MARKS, **told}, "epoch": 3}
    with pytest.raises(CheckpointRefusedError, match=f"cannot be followed: .*{says}.*image_size, mean, std"):
        chosen("timm:resnet18", metadata)
    identity, whole = NetworkIdentity("timm:resnet18", {}, "option"), PreprocessingOverride(16, (0.5,), (0.5,))
    given, _ = choose_preprocessing(metadata, identity, construct_on_meta("timm:resnet18", {}), whole)
    assert given == Preprocessing(16, (0.5,), (0.5,), shorter_side=16)
    rest, said = without_unfollowed(metadata)
    assert rest == {"epoch": 3}
    assert says in said


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


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (PreprocessingOverride(), Preprocessing(224, *IMAGENET, shorter_side=256)),
        (PreprocessingOverride(image_size=0), Preprocessing(None, *IMAGENET)),
        (PreprocessingOverride(image_size=64), Preprocessing(64, *IMAGENET, shorter_side=64)),
        (PreprocessingOverride(mean=(0.5,), std=(0.2,)), Preprocessing(224, (0.5,), (0.2,), shorter_side=256)),
        (PreprocessingOverride(resize=64), Preprocessing(64, *IMAGENET, shorter_side=64)),
        (PreprocessingOverride(resize=64, crop=48), Preprocessing(48, *IMAGENET, shorter_side=64)),
        (PreprocessingOverride(crop=48), Preprocessing(48, *IMAGENET, shorter_side=256)),
    ],
)
def test_the_users_word_wins(override: PreprocessingOverride, expected: Preprocessing) -> None:
    assert override.apply(Preprocessing(224, *IMAGENET, shorter_side=256)) == expected


@pytest.mark.parametrize(
    ("override", "says"),
    [
        (PreprocessingOverride(image_size=-1), "image_size: expected 0 to 4096, found -1"),
        (PreprocessingOverride(image_size=10**6), "image_size: expected 0 to 4096"),
        (
            PreprocessingOverride(mean=(0.1, 0.2), std=(1.0,)),
            MEAN_AND_STD,
        ),
        (
            PreprocessingOverride(mean=(float("nan"),), std=(1.0,)),
            MEAN_AND_STD,
        ),
        (PreprocessingOverride(mean=(0.0,), std=(0.0,)), MEAN_AND_STD),
        (PreprocessingOverride(mean=(0.5,)), MEAN_AND_STD),
        (PreprocessingOverride(std=(0.5,)), MEAN_AND_STD),
        (PreprocessingOverride(resize=0), "resize: expected 1 to 4096, found 0"),
        (PreprocessingOverride(resize=64, crop=65), "crop: expected the centre of images that resize makes as large"),
        (PreprocessingOverride(crop=300), "found '300 of images of their own size'"),
        (PreprocessingOverride(64, crop=32), "image_size is the same as resize and crop of one size"),
    ],
)
def test_what_the_user_cannot_mean(override: PreprocessingOverride, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        override.apply(Preprocessing())


@pytest.mark.parametrize(
    "entries",
    [
        {"image_size": 224, "shorter_side": 200},
        {"shorter_side": 256},
        {"image_size": 5000},
        {"image_size": "8"},
        {"image_size": 8, "interpolation": "nearest"},
        {"image_size": 8, "interpolation": ["bilinear"]},
        {"mean": [0.5]},
        {"mean": [0.5], "std": [-1.0]},
    ],
)
def test_entries_of_the_wrong_kind(entries: dict[str, Any]) -> None:
    with pytest.raises(CheckpointRefusedError, match="'preprocessing' entry is not"):
        Preprocessing.from_dict(entries)


def test_entries_go_out_and_in() -> None:
    for preprocessing in (Preprocessing(), Preprocessing(8, (0.5,), (0.1,), shorter_side=9, interpolation="bicubic")):
        assert Preprocessing.from_dict(preprocessing.to_dict()) == preprocessing


def test_one_line_says_it() -> None:
    assert str(Preprocessing()) == "of their own size; not normalised"
    assert str(Preprocessing(8)) == "resized to 8 × 8, bilinear; not normalised"
    stated = str(Preprocessing(224, (0.5,), (0.25,), shorter_side=256, interpolation="bicubic"))
    assert stated == "shorter side 256, centre 224 × 224, bicubic; mean 0.5; std 0.25"


def test_preprocessing_is_torchvisions(generator: torch.Generator) -> None:
    images = torch.rand(2, 3, 11, 11, generator=generator)
    preprocessing = Preprocessing(6, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    ours = preprocessing.normalise(preprocessing.resize(images))
    theirs = reference.normalize(reference.resize(images, [6, 6], antialias=True), [0.1, 0.2, 0.3], [0.5, 0.6, 0.7])
    torch.testing.assert_close(ours, theirs)
    assert Preprocessing.from_dict(preprocessing.to_dict()) == preprocessing
    with pytest.raises(DataRefusedError, match="1 channels, the preprocessing expects 3"):
        preprocessing.normalise(torch.zeros(2, 1, 6, 6))


def test_channel_statistics_normalise_to_zero_and_one() -> None:
    split = open_data("digits")
    preprocessing = channel_statistics(split)
    images, _ = split.load(torch.arange(len(split)), preprocessing)
    normal = preprocessing.normalise(images)
    assert abs(float(normal.mean())) < 1e-5
    assert abs(float(normal.std()) - 1) < 1e-4


@pytest.mark.parametrize(
    ("preprocessing", "side", "allowed"),
    [
        (Preprocessing(), 8, True),
        (Preprocessing(256, shorter_side=256), 8, True),
        (Preprocessing(257), 8, False),
        (Preprocessing(257), 33, True),
        (Preprocessing(1024, shorter_side=1170), 128, True),
        (Preprocessing(1025), 4096, False),
        (Preprocessing(200, shorter_side=400), 8, True),
        (Preprocessing(8, shorter_side=257), 8, False),
        (Preprocessing(8, shorter_side=4096), 128, False),
    ],
)
def test_a_file_alone_cannot_ask_for_much_larger_images(preprocessing: Preprocessing, side: int, allowed: bool) -> None:
    split = ArraySplit(torch.zeros(2, 1, side, side + 3, dtype=torch.uint8), torch.zeros(2, dtype=torch.long))
    if allowed:
        require_modest(preprocessing, split)
        return
    with pytest.raises(CheckpointRefusedError, match="pixels a side") as caught:
        require_modest(preprocessing, split)
    assert caught.value.remedy == f"If you want that, say so with image_size {preprocessing.image_size}."


def test_images_of_ordinary_size_are_not_read_to_know_their_own() -> None:
    class Unread(ArraySplit):
        def load(self, *_: object) -> Any:
            raise AssertionError("it was read")

    require_modest(Preprocessing(224, shorter_side=256), Unread(torch.zeros(1, 1, 8, 8), torch.zeros(1)))


@pytest.mark.parametrize(
    ("preprocessing", "size", "pixels"),
    [
        (Preprocessing(), (20, 30), 600),
        (Preprocessing(10), (20, 30), 600),
        (Preprocessing(40), (20, 30), 1600),
        (Preprocessing(10, shorter_side=40), (20, 30), 2400),
        (Preprocessing(8, shorter_side=100), (1, 50), 160_000),
    ],
)
def test_an_image_is_largest_before_its_ends_are_cut_off(
    preprocessing: Preprocessing, size: tuple[int, int], pixels: int
) -> None:
    assert preprocessing.most_pixels(*size) == pixels


def test_room_is_needed_for_what_is_cut_off_later() -> None:
    split = ArraySplit(torch.zeros(1, 1, 8, 8).expand(10**6, 1, 8, 8), torch.zeros(1).expand(10**6))
    with pytest.raises(DataRefusedError, match="images at once take"):
        split.load(torch.arange(10**6), Preprocessing(8, shorter_side=4096))


@pytest.mark.parametrize(
    "figures", [{"mean": [1e300], "std": [1.0]}, {"mean": [0.5], "std": [1e300]}, {"std": [1e-320]}]
)
def test_figures_that_float32_cannot_hold_are_refused(figures: dict[str, object]) -> None:
    with pytest.raises(CheckpointRefusedError, match="preprocessing"):
        Preprocessing.from_dict({"mean": [0.5], **figures})
