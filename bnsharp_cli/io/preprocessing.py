"""What is done to an image before the network sees it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bnsharp_cli.errors import CheckpointRefusedError, DataRefusedError


@dataclass(frozen=True)
class Preprocessing:
    """Resize, then subtract a mean and divide by a standard deviation per channel.

    Attributes:
        image_size: height and width after resizing; None leaves the size alone.
        mean: one number per channel, for images in [0, 1]; empty means zero.
        std: likewise, positive; empty means one.
    """

    image_size: int | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def resize(self, images: Tensor) -> Tensor:
        """Resize (C, H, W) or (N, C, H, W) to ``image_size``, bilinear with antialiasing as torchvision does."""
        if self.image_size is None or tuple(images.shape[-2:]) == (self.image_size, self.image_size):
            return images
        stacked = images if images.ndim == 4 else images.unsqueeze(0)
        size = (self.image_size, self.image_size)
        return functional.interpolate(stacked, size, mode="bilinear", antialias=True).reshape(*images.shape[:-2], *size)

    def normalise(self, images: Tensor) -> Tensor:
        """Normalise (N, C, H, W) images in [0, 1], channel by channel.

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
        mean = torch.tensor(self.mean, dtype=images.dtype).reshape(1, -1, 1, 1)
        std = torch.tensor(self.std, dtype=images.dtype).reshape(1, -1, 1, 1)
        return (images - mean) / std

    def to_dict(self) -> dict[str, object]:
        """Plain containers, for checkpoints and reports."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, entries: Mapping[str, object]) -> Preprocessing:
        """The inverse of :meth:`to_dict`.

        Raises:
            CheckpointRefusedError: an entry of the wrong kind.
        """
        size, mean, std = (
            entries.get("image_size"),
            _numbers(entries.get("mean")),
            _numbers(entries.get("std")),
        )
        sound = (size is None or (isinstance(size, int) and 0 < size <= 4096)) and mean is not None
        if not sound or std is None or len(mean or ()) != len(std) or any(value <= 0 for value in std):
            raise CheckpointRefusedError(
                "The checkpoint's 'preprocessing' entry is not {image_size, mean, std}, finite, with positive std.",
                "Write the checkpoint again with `bnsharp train`.",
            )
        return cls(size if isinstance(size, int) else None, mean or (), std)


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
