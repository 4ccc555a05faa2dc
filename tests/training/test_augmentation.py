"""Crops and flips against one image at a time, padded before it is normalised."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from bnsharp_cli.errors import UsageError
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.training.augmentation import Augmentation

PREPROCESSING = Preprocessing(None, (0.4, 0.5, 0.1), (0.2, 0.3, 0.7))
BLACK = PREPROCESSING.normalise(torch.zeros(1, 3, 1, 1))


def one_by_one(image: Tensor, top: int, left: int, mirrored: bool) -> Tensor:
    """Pad with black, cut out, mirror: what the words say."""
    height, width = image.shape[1:]
    window = functional.pad(image, (4, 4, 4, 4))[:, top : top + height, left : left + width]
    return window.flip(2) if mirrored else window


@pytest.mark.parametrize("names", [("crop",), ("flip",), ("crop", "flip"), ("flip", "crop")])
@pytest.mark.parametrize("size", [(8, 8), (5, 9)])
def test_each_image_is_padded_cut_and_mirrored(names: tuple[str, ...], size: tuple[int, int]) -> None:
    images = torch.rand(40, 3, *size, generator=torch.Generator().manual_seed(0))
    augmented = Augmentation(names, BLACK)(PREPROCESSING.normalise(images), torch.Generator().manual_seed(5))
    draws = torch.Generator().manual_seed(5)
    tops, lefts = torch.full((2, 40), 4)
    if "crop" in names:
        tops, lefts = torch.randint(9, (2, 40, 1), generator=draws)[..., 0]
    mirrored = torch.randint(2, (40, 1), generator=draws)[:, 0] if "flip" in names else torch.zeros(40)
    expected = [one_by_one(images[i], int(tops[i]), int(lefts[i]), bool(mirrored[i])) for i in range(40)]
    assert torch.equal(augmented, PREPROCESSING.normalise(torch.stack(expected)))
    assert augmented.is_contiguous()
    assert 0 < mirrored.sum() < 40 or "flip" not in names


def test_every_place_and_both_sides_come_up_about_equally_often() -> None:
    """A single bright pixel tells where its image went: 9 × 9 places, each of 8,100 expected a hundred times."""
    image = torch.zeros(1, 1, 17, 17)
    image[0, 0, 8, 8] = 1
    moved = Augmentation(("crop",), torch.zeros(1, 1, 1, 1))(
        image.expand(8100, -1, -1, -1), torch.Generator().manual_seed(1)
    )
    places = moved.flatten(1).argmax(1)
    counts = torch.stack([places // 17, places % 17]).unique(dim=1, return_counts=True)[1]
    assert len(counts) == 81
    assert float(((counts - 100) ** 2 / 100).sum()) < 130  # χ² of 80 degrees of freedom: p = 3e-4
    left = torch.zeros(1, 1, 1, 2)
    left[..., 0] = 1
    flipped = Augmentation(("flip",), torch.zeros(1, 1, 1, 1))(
        left.expand(10_000, -1, -1, -1), torch.Generator().manual_seed(2)
    )
    assert abs(float(flipped[..., 0].mean()) - 0.5) < 0.02


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(UsageError, match="augment: found inputs of 1 dimensions"):
        Augmentation(("flip",), torch.zeros(1, 1, 1, 1))(torch.zeros(3, 4), torch.Generator())
