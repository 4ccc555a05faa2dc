"""Random crops and flips of a batch of images (He et al. 2016, section 4.2), drawn anew for every batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bnsharp_cli.errors import UsageError, named

PADDING = 4
"""Pixels of black on each side, from which a crop of the old size is taken."""


@dataclass(frozen=True)
class Augmentation:
    """What is done to a batch of images before a step.

    Attributes:
        names: ``crop``, which pads with black and cuts out a window at a random place, or ``flip``, which mirrors half
            of the images left to right, or both.
        black: (1, C, 1, 1), the value of a black pixel after normalisation.

    >>> mirrored = Augmentation(("flip",), torch.zeros(1, 1, 1, 1))
    >>> images = torch.tensor([1.0, 2.0]).expand(4, 1, 1, 2)
    >>> mirrored(images, torch.Generator().manual_seed(0)).flatten(1).tolist()
    [[1.0, 2.0], [2.0, 1.0], [2.0, 1.0], [1.0, 2.0]]
    """

    names: tuple[str, ...]
    black: Tensor

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return randomly cropped and mirrored images.

        Args:
            images: (N, C, H, W), normalised.
            generator: on the CPU; draws one place, then one side, for each image.

        Raises:
            UsageError: the inputs are not images.
        """
        if images.ndim != 4:
            dimensions = images.ndim - 1
            raise UsageError(
                f"{named('augment')}: found inputs of {dimensions} dimensions.",
                "It is for images.",
                argument="augment",
                expected="inputs of 3 dimensions (C, H, W)",
                found=dimensions,
            )
        count, _, height, width = images.shape
        rows, columns = torch.arange(height).expand(count, -1), torch.arange(width).expand(count, -1)
        if "crop" in self.names:
            places = torch.randint(2 * PADDING + 1, (2, count, 1), generator=generator)
            rows, columns = rows + places[0], columns + places[1]
            images = self._padded(images)
        if "flip" in self.names:
            mirrored = torch.randint(2, (count, 1), generator=generator).bool()
            columns = torch.where(mirrored, columns.flip(1), columns)
        which = torch.arange(count)[:, None, None]
        return images.movedim(1, -1)[which, rows[:, :, None], columns[:, None, :]].movedim(-1, 1).contiguous()

    def _padded(self, images: Tensor) -> Tensor:
        """The images with ``PADDING`` black pixels on each side."""
        count, channels, height, width = images.shape
        black = self.black.to(images)
        padded = black.expand(count, channels, height + 2 * PADDING, width + 2 * PADDING).clone()
        padded[..., PADDING:-PADDING, PADDING:-PADDING] = images
        return padded
