"""A folder of images as torchvision's ImageFolder reads it, for folders that somebody else packed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from bnsharp_cli.errors import named
from bnsharp_cli.io.data.class_folders import LAYOUT, find_class_folders, refuse, require_classes
from bnsharp_cli.io.data.examples import pixels
from bnsharp_cli.io.data.forms import AS_THEY_ARE
from bnsharp_cli.io.data.image_files.outline import LARGEST_DECODING
from bnsharp_cli.io.data.image_files.read_image import opened_image
from bnsharp_cli.io.data.image_paths import ENDINGS, ImagePaths, images_below
from bnsharp_cli.io.data.naming import NamedDataError
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.data.reading_progress import ReadingProgress, silent
from bnsharp_cli.io.data.splits import require_room, require_shape, stacked
from bnsharp_cli.io.files.printable_text import escaped, shown_path
from bnsharp_cli.io.files.regular_files import reason_of
from bnsharp_cli.measurement.surface.data_stream import Batch

_COPIES, _FLOAT = 11, 4
"""Bytes of a pixel in Pillow's memory before and after its mode changes and in an array; and of each number."""

_NONE = ImagePaths((), (), 0)


@dataclass(frozen=True)
class ImageFolder:
    """Images in class folders.

    Attributes:
        classes: names of the class folders; class i is the i-th.
        files: paths of all images, by class.
        labels: the class of each.
        notices: what the user must know of how the classes were found, a line each.
    """

    classes: tuple[str, ...]
    files: tuple[str, ...]
    labels: Tensor
    notices: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    def load(self, indices: Tensor, preprocessing: Preprocessing) -> Batch:
        """The images at ``indices`` as RGB, or as greyscale where the preprocessing is for one channel.

        Raises:
            NamedDataError: an image that cannot be read, is too large, or is of another size than the first.
        """
        numbers = indices.tolist()
        mode = "L" if len(preprocessing.mean) == 1 else "RGB"
        examples: list[Batch] = []

        def fits(number: int, size: tuple[int, int]) -> None:
            shape = len(mode), *reversed(size)
            if preprocessing.image_size is None:
                self._require_own_size(number, shape, examples[0][0] if examples else None)
            else:
                shape = len(mode), preprocessing.image_size, preprocessing.image_size
            require_room(len(numbers), math.prod(shape), self.name_of(number))

        for number in numbers:
            example = preprocessing.resize(pixels(self._decoded(number, mode, partial(fits, number))))
            examples.append((example, self.labels[number]))
        return stacked(examples, numbers, self.name_of)

    def _decoded(self, number: int, mode: str, require: Callable[[tuple[int, int]], None]) -> Image.Image:
        """One image, of whose size ``require`` is told before it is decoded; nothing else of its file is left."""
        with opened_image(Path(self.files[number])) as image:
            require(image.size)
            image.load()
            return image if image.mode == mode else image.convert(mode)

    def _require_own_size(self, number: int, shape: tuple[int, ...], first: Tensor | None) -> None:
        """Refuse an image before it is decoded that no network sees in this size, or that is unlike the first."""
        if first is not None:
            require_shape(self.name_of(number), shape, tuple(first.shape))
        channels, height, width = shape
        if width * height * (_COPIES + _FLOAT * channels) > LARGEST_DECODING:
            refuse(
                f"{self.name_of(number)} has {width} × {height} pixels, which a network would see all at once.",
                f"Have them resized with {named('image_size')}.",
            )

    def name_of(self, index: int) -> str:
        """The path of image ``index``, fit to print."""
        return escaped(self.files[index])


def open_image_folder(
    root: Path, split: str, progress: ReadingProgress = silent, *, classes: str | None = None
) -> ImageFolder:
    """A folder of class folders of images, or one that has ``train`` and ``test`` (or ``val``) folders of that form.

    Links to images and to class folders are followed, wherever they lead; other links to folders are refused.

    Args:
        root: the folder.
        split: ``train`` or ``test``.
        progress: told from time to time how many images were found.
        classes: ``folder`` takes the folders for the classes as they are, ``alphabetical`` orders numbers as texts.

    Raises:
        NamedDataError: no such folder, split, class or image, folders that are hardly classes, or something in it that
            is no image and no folder.
    """
    try:
        found = find_class_folders(root, split, classes)
        each = [images_below(found.folder / name, progress) if name in found.there else _NONE for name in found.names]
    except OSError as error:
        raise NamedDataError(f"Cannot read {escaped(error.filename or root)}: {reason_of(error)}.", LAYOUT) from error
    if classes != AS_THEY_ARE:
        require_classes(found, each)
    for name, images in zip(found.names, each, strict=True):
        if name in found.there and not images.files:
            refuse(f"The class folder {escaped(found.folder / name)} has no images: expected {', '.join(ENDINGS)}.")
    files = tuple(file for images in each for file in images.files)
    labels = torch.repeat_interleave(torch.tensor([len(images.files) for images in each]))
    hidden = found.hidden + sum(images.hidden for images in each)
    passed_over = f"{hidden} hidden files or folders in {shown_path(found.folder)} are passed over"
    return ImageFolder(found.names, files, labels, (*found.notices, *[passed_over] * bool(hidden)))
