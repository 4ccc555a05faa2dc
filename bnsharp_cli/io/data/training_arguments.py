"""What the arguments of a training script, as a checkpoint keeps them, say of the images that the network saw."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bnsharp_cli.io.checkpoints.image_processors import NOT_FOLLOWED
from bnsharp_cli.io.data.preprocessing import INTERPOLATIONS, LARGEST_SIDE
from bnsharp_cli.io.networks.architecture_from_metadata import is_timms
from bnsharp_cli.io.networks.constructors import COLOURS


def timms_image_arguments(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What timm's training script was told of the images, without values that are out of range; empty for others."""
    args = metadata.get("args")
    if not isinstance(args, Mapping) or not isinstance(args.get("model"), str) or not is_timms(args):
        return {}
    size, crop = args.get("img_size"), args.get("crop_pct")
    told: dict[str, Any] = {"model": args["model"]}
    if isinstance(size, int) and 0 < size <= LARGEST_SIDE:
        told["img_size"] = size
    if isinstance(crop, float) and 0.1 <= crop <= 1:
        told["crop_pct"] = crop
    if args.get("interpolation") in INTERPOLATIONS:
        told["interpolation"] = args["interpolation"]
    return {**told, **{key: args[key] for key in ("mean", "std") if _are_numbers(args.get(key), key)}}


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


def _are_numbers(entry: object, key: str) -> bool:
    if not isinstance(entry, list | tuple) or len(entry) != COLOURS:
        return False
    return all(isinstance(v, float) and math.isfinite(v) and (key == "mean" or v > 0) for v in entry)
