"""What a directory's image processor does to images, as a ``preprocessing`` entry; what cannot be followed is refused.

The rules are those of transformers' image processors and of timm's ``resolve_data_config``. A setting that is passed
over would make the numbers those of other images, so every setting is followed, known to change nothing, or a reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bnsharp_cli.io.files.printable_text import one_line

NOT_FOLLOWED = "not_followed"
"""The entry of a ``preprocessing`` that says why there is none."""

_WHOLE_RANGE = 255.0
_INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}
_CONVNEXT_WARPS_FROM = 384
_CHANNELS = 3
_TIMM_CROP = 0.875
_LARGEST_NUMBER = 1e12

_WITHOUT_EFFECT = frozenset({
    "_valid_processor_keys", "device", "disable_grouping", "do_convert_rgb", "do_reduce_labels",
    "feature_extractor_type", "image_processor_type", "input_data_format", "processor_class", "reduce_labels",
    "return_tensors",
})  # fmt: skip
_FOLLOWED = frozenset({
    "crop_pct", "crop_size", "data_format", "default_to_square", "do_center_crop", "do_normalize", "do_rescale",
    "do_resize", "image_mean", "image_std", "resample", "rescale_factor", "size",
})  # fmt: skip


@dataclass(frozen=True)
class _Processor:
    """What a class of image processors does where its settings leave it open.

    Attributes:
        square: whether a size that is one number is both sides, and not the shorter one.
        resample: the number of its interpolation.
        crops: whether the centre is cut out.
        resizes: ``plain``, or the name of a rule of its own.
        crop_pct: the part of the shorter side that is kept, where the class knows such a part.
    """

    square: bool
    resample: int
    crops: bool
    resizes: str = "plain"
    crop_pct: float | None = None


_PROCESSORS = {
    "Beit": _Processor(True, 3, False),
    "Bit": _Processor(False, 3, True),
    "ConvNext": _Processor(False, 3, False, "convnext", 224 / 256),
    "DeiT": _Processor(True, 3, True),
    "Levit": _Processor(False, 3, True, "levit"),
    "MobileNetV1": _Processor(False, 2, True),
    "MobileNetV2": _Processor(False, 2, True),
    "PoolFormer": _Processor(False, 3, True, "poolformer", 0.9),
    "Pvt": _Processor(True, 3, False),
    "Segformer": _Processor(True, 2, False),
    "Siglip": _Processor(False, 3, False),
    "ViT": _Processor(True, 2, False),
}
_OF_KINDS = {
    "Beit": "beit data2vec-vision",
    "Bit": "bit dinov2 focalnet hiera",
    "ConvNext": "convnext convnextv2 cvt regnet resnet",
    "DeiT": "deit",
    "Levit": "levit",
    "MobileNetV1": "mobilenet_v1",
    "MobileNetV2": "mobilenet_v2",
    "PoolFormer": "poolformer",
    "Pvt": "pvt pvt_v2",
    "Segformer": "segformer",
    "Siglip": "siglip",
    "ViT": "ijepa swiftformer swin swinv2 vit vit_msn",
}
_USUAL = {kind: name for name, kinds in _OF_KINDS.items() for kind in kinds.split()}
"""The processor of a kind of network whose directory does not say which one it has."""


class _NotFollowedError(Exception):
    """A setting that no preprocessing here can follow."""


def processor_preprocessing(entries: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The ``preprocessing`` entry for the settings of a processor of transformers'.

    Args:
        entries: of ``preprocessor_config.json``.
        config: of ``config.json``.
    """
    try:
        processor = _processor(entries, config)
        _require_known(entries)
        mean, std = _statistics(entries, config)
        return {**_geometry(entries, processor), "mean": mean, "std": std}
    except _NotFollowedError as error:
        return {NOT_FOLLOWED: str(error)}


