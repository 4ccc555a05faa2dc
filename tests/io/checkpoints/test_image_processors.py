"""What a directory says of its images, against transformers' image processors and timm's transforms themselves."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.checkpoints.image_processors import NOT_FOLLOWED, processor_preprocessing, timm_preprocessing
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.data.preprocessing_override import PreprocessingOverride

transformers = pytest.importorskip("transformers", reason="its image processors are the oracle")

MEAN, STD = [0.1, 0.4, 0.6], [0.2, 0.3, 0.5]
GIVEN = {"image_mean": MEAN, "image_std": STD}
SIZES = ((40, 40), (37, 61), (83, 45))
LEVEL = 1.5 / 255
"""transformers resizes whole numbers, so that each value is rounded, and clipped where bicubic overshoots."""


def images(height: int, width: int) -> Tensor:
    """Smooth enough not to overshoot, and different in every place and channel."""
    coarse = np.random.default_rng(height).integers(60, 190, (1, 3, 9, 9)).astype(np.float32)
    fine = torch.nn.functional.interpolate(torch.from_numpy(coarse), (height, width), mode="bilinear")
    return fine.round().to(torch.uint8)


def ours(entry: dict[str, Any], pixels: Tensor) -> Tensor:
    preprocessing = Preprocessing.from_dict(entry)
    assert preprocessing == Preprocessing.from_dict(preprocessing.to_dict())
    return preprocessing.normalise(preprocessing.resize(pixels.to(torch.float32) / 255))


FOLLOWED: list[tuple[str, dict[str, Any]]] = [
    ("ViT", {"size": {"height": 32, "width": 32}}),
    ("ViT", {"size": 32, "resample": 3}),
    ("ViT", {"size": 32, "do_rescale": False}),
    ("ViT", {"size": 32, "rescale_factor": 1 / 127.5}),
    ("ViT", {"size": 32, "do_normalize": False}),
    ("ViT", {"size": 32, "do_normalize": False, "rescale_factor": 0.5}),
    ("ViT", {"size": 32, "do_normalize": False, "do_rescale": False}),
    ("ViT", {"do_resize": False, "size": 32}),
    ("ViT", {"size": 32, "do_resize": None}),
    ("ViT", {"size": 40, "do_center_crop": True, "crop_size": 29}),
    ("ViT", {"size": 32, "image_mean": 0.5, "image_std": [0.25]}),
    ("Beit", {"size": 40, "do_center_crop": True, "crop_size": {"height": 32, "width": 32}}),
    ("Pvt", {"size": 32}),
    ("Segformer", {"size": {"height": 32, "width": 32}}),
    ("Siglip", {"size": {"height": 32, "width": 32}, "resample": 2}),
    ("DeiT", {"size": {"height": 37, "width": 37}, "crop_size": {"height": 32, "width": 32}}),
    ("DeiT", {"size": 37, "crop_size": 37}),
    ("Bit", {"size": {"shortest_edge": 32}, "crop_size": 32}),
    ("Bit", {"size": {"shortest_edge": 36}, "crop_size": 27}),
    ("Bit", {"size": 36, "crop_size": 33}),
    ("Bit", {"size": 36, "crop_size": 33, "default_to_square": True}),
    ("MobileNetV1", {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}),
    ("MobileNetV2", {"size": {"shortest_edge": 35}, "crop_size": 32, "resample": 3}),
    ("ConvNext", {"size": {"shortest_edge": 32}}),
    ("ConvNext", {"size": 33, "crop_pct": 0.75, "resample": 2}),
    ("ConvNext", {"size": {"shortest_edge": 384}}),
    ("Levit", {"size": {"shortest_edge": 32}, "crop_size": 32}),
    ("Levit", {"size": {"height": 36, "width": 36}, "crop_size": 32}),
    ("PoolFormer", {"size": {"shortest_edge": 32}, "crop_size": 32}),
    ("PoolFormer", {"size": {"height": 32, "width": 32}, "crop_size": 32, "crop_pct": 0.8}),
    ("PoolFormer", {"size": 36, "crop_pct": None, "crop_size": 31}),
]


@pytest.mark.parametrize(("kind", "settings"), FOLLOWED)
@pytest.mark.parametrize("size", SIZES)
def test_images_are_those_of_the_processor(kind: str, settings: dict[str, Any], size: tuple[int, int]) -> None:
    processor = getattr(transformers, f"{kind}ImageProcessor")(**{**GIVEN, **settings})
    written = {**GIVEN, **settings, "image_processor_type": f"{kind}ImageProcessor"}
    pixels = images(*size)
    expected = processor(pixels[0], return_tensors="pt")["pixel_values"]
    found = ours(processor_preprocessing(written, {}), pixels)
    scale = 255 * written.get("rescale_factor", 1 / 255) if written.get("do_rescale", True) else 255
    least = 1.0 if written.get("do_normalize", True) is False else 0.2
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) < LEVEL * scale / least


@pytest.mark.parametrize("kind", sorted({kind for kind, _ in FOLLOWED}))
def test_what_is_written_for_a_processor_as_it_comes_is_followed(kind: str) -> None:
    """As ``save_pretrained`` writes it, and with nothing left to the defaults of the class."""
    processor = getattr(transformers, f"{kind}ImageProcessor")()
    sides = {"shortest_edge": 32} if "shortest_edge" in dict(processor.size) else {"height": 32, "width": 32}
    cut = {"crop_size": {"height": 32, "width": 32}} if kind not in {"Siglip"} and processor.do_center_crop else {}
    processor = getattr(transformers, f"{kind}ImageProcessor")(size=sides, **cut)
    pixels = images(40, 40)
    expected = processor(pixels[0], return_tensors="pt")["pixel_values"]
    found = ours(processor_preprocessing(json.loads(processor.to_json_string()), {}), pixels)
    assert float((found - expected).abs().max()) < LEVEL / 0.2


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"size": {"height": 32, "width": 64}}, "another form than a square: height 32, width 64"),
        ({"size": {"shortest_edge": 32}}, "keeps the proportions"),
        ({"size": {"shortest_edge": 32, "longest_edge": 64}}, "another form than a square"),
        ({"size": {"max_height": 32, "max_width": 32}}, "another form than a square"),
        ({"size": {}}, "no size"),
        ({"size": [32, 32]}, "no number of pixels"),
        ({"size": True}, "no number of pixels"),
        ({}, "no number of pixels"),
        ({"size": 32, "resample": 0}, "its resample is 0"),
        ({"size": 32, "resample": "bilinear"}, "its resample is bilinear"),
        ({"size": 32, "do_center_crop": True, "crop_size": {"height": 16, "width": 8}}, "crop_size is no square"),
        ({"size": 32, "do_center_crop": True}, "crop_size is no square"),
        ({"size": 32, "do_center_crop": True, "crop_size": 40}, "cuts 40 pixels out of 32"),
        ({"do_resize": False, "do_center_crop": True, "crop_size": 16}, "does not resize"),
        ({"size": 32, "do_pad": True}, "'do_pad'"),
        ({"size": 32, "pad_size": {"height": 64, "width": 64}}, "'pad_size'"),
        ({"size": 32, "do_flip_channel_order": True}, "'do_flip_channel_order'"),
        ({"size": 32, "rescale_offset": True}, "'rescale_offset'"),
        ({"size": 32, "crop_pct": 0.9}, "'crop_pct'"),
        ({"size": 32, "auto_map": {"AutoImageProcessor": "evil.Net"}}, "'auto_map'"),
        ({"size": 32, "data_format": "channels_last"}, "data_format"),
        ({"size": 32, "do_normalize": "yes"}, "neither true nor false"),
        ({"size": 32, "do_rescale": 0}, "neither true nor false"),
        ({"size": 32, "rescale_factor": 0}, "rescale_factor is not positive"),
        ({"size": 32, "rescale_factor": 1e300}, "rescale_factor is no moderate number"),
        ({"size": 32, "rescale_factor": None}, "rescale_factor is no moderate number"),
        ({"size": 32, "image_mean": None}, "image_mean is no moderate number"),
        ({"size": 32, "image_mean": [0.5, 0.5]}, "image_mean has 2 numbers"),
        ({"size": 32, "image_std": [0.5] * 4}, "image_std has 4 numbers"),
        ({"size": 32, "image_std": [0.5, 0.5, 0]}, "image_std is not positive"),
        ({"size": 32, "image_std": [10**400] * 3}, "image_std is no moderate number"),
        ({"size": 32, "image_processor_type": "MobileViTImageProcessor"}, "'MobileViTImageProcessor'"),
        ({"size": 32, "image_processor_type": "\x1bNet"}, "'?Net'"),
        ({"size": 32, "image_processor_type": ["ViTImageProcessor"]}, "none that is followed here"),
        ({"size": 32, "image_processor_type": "SegformerImageProcessor", "do_center_crop": True}, "no centre"),
        ({"size": {"height": 32, "width": 32}, "image_processor_type": "ConvNextImageProcessor"}, "shortest_edge"),
        ({"size": 32, "image_processor_type": "ConvNextImageProcessor", "crop_pct": 0}, "crop_pct is 0.0"),
    ],
)
def test_what_cannot_be_followed_is_refused_and_never_passed_over(settings: dict[str, Any], says: str) -> None:
    written = {**GIVEN, "image_processor_type": "ViTImageProcessorFast", **settings}
    entry = processor_preprocessing(written, {"model_type": "vit"})
    assert says in entry[NOT_FOLLOWED]
    with pytest.raises(CheckpointRefusedError) as caught:
        Preprocessing.from_dict(entry)
    assert says in caught.value.reason
    assert "\x1b" not in caught.value.reason


def test_the_class_is_the_stated_one_and_else_that_of_the_network() -> None:
    convnext = {"image_size": 32, "shorter_side": 36, "interpolation": "bicubic"}
    plain, network = {**GIVEN, "size": 32}, {"model_type": "resnet"}
    older = {**plain, "feature_extractor_type": "ConvNextFeatureExtractor"}
    vit = processor_preprocessing({**plain, "image_processor_type": "ViTImageProcessorFast"}, network)
    assert "shorter_side" not in vit
    assert convnext.items() <= processor_preprocessing(plain, network).items()
    assert convnext.items() <= processor_preprocessing(older, {"model_type": "vit"}).items()
    assert "no name" in processor_preprocessing(plain, {"model_type": "hgnet_v2"})[NOT_FOLLOWED]


def test_one_channel_where_the_network_has_one() -> None:
    written = {"size": 8, "image_mean": 0.5, "image_std": 0.25, "image_processor_type": "ViTImageProcessor"}
    assert processor_preprocessing(written, {"num_channels": 1})["mean"] == [0.5]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "told",
    [
        {},
        {"crop_pct": 0.9, "interpolation": "bilinear"},
        {"crop_pct": 0.8, "crop_mode": "squash"},
        {"crop_pct": 1.0, "crop_mode": "squash"},
    ],
)
def test_what_timm_does_for_a_directory_that_it_wrote(told: dict[str, Any], size: tuple[int, int]) -> None:
    data = pytest.importorskip("timm.data", reason="timm writes these directories")
    stated = {"input_size": [3, 32, 32], "mean": MEAN, "std": STD, **told}
    transform = data.create_transform(**data.resolve_data_config({}, stated), is_training=False)
    from PIL import Image

    pixels = images(*size)
    expected = transform(Image.fromarray(pixels[0].permute(1, 2, 0).numpy()))
    found = ours(timm_preprocessing(stated), pixels)[0]
    assert float((found - expected).abs().max()) < LEVEL / 0.2


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"input_size": [3, 32, 64]}, "32 × 64"),
        ({"input_size": [32, 32]}, "input_size"),
        ({"interpolation": "nearest"}, "another way"),
        ({"crop_mode": "border"}, "another way"),
        ({"crop_pct": 7}, "crop_pct is 7"),
        ({"mean": 3 * ["0"]}, "mean is no moderate number"),
        ({"mean": [0.5, 0.5]}, "mean has 2 numbers"),
    ],
)
def test_what_timm_does_otherwise_is_refused(told: dict[str, Any], says: str) -> None:
    assert says in timm_preprocessing({"input_size": [3, 32, 32], "mean": MEAN, "std": STD, **told})[NOT_FOLLOWED]


def test_the_remedy_of_the_refusal_is_taken() -> None:
    assert PreprocessingOverride(16, (0.5,), (0.5,)).whole
    assert PreprocessingOverride(0, (0.5,), (0.5,)).whole
    assert not PreprocessingOverride(16, (0.5,)).whole
