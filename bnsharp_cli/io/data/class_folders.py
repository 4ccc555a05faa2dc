"""The class folders of a folder of images, and their order; a folder one level off is refused."""

from __future__ import annotations

import os
import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from bnsharp_cli.errors import named
from bnsharp_cli.io.data.forms import ALPHABETICAL, AS_THEY_ARE
from bnsharp_cli.io.data.image_paths import MOST_ENTRIES, ImagePaths, is_hidden
from bnsharp_cli.io.data.naming import NamedDataError
from bnsharp_cli.io.files.printable_text import escaped, shown_path

LAYOUT = "Lay it out as DIR/[train|test]/CLASS/IMAGE."
_SPLITS = {"train": ("train",), "test": ("test", "val", "valid", "validation")}
_NAMES_OF_SPLITS: tuple[str, ...] = sum(_SPLITS.values(), ())
_PARTS = frozenset(_NAMES_OF_SPLITS) | {
    *("training", "train_set", "training_set", "testing", "test_set", "dev", "eval", "unlabeled"),
    *("image", "images", "img", "imgs", "mask", "masks", "label", "labels", "annotations"),
}
"""Names of folders that divide a data set otherwise than into classes, when no folder beside them has another."""

_NUMBER = re.compile(r"[0-9]{1,18}")
_MOST_CLASSES = 2**17
_SHOWN = 3


@dataclass(frozen=True)
class ClassFolders:
    """The folders of the classes of one split.

    Attributes:
        folder: that they lie in.
        names: of all classes; class i is the i-th.
        there: the names of those that have a folder.
        notices: what the user must know of how they were found, a line each.
        hidden: how many folders were passed over because their names begin with a dot.
    """

    folder: Path
    names: tuple[str, ...]
    there: frozenset[str]
    notices: tuple[str, ...]
    hidden: int


def find_class_folders(root: Path, split: str, classes: str | None) -> ClassFolders:
    """The class folders of a split: ``root`` itself, or its folder ``train``, ``test``, ``val``, ``valid`` and so on.

    The classes are those of ``train`` where there is one, so that a class that the other split lacks moves no number.

    Args:
        root: the folder of the data.
        split: ``train`` or ``test``.
        classes: as ``--classes`` has it.

    Raises:
        NamedDataError: no such folder, no folder for this split, or a class that the training split lacks.
    """
    if not root.is_dir():
        refuse(f"{escaped(root)} is not a folder of class folders with images: {'file' if root.exists() else 'none'}.")
    inner = {name: found for name in _NAMES_OF_SPLITS if (found := _folders(root / name)).names}
    if inner or split != "train":
        name = _folder_of(root, split, inner)
        folder, found = root / name, inner[name]
    else:
        name, folder, found = split, root, _folders(root)
    if not found.names:
        refuse(f"{escaped(root)} is not a folder of class folders with images: it has no folders.")
    names, notice = _ordered(inner["train"].names if "train" in inner else found.names, classes)
    notices = [f"the {split} split is read from {shown_path(folder)}"] * (name != split) + [notice] * bool(notice)
    if lacking := [one for one in names if one not in found.names]:
        notices.append(f"{shown_path(folder)} has no folder of {_some(lacking)}; classes are numbered as in train")
    return ClassFolders(folder, names, frozenset(found.names), tuple(notices), found.hidden)


def is_undivided_folder(root: Path) -> bool:
    """Whether a folder has class folders, and none of a split."""
    try:
        return bool(_folders(root).names) and not any(_folders(root / name).names for name in _NAMES_OF_SPLITS)
    except (OSError, ValueError):  # whoever opens it says what is wrong
        return False


def require_classes(found: ClassFolders, images: Iterable[ImagePaths]) -> None:
    """Refuse folders that are hardly classes: a single one, parts of a data set, or ones with class folders in them.

    Args:
        found: the class folders.
        images: what was found in each.

    Raises:
        NamedDataError: naming the folder to give instead where one is there.
    """
    inner = _folders_of_classes(found.folder, (folder for one in images for folder in one.folders))
    if len(found.names) == 1:
        reason = f"{escaped(found.folder)} has one class folder, {_some(found.names)}, so that all labels would be 0."
    elif inner:
        reason = f"Folders in {escaped(found.folder)} hold class folders themselves: {_some(sorted(found.names))}."
    elif {name.casefold() for name in found.names} <= _PARTS:
        reason = f"The folders in {escaped(found.folder)} are parts of a data set, not classes: {_some(found.names)}."
    else:
        return
    options = [_folder_option(folder) for folder in inner[:_SHOWN]]
    others = f" (or one of {len(inner) - _SHOWN} more)" if len(inner) > _SHOWN else ""
    give = f"Give {' or '.join(options)}{others}." if options else LAYOUT
    refuse(reason, f"{give} If they are the classes, add {named('classes')} {AS_THEY_ARE}.")


