"""What is done to an image before the network sees it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from bnsharp_cli.errors import CheckpointRefusedError, DataRefusedError, named
from bnsharp_cli.io.checkpoints.image_processors import NOT_FOLLOWED
from bnsharp_cli.io.files.printable_text import one_line

INTERPOLATIONS = ("bilinear", "bicubic")
LARGEST_SIDE = 4096
_LARGEST_FIGURE, _SMALLEST_STD = 1e12, 1e-12
"""No mean or standard deviation of a channel comes near these, and images stay within float32."""

_LONGEST = 16
"""How many times as long as short an image may be before its ends, which the crop takes off, are left out first."""


@dataclass(frozen=True)
class Preprocessing:
    """Resize, cut out the centre, then subtract a mean and divide by a standard deviation per channel.

    Attributes:
        image_size: height and width the network sees; None leaves the size alone.
        mean: one number per channel, for images in [0, 1]; empty means zero.
        std: likewise, positive; empty means one.
        shorter_side: the image is resized to this shorter side, and its centre of ``image_size`` is kept; None resizes
            all of it to ``image_size``, whatever its proportions.
        interpolation: ``bilinear`` or ``bicubic``, with antialiasing.
        stretched: the image is resized to ``shorter_side`` both ways, whatever its proportions, before it is cut.
        rounded_down: a centre that is half a pixel off lies to the top left, as for transformers; else the half is
            rounded, as for torchvision.
    """

    image_size: int | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    shorter_side: int | None = field(default=None, kw_only=True)
    interpolation: str = field(default=INTERPOLATIONS[0], kw_only=True)
    stretched: bool = field(default=False, kw_only=True)
    rounded_down: bool = field(default=False, kw_only=True)

    def resize(self, images: Tensor) -> Tensor:
        """Resize (C, H, W) or (N, C, H, W) to ``image_size``, as torchvision does for floating images."""
        if self.image_size is None:
            return images
        images = _floating(images)
        if self.shorter_side is None:
            return self._interpolate(images, (self.image_size, self.image_size))
        whole = self._interpolate(images, (self.shorter_side,) * 2) if self.stretched else self._in_proportion(images)
        return self._centre(whole, self.image_size, self.image_size)

    def _in_proportion(self, images: Tensor) -> Tensor:
        """Images whose shorter side is ``shorter_side``, without the ends of very long ones."""
        height, width = images.shape[-2:]
        longest = _LONGEST * min(height, width)
        images = self._centre(images, min(height, longest), min(width, longest))
        shorter = min(images.shape[-2:])
        return self._interpolate(
            images, tuple(int((self.shorter_side or 0) * side / shorter) for side in images.shape[-2:])
        )

    def _centre(self, images: Tensor, height: int, width: int) -> Tensor:
        """The middle of (…, H, W) images, as torchvision's or transformers' centre crop places it."""
        rounding = math.floor if self.rounded_down else round
        top, left = (rounding((have - want) / 2) for have, want in zip(images.shape[-2:], (height, width), strict=True))
        return images[..., top : top + height, left : left + width]

    def most_pixels(self, height: int, width: int) -> int:
        """Pixels of an image of this size when it is largest, between being read and having its ends cut off."""
        if self.image_size is None:
            return height * width
        if self.shorter_side is None:
            return max(height * width, self.image_size**2)
        if self.stretched:
            return max(height * width, self.shorter_side**2)
        shorter, longer = sorted((height, width))
        proportion = min(longer / max(1, shorter), _LONGEST)
        return max(height * width, int(proportion * self.shorter_side**2))

    def _interpolate(self, images: Tensor, size: tuple[int, ...]) -> Tensor:
        if tuple(images.shape[-2:]) == size:
            return images
        stacked = images if images.ndim == 4 else images.unsqueeze(0)
        resized = functional.interpolate(stacked, size, mode=self.interpolation, antialias=True)
        return resized.reshape(*images.shape[:-2], *size)

    def normalise(self, images: Tensor) -> Tensor:
        """Normalise (N, C, …) images in [0, 1], or whatever else has channels, channel by channel.

        Raises:
            DataRefusedError: the images have another number of channels than ``mean``.
        """
        if not self.mean:
            return images
        if images.shape[1] != len(self.mean):
            raise DataRefusedError(
                f"The images have {images.shape[1]} channels, the preprocessing expects {len(self.mean)}.",
                "Use data with as many channels as the network was trained on.",
            )
        images = _floating(images)
        shape = (1, -1, *[1] * (images.ndim - 2))
        mean, std = (torch.tensor(figures, dtype=images.dtype).reshape(shape) for figures in (self.mean, self.std))
        return (images - mean) / std

    def __str__(self) -> str:
        size = "of their own size"
        if self.image_size is not None:
            whole = f"resized to {self.image_size} × {self.image_size}"
            resized = "both sides" if self.stretched else "shorter side"
            centre = f"{resized} {self.shorter_side}, centre {self.image_size} × {self.image_size}"
            size = f"{whole if self.shorter_side is None else centre}, {self.interpolation}"
        mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (self.mean, self.std))
        return f"{size}; mean {mean}; std {std}" if self.mean else f"{size}; not normalised"

    def to_dict(self) -> dict[str, object]:
        """Plain containers, for checkpoints and reports."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, entries: Mapping[str, object]) -> Preprocessing:
        """The inverse of :meth:`to_dict`; an entry that is left out is as in ``Preprocessing()``.

        Raises:
            CheckpointRefusedError: an entry of the wrong kind.
        """
        if NOT_FOLLOWED in entries:
            raise _not_followed(entries[NOT_FOLLOWED])
        mean, std = _numbers(entries.get("mean")), _numbers(entries.get("std"))
        size, side = _size(entries.get("image_size")), _size(entries.get("shorter_side"))
        interpolation = entries.get("interpolation", INTERPOLATIONS[0])
        matched = mean is not None and std is not None and len(mean) == len(std)
        matched = matched and all(_SMALLEST_STD < value < _LARGEST_FIGURE for value in std or ())
        matched = matched and all(abs(value) < _LARGEST_FIGURE for value in mean or ())
        sized = size is not None and side is not None and (not side or 0 < size <= side)
        flags = [entries.get(name, False) for name in ("stretched", "rounded_down")]
        known = interpolation in INTERPOLATIONS and all(type(flag) is bool for flag in flags)
        if not matched or not sized or not known:
            raise CheckpointRefusedError(
                "The checkpoint's 'preprocessing' entry is not {image_size, mean, std}, finite, moderate, std > 0.",
                "Write the checkpoint again with `bnsharp train`.",
            )
        how = {"stretched": bool(flags[0]), "rounded_down": bool(flags[1])}
        side = side or None
        return cls(size or None, mean or (), std or (), shorter_side=side, interpolation=str(interpolation), **how)


