"""A folder of images as torchvision's ImageFolder reads it, for folders that somebody else packed."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from bnsharp_cli.errors import DataRefusedError
from bnsharp_cli.io.data.naming import NamedDataError
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.data.reading_progress import ReadingProgress, silent
from bnsharp_cli.io.data.splits import pixels, require_room, stacked
from bnsharp_cli.io.files.printable_text import escaped, kind_and_line, one_line
from bnsharp_cli.io.files.regular_files import RegularFile, open_regular, reason_of
from bnsharp_cli.measurement.surface.data_stream import Batch

IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "PPM", "TIFF", "WEBP")
"""By content, whatever the name says: plain rasters, no animations, no documents, nothing that is a program."""

ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Of the files that count as images, as for ImageFolder; others are passed over."""

LARGEST_IMAGE = 2**26
"""Pixels, read off the header before anything is decoded."""

LARGEST_FILE = 2**27
_LARGEST_TILE = 2**24
_MOST_WORK = 2**30
"""Pixels times scans of a JPEG: each scan of a few bytes is a pass over all pixels."""

_TILE_TAGS = (322, 323)
_SCAN = b"\xff\xda"
_EVERY = 20_000
_DEEP = {"I", "F", "I;16", "I;16B", "I;16L", "I;16N"}
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
        channels = 1 if len(preprocessing.mean) == 1 else 3
        examples = []
        for number in numbers:
            path = Path(self.files[number])
            with _reading(path), _opened(path) as image:
                size = preprocessing.image_size
                width, height = image.size if size is None else (size, size)
                require_room(len(numbers), channels * width * height, self.name_of(number))
                example = preprocessing.resize(pixels(image.convert("L" if channels == 1 else "RGB")))
            examples.append((example, self.labels[number]))
        return stacked(examples, numbers, self.name_of)

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
    with os.scandir(path) as entries:
        return tuple(sorted(entry.name for entry in entries if entry.is_dir()))


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


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever Pillow raises about a file into our error."""
    try:
        yield
    except DataRefusedError:
        raise
    except Exception as error:  # Pillow's readers raise whatever they stumble over
        why = reason_of(error) if isinstance(error, OSError) else kind_and_line(error)
        if isinstance(error, UnidentifiedImageError):
            why = f"it is no {', '.join(IMAGE_FORMATS[:-1])} or {IMAGE_FORMATS[-1]} image"
        elif isinstance(error, Image.DecompressionBombError):
            why = f"it has more than {LARGEST_IMAGE / 1e6:.0f} million pixels"
        raise NamedDataError(f"Cannot read {escaped(path)}: {one_line(why)}.", "Replace or remove it.") from error


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The image, its header read and found harmless, nothing decoded yet."""
    with open_regular(path) as file, io.BufferedReader(file.stream) as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow warns of is refused here, or harmless
        with Image.open(stream, formats=IMAGE_FORMATS) as image:
            problem = _problem(image, file)
            if problem:
                _refuse(f"Cannot read {escaped(path)}: it {problem}.", "Replace or remove it.")
            yield image


def _problem(image: Image.Image, file: RegularFile) -> str:
    """Why an image is not decoded, or an empty string."""
    area, size = image.width * image.height, file.size
    tags = getattr(image, "tag_v2", {})
    width, height = (int(tags.get(tag, 1)) for tag in _TILE_TAGS)
    if area > LARGEST_IMAGE:
        return f"has {image.width} × {image.height} pixels, more than {LARGEST_IMAGE / 1e6:.0f} million"
    if size > LARGEST_FILE:
        return f"takes {size / 2**20:.0f} MiB, more than {LARGEST_FILE / 2**20:.0f}"
    if width * height > max(area, _LARGEST_TILE):
        return f"has tiles of {width} × {height} pixels"
    if image.mode in _DEEP:
        return f"has more than 8 bits a channel (mode {image.mode}); npz:FILE takes such images"
    if image.format in {"JPEG", "MPO"} and file.read(0, size).count(_SCAN) * area > _MOST_WORK:
        return "has too many scans"
    return ""


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(escaped(name, 40) for name in names[:3]) or "no folders"
    return f"{shown}, …" if len(names) > 3 else shown


def _refuse(problem: str, remedy: str = _LAYOUT) -> None:
    raise NamedDataError(problem, remedy)
