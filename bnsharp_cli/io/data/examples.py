"""One example of a data set that is not ours, read as (image, label), or refused with what it is instead.

Data sets answer with pairs, or with dictionaries as Hugging Face's do. What could mean two things, such as a third part
or an array whose channels may be its first or its last axis, is refused, because the wrong choice would give a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bnsharp_cli.errors import indefinite, shown
from bnsharp_cli.io.data.naming import NamedDataError
from bnsharp_cli.io.files.printable_text import one_line
from bnsharp_cli.measurement.surface.data_stream import Batch

IMAGE_KEYS = ("image", "img", "pixel_values", "images", "input", "inputs", "input_values", "x", "features")
LABEL_KEYS = ("label", "labels", "target", "targets", "y")
"""The names that dictionaries of examples have for their two parts, in any case."""

_CHANNELS = {1, 3, 4}
_SIGNED = {torch.int8, torch.int16, torch.int32, torch.int64}
_SHOWN = 6
_PAIR = "Return (image, label) from its __getitem__."
_A_LABEL = "a number or a tensor as the label"
_LABELS = "Return a class number from 0, or a tensor that the loss takes."
_NUMBERS = "Convert it to a tensor: images (C, H, W), or inputs of any shape that the network takes."


class _UnfitExampleError(Exception):
    """What an example is instead of what was expected."""

    def __init__(self, expected: str, found: str, remedy: str) -> None:
        super().__init__()
        self.expected, self.found, self.remedy = expected, found, remedy


def read_example(example: object, name: str) -> Batch:
    """The input of an example, as :func:`unit_range` has it, and its target.

    Args:
        example: what the data set answered with.
        name: of the example, for the errors.

    Raises:
        NamedDataError: with what was expected and what was found.
    """
    try:
        image, label = _parts(example)
        return pixels(image), _target(label)
    except _UnfitExampleError as unfit:
        raise NamedDataError(
            f"Cannot read {name}: expected {unfit.expected}, found {unfit.found}.",
            unfit.remedy,
            expected=unfit.expected,
            found=unfit.found,
        ) from None


def described(value: object) -> str:
    """What a value is, in a few words.

    >>> described((torch.zeros(3, 8, 8), 4)), described({"img": None})
    ('a tuple of 2: a Tensor (3, 8, 8), 4', 'a dictionary with img')
    """
    if isinstance(value, Tensor | np.ndarray):
        return f"{indefinite(type(value).__name__)} {tuple(value.shape)}"
    if isinstance(value, Image.Image):
        return f"a PIL image {value.width} × {value.height} in mode {value.mode}"
    if isinstance(value, Mapping):
        keys = [one_line(key, 40) for key in list(value)[:_SHOWN]]
        return f"a dictionary with {', '.join(keys) or 'nothing'}{', …' if len(value) > _SHOWN else ''}"
    if isinstance(value, tuple | list):
        parts = [described(one) if not isinstance(one, tuple | list) else type(one).__name__ for one in value[:_SHOWN]]
        more = ", …" if len(value) > _SHOWN else ""
        return f"{indefinite(type(value).__name__)} of {len(value)}{': ' * bool(parts)}{', '.join(parts)}{more}"
    if value is None or isinstance(value, bool | int | float | np.number):
        return shown(value)
    return f"{indefinite(type(value).__name__)} '{one_line(value, 40)}'" if isinstance(value, str) else _kind(value)


def pixels(image: Any) -> Tensor:
    """The numbers of a tensor, an array or a PIL image, as :func:`unit_range` has them; images become (C, H, W)."""
    if isinstance(image, Tensor):
        if image.is_complex() or image.is_sparse:
            raise _UnfitExampleError("real numbers as the input", f"a Tensor of {image.dtype}", _NUMBERS)
        return unit_range(image)
    if isinstance(image, Image.Image):
        if image.mode == "P":
            remedy = 'Convert it: image.convert("RGB").'
            raise _UnfitExampleError("an image of colours", f"{described(image)}, numbers of a palette", remedy)
        array = np.array(image)
        return unit_range(torch.from_numpy(array if array.ndim == 3 else array[..., None]).movedim(-1, 0)).float()
    return unit_range(torch.from_numpy(_channels_first(_array(image))))


def unit_range(images: Tensor) -> Tensor:
    """Floats; bytes scaled to [0, 1]; signed whole numbers as int64, because they may be tokens."""
    if images.dtype == torch.uint8:
        return images.float().div_(255)  # in place: of a large image, each copy counts
    return images.long() if images.dtype in _SIGNED else images.float()


def _parts(example: object) -> tuple[Any, Any]:
    if isinstance(example, Mapping):
        return _named_part(example, IMAGE_KEYS, "an image"), _named_part(example, LABEL_KEYS, "a label")
    if not isinstance(example, tuple | list) or len(example) != 2:
        raise _UnfitExampleError("(image, label)", described(example), _PAIR)
    return example[0], example[1]


def _named_part(example: Mapping[Any, Any], keys: tuple[str, ...], part: str) -> Any:
    found = [key for key in example if isinstance(key, str) and key.lower() in keys]
    if len(found) != 1:
        raise _UnfitExampleError(f"one entry with {part} ({', '.join(keys)})", described(example), _PAIR)
    return example[found[0]]


def _array(image: object) -> np.ndarray[Any, Any]:
    """Nested lists of numbers, or what numpy takes for an array of them."""
    if isinstance(image, str | bytes | Mapping | type(None)) or (
        isinstance(image, list | tuple) and _holds_arrays(image)
    ):
        raise _UnfitExampleError("an image or a tensor as the input", described(image), _NUMBERS)
    try:
        array = np.asarray(image)
    except Exception as error:  # lists of unequal lengths, or an object that answers as it likes
        raise _UnfitExampleError("an image or a tensor as the input", described(image), _NUMBERS) from error
    if array.dtype.kind not in "biuf":
        found = described(array) + f" of {array.dtype}" if isinstance(image, np.ndarray) else described(image)
        raise _UnfitExampleError("numbers as the input", found, _NUMBERS)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _channels_first(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(C, H, W) of an image whose channels are first or last; a grey one of bytes gets its axis; others as they are."""
    if array.ndim == 2 and array.dtype == np.uint8:
        array = array[None]
    if array.ndim == 3 and array.shape[-1] in _CHANNELS:
        if array.shape[0] in _CHANNELS:
            remedy = "Return a tensor (C, H, W)."
            raise _UnfitExampleError("an array that tells its channels", described(array), remedy)
        array = np.moveaxis(array, -1, 0)
    return np.ascontiguousarray(array)


def _target(label: Any) -> Tensor:
    if label is None or isinstance(label, str | bytes | Mapping):
        raise _UnfitExampleError(_A_LABEL, described(label), _LABELS)
    try:
        return torch.as_tensor(label)
    except Exception as error:  # whatever the data set gave, torch cannot read it
        raise _UnfitExampleError(_A_LABEL, described(label), _LABELS) from error


def _holds_arrays(parts: list[Any] | tuple[Any, ...]) -> bool:
    return any(isinstance(part, Tensor | np.ndarray | Image.Image | Mapping | str) for part in parts)


def _kind(value: object) -> str:
    return indefinite(type(value).__name__)