def _floating(images: Tensor) -> Tensor:
    """Images that were stored as whole numbers as the floating ones that they stand for."""
    return images if images.is_floating_point() else images.float()


def _not_followed(reason: object) -> CheckpointRefusedError:
    """The refusal of a preprocessing that its file describes and nothing here can do."""
    whole = ", ".join(named(argument) for argument in ("image_size", "mean", "std"))
    return CheckpointRefusedError(
        f"The preprocessing of the checkpoint's images cannot be followed: {one_line(reason)}.",
        f"Say what the network gets, with all of {whole}; {named('image_size')} 0 leaves the size of your images.",
        expected="a preprocessing that is followed here",
        found=one_line(reason),
    )


def _size(entry: object) -> int | None:
    """A side in pixels, 0 where none is stated; None where the entry is no size of an image."""
    if entry is None:
        return 0
    return entry if type(entry) is int and 0 < entry <= LARGEST_SIDE else None


def _numbers(entry: object) -> tuple[float, ...] | None:
    if entry is None:
        return ()
    if not isinstance(entry, list | tuple) or not all(isinstance(value, int | float) for value in entry):
        return None
    try:
        numbers = tuple(float(value) for value in entry)
    except OverflowError:
        return None
    return numbers if all(math.isfinite(number) for number in numbers) else None
