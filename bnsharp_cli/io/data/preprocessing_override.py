"""What the user says of the preprocessing of images."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.io.data.preprocessing import LARGEST_SIDE, Preprocessing

_CHANNELS = "one finite number per channel, std positive"


@dataclass(frozen=True)
class PreprocessingOverride:
    """What the user changes of a preprocessing; None leaves a part as it is.

    Attributes:
        image_size: height and width that the network sees, in pixels; 0 keeps the images' own size.
        mean: one number per channel.
        std: one positive number per channel.
        resize: the shorter side that images are resized to, in pixels, before their centre is kept.
        crop: height and width of the centre; as ``resize`` where only that is given.
    """

    image_size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    resize: int | None = None
    crop: int | None = None

    @property
    def sized(self) -> bool:
        """Whether it says which size the network sees."""
        return self.image_size is not None or self.resize is not None

    @property
    def whole(self) -> bool:
        """Whether it leaves nothing to the checkpoint."""
        return self.sized and None not in (self.mean, self.std)

    def apply(self, preprocessing: Preprocessing) -> Preprocessing:
        """``preprocessing`` with the user's numbers.

        Raises:
            UsageError: a size out of range, sizes that contradict each other, ``mean`` without ``std``, numbers that
                are not finite or, for ``std``, not positive, or different numbers of channels.

        >>> changed = PreprocessingOverride(64, mean=(0.5,), std=(0.5,)).apply(Preprocessing(224))
        >>> changed.image_size, changed.shorter_side, changed.mean
        (64, 64, (0.5,))
        """
        preprocessing = self._sized(preprocessing)
        if self.mean is None and self.std is None:
            return preprocessing
        mean, std = (given or () for given in (self.mean, self.std))
        if len(mean) != len(std) or not all(map(math.isfinite, (*mean, *std))) or min(std, default=1.0) <= 0:
            raise UsageError(
                f"{named('mean')} and {named('std')}: expected both, {_CHANNELS}.",
                f"For example {named('mean')} 0.5,0.5,0.5 {named('std')} 0.5,0.5,0.5.",
                argument="std" if self.mean is None else "mean",
                expected=_CHANNELS,
                found=(self.mean, self.std),
            )
        return replace(preprocessing, mean=mean, std=std)

    def _sized(self, preprocessing: Preprocessing) -> Preprocessing:
        """``preprocessing`` with the user's sizes."""
        for name, size, least in (
            ("image_size", self.image_size, 0),
            ("resize", self.resize, 1),
            ("crop", self.crop, 1),
        ):
            if size is not None and not least <= size <= LARGEST_SIDE:
                raise UsageError.of(name, f"{least} to {LARGEST_SIDE}", size, "For example 224.")
        if self.image_size is not None:
            if self.resize is not None or self.crop is not None:
                raise UsageError(
                    f"{named('image_size')} is the same as {named('resize')} and {named('crop')} of one size.",
                    f"Leave {named('image_size')} out.",
                    argument="image_size",
                    expected=f"nothing beside {named('resize')} and {named('crop')}",
                    found=self.image_size,
                )
            side = self.image_size or None
            return replace(preprocessing, image_size=side, shorter_side=side, stretched=False)
        if self.resize is None and self.crop is None:
            return preprocessing
        side = self.resize or preprocessing.shorter_side
        size = self.crop or side
        if side is None or size is None or size > side:
            found = f"{size} of {'images of their own size' if side is None else side}"
            raise UsageError.of(
                "crop",
                f"the centre of images that {named('resize')} makes as large",
                found,
                f"For example {named('resize')} 256 {named('crop')} 224.",
            )
        stretched = preprocessing.stretched and self.resize is None
        return replace(preprocessing, image_size=size, shorter_side=side, stretched=stretched)
