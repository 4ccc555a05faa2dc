"""Preprocessing: the arithmetic against torchvision's, and which one a network's images get."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torchvision.transforms import functional as reference

from bnsharp_cli.errors import CheckpointRefusedError, DataRefusedError, UsageError
from bnsharp_cli.io.data.channel_statistics import channel_statistics
from bnsharp_cli.io.data.library_preprocessing import (
    require_modest,
)
from bnsharp_cli.io.data.open_data import open_data
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.data.preprocessing_override import PreprocessingOverride
from bnsharp_cli.io.data.splits import ArraySplit

MEAN_AND_STD = "mean and std: expected both, one finite number per channel, std positive"
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_an_image_a_thousand_times_as_long_as_short_takes_no_more_memory() -> None:
    resized = Preprocessing(8, shorter_side=512).resize(torch.rand(3, 1, 100_000))
    assert resized.shape == (3, 8, 8)


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
