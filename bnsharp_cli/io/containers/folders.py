"""The files of a ``torch.distributed.checkpoint`` folder: those that lie in it, and nothing that it leads to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.containers.describe import TABLE
from bnsharp_cli.io.containers.untrusted_files import exists, open_folder, open_inside
from bnsharp_cli.io.files.printable_text import shown_path
from bnsharp_cli.io.files.regular_files import RegularFile, reason_of

_MOST_FILES = 256
_MOST_LISTED = 10_000


@contextmanager
def folder_files(folder: Path) -> Iterator[list[RegularFile]]:
    """Open the files of a folder, its table of contents first; links are no files of it.

    Raises:
        CheckpointRefusedError: it is no such folder, or has too many files.
    """
    if not exists(folder / TABLE):
        kind = "a TensorFlow model" if exists(folder / "saved_model.pb") else "a folder"
        raise CheckpointRefusedError(
            f"{shown_path(folder)} is {kind}.", "Name a checkpoint file.", found=kind, subject=folder
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
