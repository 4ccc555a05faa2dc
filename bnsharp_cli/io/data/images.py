"""A folder of images as torchvision's ImageFolder reads it, for folders that somebody else packed."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from bnsharp_cli.errors import named
from bnsharp_cli.io.data.examples import pixels
from bnsharp_cli.io.data.image_files.outline import LARGEST_DECODING
from bnsharp_cli.io.data.image_files.read_image import opened_image
from bnsharp_cli.io.data.naming import NamedDataError
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.data.reading_progress import ReadingProgress, silent
from bnsharp_cli.io.data.splits import require_room, require_shape, stacked
from bnsharp_cli.io.files.printable_text import escaped
from bnsharp_cli.io.files.regular_files import reason_of
from bnsharp_cli.measurement.surface.data_stream import Batch

ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Of the files that count as images, as for ImageFolder; others are passed over."""

_MOST_CLASSES = 2**17
_MOST_ENTRIES = 2**25
"""Files and folders that are looked through: more than in any data set of images."""

_COPIES, _FLOAT = 11, 4
"""Bytes of a pixel in Pillow's memory before and after its mode changes and in an array; and of each number."""

_EVERY = 20_000
_LAYOUT = "Lay it out as DIR/[train|test]/CLASS/IMAGE."


@dataclass(frozen=True)
class ImageFolder:
    """Images in class folders; class i is the i-th name in alphabetical order.

    Attributes:
        classes: names of the class folders.
        files: paths of all images, by class.
        labels: the class of each.
    """

    classes: tuple[str, ...]
    files: tuple[str, ...]
    labels: Tensor

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
        for number in numbers:
            with opened_image(Path(self.files[number])) as image:
                shape = len(mode), *reversed(image.size)
                if preprocessing.image_size is None:
                    self._require_own_size(number, shape, examples[0][0] if examples else None)
                else:
                    shape = len(mode), preprocessing.image_size, preprocessing.image_size
                require_room(len(numbers), math.prod(shape), self.name_of(number))
                example = preprocessing.resize(pixels(image if image.mode == mode else image.convert(mode)))
            examples.append((example, self.labels[number]))
        return stacked(examples, numbers, self.name_of)

    def _require_own_size(self, number: int, shape: tuple[int, ...], first: Tensor | None) -> None:
        """Refuse an image before it is decoded that no network sees in this size, or that is unlike the first."""
        if first is not None:
            require_shape(self.name_of(number), shape, tuple(first.shape))
        channels, height, width = shape
        if width * height * (_COPIES + _FLOAT * channels) > LARGEST_DECODING:
            _refuse(
                f"{self.name_of(number)} has {width} × {height} pixels, which a network would see all at once.",
                f"Have them resized with {named('image_size')}.",
            )

    def name_of(self, index: int) -> str:
        """The path of image ``index``, fit to print."""
        return escaped(self.files[index])


def open_image_folder(root: Path, split: str, progress: ReadingProgress = silent) -> ImageFolder:
    """A folder of class folders of images, or one that has ``train`` and ``test`` folders of that form.

    Links to images and to class folders are followed, wherever they lead; other links to folders are refused.

    Args:
        root: the folder.
        split: ``train`` or ``test``.
        progress: told from time to time how many images were found.

    Raises:
        NamedDataError: no such folder, split, class or image, other classes in one split than in the other, or
            something in it that is no image and no folder.
    """
    try:
        chosen, classes = _split(root, split)
        files: list[str] = []
        labels: list[int] = []
        for number, name in enumerate(classes):
            found = _images(chosen / name, progress)
            if not found:
                _refuse(f"The class folder {escaped(chosen / name)} has no images: expected {', '.join(ENDINGS)}.")
            files += found
            labels += [number] * len(found)
    except OSError as error:
        raise NamedDataError(f"Cannot read {escaped(error.filename or root)}: {reason_of(error)}.", _LAYOUT) from error
    return ImageFolder(classes, tuple(files), torch.tensor(labels))


def _split(root: Path, split: str) -> tuple[Path, tuple[str, ...]]:
    """The folder of a split and its classes, which must be those of the other split."""
    if not root.is_dir():
        _refuse(f"{escaped(root)} is not a folder of class folders with images: {'file' if root.exists() else 'none'}.")
    splits = {name: root / name for name in ("train", "test") if _classes(root / name)}
    if not splits and split == "train":
        splits = {"train": root}
    if split not in splits:
        _refuse(f"{escaped(root)} has no '{split}' folder with class folders: it has {_some(_classes(root))}.")
    train, test = (_classes(splits.get(name, splits[split])) for name in ("train", "test"))
    for one, other, lacking in (("train", "test", set(test) - set(train)), ("test", "train", set(train) - set(test))):
        if lacking:
            _refuse(f"{escaped(root / one)} lacks class folders that {other} has: {_some(sorted(lacking))}.")
    if not train:
        _refuse(f"{escaped(root)} is not a folder of class folders with images: it has no folders.")
    return splits[split], train


def _classes(path: Path) -> tuple[str, ...]:
    """Its folders, in the order of their names."""
    if not path.is_dir():
        return ()
    names: list[str] = []
    with os.scandir(path) as entries:
        for count, entry in enumerate(entries):
            if entry.is_dir():
                names.append(entry.name)
            if len(names) > _MOST_CLASSES or count > _MOST_ENTRIES:
                _refuse(f"{escaped(path)} has more than {_MOST_CLASSES} class folders, or {_MOST_ENTRIES} files.")
    return tuple(sorted(names))


def _images(top: Path, progress: ReadingProgress) -> list[str]:
    """The images in a class folder and below, by the names of their folders and then by their own."""
    if Path(os.path.realpath(top)) in [parent := Path(os.path.realpath(top.parent)), *parent.parents]:
        _refuse(f"The link {escaped(top)} leads back to a folder it lies in.")
    waiting, found = [str(top)], {}
    count = 0
    while waiting:
        current = waiting.pop()
        names: list[str] = []
        with os.scandir(current) as entries:
            for entry in entries:
                count += 1
                if count > _MOST_ENTRIES:
                    _refuse(f"{escaped(top)} has more than {_MOST_ENTRIES} files.")
                if count % _EVERY == 0:
                    progress(f"{count:,} files found in {escaped(top)}")
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.name.lower().endswith(ENDINGS):
                    _require_file(entry)
                    names.append(entry.name)
                elif entry.is_symlink() and entry.is_dir():
                    _refuse(f"{escaped(entry.path)} is a link to a folder, followed only where it is a class folder.")
        found[current] = sorted(names)
    return [os.path.join(folder, name) for folder in sorted(found) for name in found[folder]]  # noqa: PTH118  # a million


def _require_file(entry: os.DirEntry[str]) -> None:
    if not entry.is_file():
        kind = "not a regular file" if Path(entry.path).exists() else "a link that leads nowhere"
        _refuse(f"{escaped(entry.path)} is {kind}.")


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(escaped(name, 40) for name in names[:3]) or "no folders"
    return f"{shown}, …" if len(names) > 3 else shown


def _refuse(problem: str, remedy: str = _LAYOUT) -> NoReturn:
    raise NamedDataError(problem, remedy)