def _folder_option(folder: Path) -> str:
    """How a user names a folder, fit to be copied into a shell."""
    return f"{named('data')} {shlex.quote(f'folder:{shown_path(folder)}')}"


def _folders_of_classes(top: Path, with_images: Iterable[str]) -> list[Path]:
    """The folders below ``top`` that hold several folders with images, each no such folder itself.

    Of folders ``train``, ``val`` and so on beside each other, the folder they lie in is meant.
    """
    children: dict[str, set[str]] = defaultdict(set)
    for folder in with_images:
        while folder != str(top):
            parent, child = os.path.dirname(folder), folder  # noqa: PTH120  # there may be a million
            if child in children[parent]:
                break
            children[parent].add(child)
            folder = parent
    holders = {folder for folder, inner in children.items() if len(inner) > 1}
    above = {str(parent) for folder in holders for parent in Path(folder).parents}
    innermost = {Path(folder) for folder in holders - above if folder != str(top)}
    return sorted(
        {
            folder.parent if folder.name in _NAMES_OF_SPLITS and folder.parent / "train" in innermost else folder
            for folder in innermost
        }
    )


@dataclass(frozen=True)
class _Folders:
    """The names of the folders in one, and how many hidden ones were passed over."""

    names: tuple[str, ...] = ()
    hidden: int = 0


def _folder_of(root: Path, split: str, inner: dict[str, _Folders]) -> str:
    """The name of the folder of a split; of several, the first whose classes are all in the training split."""
    named_so = [name for name in _SPLITS[split] if name in inner]
    if not named_so:
        give = [f" Or give {_folder_option(root / name)}." for name in inner if split == "train"]
        has = _some(_folders(root).names)
        refuse(f"{escaped(root)} has no '{split}' folder with class folders: it has {has}.", LAYOUT + "".join(give[:1]))
    if "train" not in inner:
        return named_so[0]
    strange = {name: sorted({*inner[name].names} - {*inner["train"].names}) for name in named_so}
    fitting = [name for name, names in strange.items() if not names]
    if not fitting:
        first = named_so[0]
        refuse(
            f"{escaped(root / first)} has class folders that train lacks: {_some(strange[first])}.",
            f"Name the folders of the classes as in {escaped(root / 'train')}.",
        )
    return fitting[0]


def _folders(path: Path) -> _Folders:
    """The folders in one, in the order of their names; those of tools, whose names begin with a dot, are counted."""
    if not path.is_dir():
        return _Folders()
    names: list[str] = []
    hidden = 0
    with os.scandir(path) as entries:
        for count, entry in enumerate(entries):
            if is_hidden(entry.name):
                hidden += entry.is_dir()
            elif entry.is_dir():
                names.append(entry.name)
            if len(names) > _MOST_CLASSES or count > MOST_ENTRIES:
                refuse(f"{escaped(path)} has more than {_MOST_CLASSES} class folders, or {MOST_ENTRIES} files.")
    return _Folders(tuple(sorted(names)), hidden)


def _ordered(names: Sequence[str], classes: str | None) -> tuple[tuple[str, ...], str]:
    """The names in the order of the classes, and a line where that is not the alphabetical one."""
    alphabetical = tuple(sorted(names))
    if classes == ALPHABETICAL or not all(map(_NUMBER.fullmatch, names)):
        return alphabetical, ""
    ordered = tuple(sorted(names, key=lambda name: (int(name), name)))
    if ordered == alphabetical:
        return ordered, ""
    return ordered, (
        f"the class folders are numbers and ordered as numbers ({_some(ordered)}); {named('classes')} {ALPHABETICAL} "
        f"orders them as torchvision's ImageFolder does ({_some(alphabetical)})"
    )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(escaped(name, 40) for name in names[:_SHOWN]) or "no folders"
    return f"{shown}, …" if len(names) > _SHOWN else shown


def refuse(problem: str, remedy: str = LAYOUT) -> NoReturn:
    """Refuse a folder with a sentence that names it.

    Raises:
        NamedDataError: always.
    """
    raise NamedDataError(problem, remedy)
