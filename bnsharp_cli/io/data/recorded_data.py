"""The data that ``train`` records in a checkpoint, so that a measurement finds it again.

Paths are recorded as seen from the checkpoint's folder, so they say little of the machine. A checkpoint may be a
stranger's: a function that it names is never called, and a path is followed only into the checkpoint's folder or the
working directory. For everything else the refusal says what to type.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnsharp_cli.io.data.sources import TORCHVISION

_WITH_PATHS = ("folder", "npz")
_LONGEST = 4096


@dataclass(frozen=True)
class RecordedData:
    """Data as a checkpoint names it.

    Attributes:
        spec: what to name it by, as seen from the working directory.
        root: the folder of torchvision's data sets; None for none.
        usable: whether it may be opened without being asked for.
    """

    spec: str
    root: Path | None
    usable: bool


def data_record(spec: str, root: Path | None, checkpoint: Path) -> dict[str, str]:
    """The entry ``data_source`` of a checkpoint.

    Args:
        spec: the data, as the user named it.
        root: the folder of torchvision's data sets.
        checkpoint: the file that it is written to.
    """
    kind, _, argument = spec.partition(":")
    folder = checkpoint.resolve().parent
    if kind in _WITH_PATHS and argument:
        return {"data": f"{kind}:{os.path.relpath(Path(argument).resolve(), folder)}"}
    if spec in TORCHVISION and root is not None:
        return {"data": spec, "data_root": os.path.relpath(root.resolve(), folder)}
    return {"data": spec}


def recorded_data(metadata: Mapping[str, Any], checkpoint: Path) -> RecordedData | None:
    """What a checkpoint records of its data; None where that is nothing that ``train`` writes."""
    entry = metadata.get("data_source")
    spec, root = (entry.get("data"), entry.get("data_root")) if isinstance(entry, Mapping) else (None, None)
    if not (_can_be_path(spec) and _can_be_path(root or "")):
        return None
    if spec == "digits":
        return RecordedData(spec, None, usable=True)
    kind, _, argument = str(spec).partition(":")
    if kind in _WITH_PATHS and argument:
        path, usable = _found(argument, checkpoint)
        return RecordedData(f"{kind}:{path}", None, usable)
    if spec in TORCHVISION and root:
        path, usable = _found(root, checkpoint)
        return RecordedData(spec, path, usable)
    return None


def _can_be_path(entry: object) -> bool:
    if not isinstance(entry, str) or len(entry) > _LONGEST or "\0" in entry:
        return False
    try:
        os.fsencode(entry)
    except UnicodeEncodeError:
        return False
    return True


def _found(recorded: str, checkpoint: Path) -> tuple[Path, bool]:
    """A recorded path as seen from the working directory, and whether it is there and may be followed."""
    here, folder = Path.cwd(), checkpoint.resolve().parent
    try:
        there = (folder / recorded).resolve()
        usable = there.exists() and any(home in there.parents for home in (folder, here.resolve()))
    except (OSError, RuntimeError):  # a circle of links, or a name that no file can have
        return Path(recorded), False
    inside = here.resolve() in there.parents
    return (there.relative_to(here.resolve()) if inside else there), usable
