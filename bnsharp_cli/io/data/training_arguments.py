"""What the arguments of a training script, as a checkpoint keeps them, say of the images that the network saw."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from bnsharp_cli.io.checkpoints.image_processors import NOT_FOLLOWED
from bnsharp_cli.io.data.preprocessing import INTERPOLATIONS, LARGEST_SIDE
from bnsharp_cli.io.networks.architecture_from_metadata import is_timms
from bnsharp_cli.io.networks.constructors import COLOURS

_MOST_CHANNELS = 1024


def timms_image_arguments(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What timm's training script was told of the images; empty for others.

    Why under ``NOT_FOLLOWED`` where that cannot be followed.
    """
    args = metadata.get("args")
    if not isinstance(args, Mapping) or not isinstance(args.get("model"), str) or not is_timms(args):
        return {}
    told: dict[str, Any] = {"model": args["model"]}
    for name, (usable, expected) in _TIMMS_IMAGES.items():
        value = args.get(name)
        if value is None or (value in ("", 0) and type(value) in (str, int, float)):
            continue  # as if it was not given, for timm too
        if not usable(value):
            return {NOT_FOLLOWED: f"its {name} is {expected}"}
        told[name] = value
    channels = told["input_size"][0] if "input_size" in told else told.get("in_chans", COLOURS)
    for name in ("mean", "std"):
        if len(told.get(name, [0])) not in (1, channels):
            return {NOT_FOLLOWED: f"its {name} is of {len(told[name])} channels, its images are of {channels}"}
    return told


def reference_arguments(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The sizes that torchvision's reference script was told for validation, as entries of a preprocessing.

    Empty for the arguments of other scripts; why under ``NOT_FOLLOWED`` where they cannot be followed.

    >>> reference_arguments({"args": {"val_resize_size": 256, "val_crop_size": 224, "interpolation": "bilinear"}})
    {'image_size': 224, 'shorter_side': 256, 'interpolation': 'bilinear'}
    """
    args = metadata.get("args")
    if not isinstance(args, Mapping) or not args.keys() >= {"val_resize_size", "val_crop_size"}:
        return {}
    side, size, how = args["val_resize_size"], args["val_crop_size"], args.get("interpolation", INTERPOLATIONS[0])
    if not all(type(one) is int and 0 < one <= LARGEST_SIDE for one in (side, size)) or size > side:
        return {NOT_FOLLOWED: "its val_resize_size and val_crop_size are no sizes of which the second is smaller"}
    if how not in INTERPOLATIONS:
        return {NOT_FOLLOWED: f"its interpolation is none of {', '.join(INTERPOLATIONS)}"}
    return {"image_size": size, "shorter_side": side, "interpolation": how}


def _is_side(value: object) -> bool:
    return type(value) is int and 0 < value <= LARGEST_SIDE


def _are_sides(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) == 3 and all(map(_is_side, value))


def _is_part(value: object) -> bool:
    return type(value) in (int, float) and isinstance(value, int | float) and 0.1 <= value <= 1


def _are_means(value: object) -> bool:
    if not isinstance(value, list | tuple):
        return False
    return 0 < len(value) <= _MOST_CHANNELS and all(isinstance(one, float) and math.isfinite(one) for one in value)


def _are_deviations(value: Any) -> bool:
    return _are_means(value) and min(value) > 0


_TIMMS_IMAGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "input_size": (_are_sides, "not three numbers of pixels"),
    "img_size": (_is_side, "no number of pixels"),
    "in_chans": (lambda channels: type(channels) is int and 0 < channels <= _MOST_CHANNELS, "no number of channels"),
    "interpolation": (lambda how: how in INTERPOLATIONS, f"none of {', '.join(INTERPOLATIONS)}"),
    "mean": (_are_means, "no numbers, one for each channel"),
    "std": (_are_deviations, "no positive numbers, one for each channel"),
    "crop_pct": (_is_part, "no number from 0.1 to 1"),
    "crop_mode": (lambda mode: mode in ("center", "squash"), "neither center nor squash"),
}
"""Options of timm's training script, each with what can be followed of it and what is said of the rest."""