def timm_preprocessing(stated: Mapping[str, Any]) -> dict[str, Any]:
    """The ``preprocessing`` entry for the ``pretrained_cfg`` of a directory that timm wrote."""
    try:
        channels, height, width = _sides(stated.get("input_size"))
        if height != width:
            raise _NotFollowedError(f"its images are {height} × {width}, not square")
        part = stated.get("crop_pct") or _TIMM_CROP
        how, mode = stated.get("interpolation") or "bicubic", stated.get("crop_mode") or "center"
        if how not in _INTERPOLATIONS.values() or mode not in ("center", "squash"):
            raise _NotFollowedError("it resizes its images in another way than bilinear or bicubic to the centre")
        side = math.floor(height / _part(part))
        rest = {"shorter_side": side, "stretched": True} if mode == "squash" else {"shorter_side": side}
        mean, std = (_per_channel(stated.get(name), channels, name) for name in ("mean", "std"))
        return {"image_size": height, **rest, "interpolation": how, "mean": mean, "std": std}
    except _NotFollowedError as error:
        return {NOT_FOLLOWED: str(error)}


def _sides(size: object) -> list[int]:
    if isinstance(size, list) and len(size) == 3 and all(type(side) is int and side > 0 for side in size):
        return size
    raise _NotFollowedError("its input_size is not [channels, height, width]")


def _processor(entries: Mapping[str, Any], config: Mapping[str, Any]) -> _Processor:
    older = str(entries.get("feature_extractor_type") or "").replace("FeatureExtractor", "ImageProcessor")
    stated = entries.get("image_processor_type") or older or config.get("image_processor_type")
    if not stated:
        name = _USUAL.get(str(config.get("model_type")), "")
    else:
        name = str(stated).removesuffix("Fast").removesuffix("Pil").removesuffix("ImageProcessor")
    if name not in _PROCESSORS:
        raise _NotFollowedError(
            f"its image processor '{one_line(stated or 'of no name')}' is none that is followed here"
        )
    return _PROCESSORS[name]


def _require_known(entries: Mapping[str, Any]) -> None:
    for key, value in entries.items():
        if key not in _WITHOUT_EFFECT | _FOLLOWED and value not in (None, False):
            raise _NotFollowedError(f"its setting '{one_line(key)}' is not followed here")
    if entries.get("data_format") not in (None, "channels_first"):
        raise _NotFollowedError("its data_format is not channels_first")


def _switch(entries: Mapping[str, Any], name: str, usual: bool) -> bool:
    """A setting that is on or off; None stands for off, as for transformers."""
    value = entries.get(name, usual)
    if value is not None and type(value) is not bool:
        raise _NotFollowedError(f"its {name} is neither true nor false")
    return bool(value)


