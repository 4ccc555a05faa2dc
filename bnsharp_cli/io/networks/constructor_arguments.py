"""What the shapes of the weights tell about the arguments of a network's constructor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bnsharp_cli.io.networks.constructors import ARGUMENT_NAMES, COLOURS, family
from bnsharp_cli.io.networks.outlines import Shapes, outline_of, read_off, shapes_of_network

_TIMMS_POSITIONS, _TIMMS_PATCHES = "pos_embed", "patch_embed.proj.weight"
_TIMMS_WINDOWS = "layers.{}.blocks.0.attn.relative_position_bias_table"
_LARGEST_WINDOW = 32
"""Positions of a side: a network has a table of all pairs of positions in a window."""

_AUXILIARY = {"torchvision:googlenet": "aux1.", "torchvision:inception_v3": "AuxLogits."}


def completed(spec: str, options: Mapping[str, Any], shapes: Shapes) -> dict[str, Any]:
    """``options`` with what they leave open: classes, input channels, image size, auxiliary classifiers.

    Args:
        spec: a network of ours, torchvision's or timm's. Its constructor may raise whatever it likes.
        options: arguments that are given.
        shapes: of the weights.
    """
    implied = {**_implied(spec, options, shapes), **options}
    known = shapes_of_network(spec, implied)
    if known == shapes or not known.keys() & shapes.keys():  # nothing to complete, or no weights that tell
        return implied
    names = ARGUMENT_NAMES[family(spec)]
    found = outline_of(spec, {key: value for key, value in implied.items() if key not in vars(names).values()})
    classes, channels = read_off(found.classes, shapes), read_off(found.channels, shapes)
    read = {names.classes: classes, names.channels: None if channels == COLOURS else channels}
    return {**{key: value for key, value in read.items() if value is not None}, **implied}


def has_shapes(spec: str, options: Mapping[str, Any], shapes: Shapes) -> bool:
    """Whether the network has exactly these names and shapes."""
    return shapes_of_network(spec, options) == shapes


def _implied(spec: str, options: Mapping[str, Any], shapes: Shapes) -> dict[str, Any]:
    """Arguments beside classes and channels that single tensors tell."""
    if spec in _AUXILIARY:
        return {"aux_logits": any(name.startswith(_AUXILIARY[spec]) for name in shapes)}
    if spec == "lenet-bn" and len(shapes.get("linear1.weight", ())) == 2:
        side = math.isqrt(shapes["linear1.weight"][1] // 16)
        return {"image_size": 4 * side if side < 4 else 4 * side + 12}
    if spec.startswith("torchvision:vit_"):
        return _vision_transformers_size(shapes)
    if family(spec) == "timm" and _TIMMS_POSITIONS in shapes:
        return _timms_transformers_size(shapes_of_network(spec, options), shapes)
    if family(spec) == "timm" and _TIMMS_WINDOWS.format(0) in shapes:
        return _timms_windows(shapes_of_network(spec, options), shapes)
    return {}


def _vision_transformers_size(shapes: Shapes) -> dict[str, int]:
    positions, patches = shapes.get("encoder.pos_embedding", ()), shapes.get("conv_proj.weight", ())
    if len(positions) != 3 or len(patches) != 4:
        return {}
    return {"image_size": patches[-1] * math.isqrt(max(1, positions[1] - 1))}


def _timms_transformers_size(usual: Shapes, shapes: Shapes) -> dict[str, int]:
    """Image and patch size where they are not the ``usual`` ones, of a square grid of positions behind few tokens."""
    positions, patches = shapes[_TIMMS_POSITIONS], shapes.get(_TIMMS_PATCHES, ())
    usual_positions, usual_patches = usual.get(_TIMMS_POSITIONS, ()), usual.get(_TIMMS_PATCHES, ())
    if not len(positions) == len(usual_positions) == 3 or not len(patches) == len(usual_patches) == 4:
        return {}
    if positions == usual_positions and patches[-1] == usual_patches[-1]:
        return {}
    whole = (positions[2], patches[0], patches[-2]) == (usual_positions[2], usual_patches[0], patches[-1])
    if not whole or not patches[1]:  # otherwise a file without a byte could ask for any size
        return {}
    tokens = usual_positions[1] - math.isqrt(usual_positions[1]) ** 2  # a class token, for example
    side = math.isqrt(max(0, positions[1] - tokens))
    if side < 1 or side**2 + tokens != positions[1]:
        return {}
    patch = {} if patches[-1] == usual_patches[-1] else {"patch_size": patches[-1]}
    return {"img_size": side * patches[-1], **patch}


def _timms_windows(usual: Shapes, shapes: Shapes) -> dict[str, int]:
    """The side of Swin's windows and that of the images, if the windows are not the ``usual`` ones.

    The table of relative positions in a window of w × w has (2w - 1)² rows. Each stage halves the image, down to one
    window in the last stage, which is smaller than the others where the image is.
    """
    names = [name for stage in range(len(usual)) if (name := _TIMMS_WINDOWS.format(stage)) in usual]
    patches = shapes.get(_TIMMS_PATCHES, ())
    if any(len(shapes.get(name, ())) != 2 or shapes[name][1] != usual[name][1] for name in names) or len(patches) != 4:
        return {}
    sides, usual_sides = ([(math.isqrt(one[name][0]) + 1) // 2 for name in names] for one in (shapes, usual))
    if sides == usual_sides or not all(0 < side <= _LARGEST_WINDOW for side in sides):
        return {}
    window = {} if sides[0] == usual_sides[0] else {"window_size": sides[0]}
    return {**window, "img_size": sides[-1] * 2 ** (len(sides) - 1) * patches[-1]}
