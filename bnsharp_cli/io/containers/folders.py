"""The files of a ``torch.distributed.checkpoint`` folder, and where the checkpoints of another folder are.

Only what lies in a folder counts, and nothing that it leads to.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.containers.describe import TABLE
from bnsharp_cli.io.containers.untrusted_files import exists, open_folder, open_inside
from bnsharp_cli.io.files.printable_text import shown_path
from bnsharp_cli.io.files.regular_files import RegularFile, reason_of

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Names of the weights in directories of Hugging Face's libraries."""

_MOST_FILES = 256
_MOST_LISTED = 10_000
_LEVELS = 3
"""How many levels of folders inside a folder are searched for checkpoints."""

_SHOWN = 4
_ENDINGS = (".bin", ".ckpt", ".pkl", ".pt", ".pth", ".safetensors", ".tar", ".th")
_OF_A_RUN = re.compile(r"(?i)optim|sched|scaler|rng|random|sampler|dataloader|training_args|custom_checkpoint")
_MARKS = {TABLE, "config.json", *WEIGHTS}


@contextmanager
def folder_files(folder: Path) -> Iterator[list[RegularFile]]:
    """Open the files of a folder, its table of contents first; links are no files of it.

    Raises:
        CheckpointRefusedError: it is no such folder, or has too many files.
    """
    if not exists(folder / TABLE):
        kind = "a TensorFlow model" if exists(folder / "saved_model.pb") else "a folder"
        raise CheckpointRefusedError(
            f"{shown_path(folder)} is {kind}.", _remedy(checkpoints_in(folder)), found=kind, subject=folder
        )
    with ExitStack() as opened:
        descriptor = open_folder(folder)
        opened.callback(os.close, descriptor)
        files = []
        for name in [TABLE, *_names(folder, descriptor)]:
            file = opened.enter_context(open_inside(folder, name, descriptor))
            if file is None and name == TABLE:
                raise _refused(folder, f"its {TABLE} is no regular file of the folder itself")
            files += [file] if file is not None else []
        if files[0].size == 0:
            raise _refused(folder, f"its {TABLE} is empty")
        yield files


def checkpoints_of(path: Path) -> list[Path]:
    """What looks like a checkpoint in a folder of several; the path itself where it is none.

    Args:
        path: of anything; a folder that is one checkpoint is no folder of several.
    """
    entries = {entry.name for entry in _listed(path, _MOST_LISTED)}
    return [path] if not entries or not _MARKS.isdisjoint(entries) else checkpoints_in(path) or [path]


def checkpoints_in(folder: Path) -> list[Path]:
    """What looks like a checkpoint by its name, in a folder and a few levels below it: files, and folders that are one.

    Nothing is opened. The state of an optimiser and the like is left out.
    """
    found: list[Path] = []
    level, left = [folder], _MOST_LISTED
    for _ in range(_LEVELS + 1):
        inner: list[Path] = []
        for path in level:
            entries = _listed(path, left)
            left -= len(entries)
            names = {entry.name for entry in entries}
            if path != folder and not _MARKS.isdisjoint(names):
                found.append(path)
                continue
            files = (entry.name for entry in entries if entry.is_file(follow_symlinks=False))
            found += [path / name for name in sorted(files) if name.endswith(_ENDINGS) and not _OF_A_RUN.search(name)]
            inner += [path / entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        level = sorted(path for path in inner if not path.name.startswith("."))
    return found


def _listed(folder: Path, most: int) -> list[os.DirEntry[str]]:
    """The first entries of a folder, none of one that may not be read."""
    try:
        with os.scandir(folder) as entries:
            return [*islice(entries, most)]
    except OSError:
        return []


def _remedy(checkpoints: list[Path]) -> str:
    """What to name instead of the folder that they are in."""
    if not checkpoints:
        return "Name a checkpoint file."
    shown = ", ".join(f"'{shown_path(path)}'" for path in checkpoints[:_SHOWN])
    if len(checkpoints) == 1:
        return f"Name the checkpoint in it: {shown}."
    more = f" and {len(checkpoints) - _SHOWN} more" if len(checkpoints) > _SHOWN else ""
    return f"Name one of the checkpoints in it: {shown}{more}."


def _names(folder: Path, descriptor: int) -> list[str]:
    """The names of what else lies in the folder."""
    try:
        with os.scandir(descriptor) as entries:
            listed = [entry.name for entry in islice(entries, _MOST_LISTED) if entry.is_file(follow_symlinks=False)]
    except OSError as error:
        raise _refused(folder, reason_of(error)) from error
    names = sorted(name for name in listed if name != TABLE)
    if len(names) > _MOST_FILES:
        raise _refused(folder, f"it has more than {_MOST_FILES} files")
    return names


def _refused(folder: Path, reason: str) -> CheckpointRefusedError:
    return CheckpointRefusedError(
        f"{shown_path(folder)} is not read: {reason}.",
        "Name a folder that torch.distributed.checkpoint wrote.",
        expected="a folder of torch.distributed.checkpoint",
        found=reason,
        subject=folder,
    )