def _statistics(entries: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Mean and std for images in [0, 1], which the processor has multiplied by 255 · ``rescale_factor`` before."""
    scale = _WHOLE_RANGE
    if _switch(entries, "do_rescale", True):
        scale *= _number(entries.get("rescale_factor", 1 / _WHOLE_RANGE), "rescale_factor")
    scale = 1.0 if math.isclose(scale, 1.0, rel_tol=1e-6) else scale
    channels = config.get("num_channels", _CHANNELS)
    if type(channels) is not int or not 0 < channels <= _CHANNELS:
        raise _NotFollowedError("its images have another number of channels than 1 to 3")
    if _switch(entries, "do_normalize", True):
        mean, std = (_per_channel(entries.get(name), channels, name) for name in ("image_mean", "image_std"))
    elif scale == 1.0:
        return [], []
    else:
        mean, std = [0.0] * channels, [1.0] * channels
    return [value / scale for value in mean], [value / scale for value in std]


def _per_channel(value: object, channels: int, name: str) -> list[float]:
    """One number for each channel; a single one is that of all, as for transformers."""
    values = value if isinstance(value, list) else [value]
    if len(values) not in {1, channels}:
        raise _NotFollowedError(f"its {name} has {len(values)} numbers, its network {channels} channels")
    numbers = [_number(one, name) for one in values]
    return numbers * channels if len(numbers) == 1 else numbers


def _geometry(entries: Mapping[str, Any], processor: _Processor) -> dict[str, Any]:
    """``image_size``, ``shorter_side``, ``interpolation`` and how the centre is cut out."""
    crop = _crop(entries, processor)
    if not _switch(entries, "do_resize", True):
        if crop is not None:
            raise _NotFollowedError("it cuts out the centre of images that it does not resize")
        return {"image_size": None}
    resample = entries.get("resample", processor.resample)
    if type(resample) is not int or resample not in _INTERPOLATIONS:
        raise _NotFollowedError(f"its resample is {one_line(resample)}, neither 2 (bilinear) nor 3 (bicubic)")
    side, shortest = _size(entries, processor)
    side, shortest, crop = _resizing(entries, processor, side, shortest, crop)
    if shortest and crop is None:
        raise _NotFollowedError("it keeps the proportions of its images, which have no common size then")
    if crop is not None and crop > side:
        raise _NotFollowedError(f"it cuts {crop} pixels out of {side}")
    found: dict[str, Any] = {"image_size": crop or side, "interpolation": _INTERPOLATIONS[resample]}
    if crop is None or (crop == side and not shortest):
        return found
    return {**found, "shorter_side": side, "stretched": not shortest, "rounded_down": True}


def _crop(entries: Mapping[str, Any], processor: _Processor) -> int | None:
    if not _switch(entries, "do_center_crop", processor.crops):
        return None
    if processor is _PROCESSORS["Segformer"]:
        raise _NotFollowedError("its class cuts out no centre, though its settings say so")
    size = entries.get("crop_size")
    if isinstance(size, dict) and _stated(size) == {"height", "width"} and size["height"] == size["width"]:
        size = size["height"]
    return _pixels(size, "crop_size")


def _size(entries: Mapping[str, Any], processor: _Processor) -> tuple[int, bool]:
    """A side, and whether it is that of the shorter side alone."""
    size = entries.get("size")
    if isinstance(size, dict):
        named = _stated(size)
        if named == {"shortest_edge"}:
            return _pixels(size["shortest_edge"], "size"), True
        if named == {"height", "width"} and size["height"] == size["width"]:
            return _pixels(size["height"], "size"), False
        shown = one_line(", ".join(f"{name} {size[name]}" for name in sorted(named)))
        raise _NotFollowedError(f"its images are resized to another form than a square: {shown or 'no size'}")
    return _pixels(size, "size"), not _switch(entries, "default_to_square", processor.square)


def _resizing(
    entries: Mapping[str, Any], processor: _Processor, side: int, shortest: bool, crop: int | None
) -> tuple[int, bool, int | None]:
    """The side, whether it is the shorter one, and what is cut out, as the class of the processor has it."""
    if processor.resizes == "plain":
        if entries.get("crop_pct") is not None:
            raise _NotFollowedError("its setting 'crop_pct' is not followed here")
        return side, shortest, crop
    if processor.resizes == "levit":
        return (int((256 / 224) * side) if shortest else side), shortest, crop
    part = entries.get("crop_pct", processor.crop_pct)
    if processor.resizes == "poolformer":
        return (side, shortest, crop) if part is None else (int(side / _part(part)), True, crop)
    if not shortest or (crop is not None and crop != side):
        raise _NotFollowedError("its class takes a shortest_edge alone")
    if side >= _CONVNEXT_WARPS_FROM:
        return side, False, None
    return int(side / _part(part)), True, side


def _part(value: object) -> float:
    part = _number(value, "crop_pct")
    if not 0.1 <= part <= 1:
        raise _NotFollowedError(f"its crop_pct is {part}")
    return part


def _stated(size: Mapping[str, Any]) -> set[str]:
    return {name for name, value in size.items() if value is not None}


def _pixels(value: object, name: str) -> int:
    if type(value) is not int or value <= 0:
        raise _NotFollowedError(f"its {name} is no square and no number of pixels")
    return value


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST_NUMBER:
        raise _NotFollowedError(f"its {name} is no moderate number")
    if name in {"rescale_factor", "image_std", "std"} and value <= 0:
        raise _NotFollowedError(f"its {name} is not positive")
    return float(value)
