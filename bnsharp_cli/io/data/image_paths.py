"""The paths of the images in a class folder and below it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bnsharp_cli.io.data.naming import NamedDataError
from bnsharp_cli.io.data.reading_progress import ReadingProgress
from bnsharp_cli.io.files.printable_text import escaped

ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Of the files that count as images, as for ImageFolder; others are passed over."""

MOST_ENTRIES = 2**25
"""Files and folders that are looked through: more than in any data set of images."""

_EVERY = 20_000
_REMEDY = "Replace or remove it."


@dataclass(frozen=True)
class ImagePaths:
    """What was found in a class folder and below.

    Attributes:
        files: the paths of all images, by the names of their folders and then by their own.
        folders: the paths of the folders that have images.
        hidden: how many images and folders were passed over because their names begin with a dot.
    """

    files: tuple[str, ...]
    folders: tuple[str, ...]
    hidden: int


def is_hidden(name: str) -> bool:
    """Whether a file or a folder is a tool's own: Jupyter's checkpoints, the Finder's notes.

    >>> is_hidden(".ipynb_checkpoints"), is_hidden("__MACOSX"), is_hidden("n01440764")
    (True, True, False)
    """
    return name.startswith(".") or name == "__MACOSX"


def images_below(top: Path, progress: ReadingProgress) -> ImagePaths:
    """The images in a class folder and below.

    Raises:
        NamedDataError: a link to a folder, something named as an image that is no file, or more than can be looked at.
    """
    if Path(os.path.realpath(top)) in [parent := Path(os.path.realpath(top.parent)), *parent.parents]:
        raise NamedDataError(f"The link {escaped(top)} leads back to a folder it lies in.", _REMEDY)
    waiting, found = [str(top)], {}
    count = hidden = 0
    while waiting:
        current = waiting.pop()
        names: list[str] = []
        with os.scandir(current) as entries:
            for entry in entries:
                count += 1
                if count > MOST_ENTRIES:
                    raise NamedDataError(f"{escaped(top)} has more than {MOST_ENTRIES} files.", "Divide it.")
                if count % _EVERY == 0:
                    progress(f"{count:,} files found in {escaped(top)}")
                folder = entry.is_dir(follow_symlinks=False)
                if is_hidden(entry.name):
                    hidden += folder or entry.name.lower().endswith(ENDINGS)
                elif folder:
                    waiting.append(entry.path)
                elif _is_image(entry):
                    names.append(entry.name)
        found[current] = sorted(names)
    ordered = sorted(folder for folder, names in found.items() if names)
    files = (os.path.join(folder, name) for folder in ordered for name in found[folder])  # noqa: PTH118  # a million
    return ImagePaths(tuple(files), tuple(ordered), hidden)


def _is_image(entry: os.DirEntry[str]) -> bool:
    """Whether a file is named as an image."""
    if entry.name.lower().endswith(ENDINGS):
        if not entry.is_file():
            kind = "not a regular file" if Path(entry.path).exists() else "a link that leads nowhere"
            raise NamedDataError(f"{escaped(entry.path)} is {kind}.", _REMEDY)
        return True
    if entry.is_symlink() and entry.is_dir():
        raise NamedDataError(
            f"{escaped(entry.path)} is a link to a folder, followed only where it is a class folder.", _REMEDY
        )
    return False
