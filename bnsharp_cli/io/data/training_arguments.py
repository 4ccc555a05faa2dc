"""What the arguments of a training script, as a checkpoint keeps them, say of the images that the network saw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bnsharp_cli.io.checkpoints.image_processors import NOT_FOLLOWED, timm_preprocessing
from bnsharp_cli.io.data.preprocessing import INTERPOLATIONS, LARGEST_SIDE
from bnsharp_cli.io.networks.architecture_from_metadata import is_timms
from bnsharp_cli.io.networks.constructors import COLOURS

_TIMMS_SIZES = ("chans", "in_chans", "img_size", "input_size")
_TIMMS_NUMBERS = ("mean", "std")
_TIMMS_TRUTHY = ("crop_mode", "crop_pct", "interpolation")
_MOST_CHANNELS = 2**10


def timms_image_arguments(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What timm's training script was told of the images, for timm's ``resolve_data_config``.

    Empty for the arguments of other scripts; why under ``NOT_FOLLOWED`` where they cannot be followed.
    """
    args = metadata.get("args")
    if not isinstance(args, Mapping) or not isinstance(args.get("model"), str) or not is_timms(args):
        return {}
    told = {key: args[key] for key in (*_TIMMS_SIZES, *_TIMMS_NUMBERS) if args.get(key) is not None}
    told |= {key: args[key] for key in _TIMMS_TRUTHY if args.get(key)}
    reason = _why_not_followed(told)
    return {NOT_FOLLOWED: reason} if reason else {"model": args["model"], **told}


def _why_not_followed(told: Mapping[str, Any]) -> str:
    """Why nothing here does what timm does by these arguments; nothing where it can be done."""
    channels = told.get("in_chans", told.get("chans", COLOURS))
    side = told.get("img_size", 1)
    size = told.get("input_size", (channels, side, side))
    if not isinstance(size, list | tuple) or any(type(one) is not int or one > LARGEST_SIDE for one in size):
        return f"its input_size or img_size is no size of images of at most {LARGEST_SIDE:,} pixels a side"
    if not all(isinstance(told.get(key, ()), list | tuple) for key in _TIMMS_NUMBERS):
        return "its mean or std is no list of numbers"
    if size and size[0] > _MOST_CHANNELS:
        return f"its images have more than {_MOST_CHANNELS:,} channels"
    figures = {key: list(told.get(key, (1.0,))) for key in _TIMMS_NUMBERS}
    checked = timm_preprocessing({**told, **figures, "input_size": list(size)})
    return str(checked.get(NOT_FOLLOWED, ""))


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
