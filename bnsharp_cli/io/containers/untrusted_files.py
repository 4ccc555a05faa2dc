"""The door: an untrusted path becomes an open regular file of bearable size, or a refusal."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.containers.remedies import COPY_AGAIN
from bnsharp_cli.io.files.printable_text import shown_path
from bnsharp_cli.io.files.regular_files import (
    NotRegularFileError,
    RegularFile,
    open_regular,
    open_regular_inside,
    reason_of,
)

_LARGEST_FILE = 64 * 2**30


@contextmanager
def open_untrusted(path: Path) -> Iterator[RegularFile]:
    """Open a regular file; the path may lead anywhere.

    Raises:
        CheckpointRefusedError: missing, unreadable, empty, too large or not a regular file.
    """
    try:
        opened = open_regular(path)
    except NotRegularFileError as error:
        raise CheckpointRefusedError(
            f"{shown_path(path)} is not a regular file.",
            "Name a checkpoint file.",
            expected="a regular file",
            found="something else",
            subject=path,
        ) from error
    except (OSError, ValueError) as error:
        raise _cannot_open(path, error) from error
    with opened as file:
        _require_bearable_size(file)
        yield file


def open_folder(path: Path) -> int:
    """A descriptor of a folder, which the caller closes.

    Raises:
        CheckpointRefusedError: it may not be read, or is none.
    """
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise _cannot_open(path, error) from error


@contextmanager
def open_inside(folder: Path, name: str, descriptor: int) -> Iterator[RegularFile | None]:
    """Open a regular file that lies in a folder itself; ``None`` for anything else, a link too.

    Args:
        folder: for the messages.
        name: of the file.
        descriptor: of the folder.

    Raises:
        CheckpointRefusedError: it may not be read, or is too large.
    """
    try:
        opened = open_regular_inside(folder, name, descriptor)
    except NotRegularFileError:
        yield None
        return
    except (OSError, ValueError) as error:
        raise _cannot_open(folder / name, error) from error
    with opened as file:
        require_bearable(file.path, file.size)
        yield file


def require_unchanged(file: RegularFile) -> None:
    """Refuse a file that was written to since it was opened.

    Raises:
        CheckpointRefusedError: size or time of modification differ.
    """
    if not file.is_unchanged():
        raise CheckpointRefusedError(
            f"{shown_path(file.path)} changed while it was read.",
            "Wait until it is written.",
            expected="a file that nobody writes to",
            found="another size or time of modification",
            subject=file.path,
        )


def is_folder(path: Path) -> bool:
    """Whether a path names a folder.

    Raises:
        CheckpointRefusedError: it names nothing, or nothing that can be looked at.
    """
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError) as error:
        raise _cannot_open(path, error) from error


def exists(path: Path) -> bool:
    """Whether there is something at a path.

    Raises:
        CheckpointRefusedError: the system does not tell, because a folder on the way may not be looked into.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        raise _cannot_open(path, error) from error
    return True


def _cannot_open(path: Path, error: OSError | ValueError) -> CheckpointRefusedError:
    why = reason_of(error)
    return CheckpointRefusedError(
        f"Cannot open {shown_path(path)}: {why}.",
        "Check the path and its permissions.",
        expected="a file that can be read",
        found=why,
        subject=path,
    )


def _require_bearable_size(file: RegularFile) -> None:
    if file.size == 0:
        raise CheckpointRefusedError(
            f"{shown_path(file.path)} is empty.",
            COPY_AGAIN,
            expected="a checkpoint",
            found="0 bytes",
            subject=file.path,
        )
    require_bearable(file.path, file.size)


def require_bearable(path: Path, size: int) -> None:
    """Refuse more bytes than can be held.

    Raises:
        CheckpointRefusedError: more than the machine's memory, or than 64 GiB.
    """
    limit = min(_LARGEST_FILE, _memory())
    if size > limit:
        most = f"{limit / 2**30:.0f} GiB"
        raise CheckpointRefusedError(
            f"{shown_path(path)} has {size / 2**30:.1f} GiB, more than the {most} that can be read.",
            "Save the weights alone.",
            expected=f"at most {most}",
            found=f"{size} bytes",
            subject=path,
        )


def _memory() -> int:
    """Bytes of memory that the machine has, where it tells."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return _LARGEST_FILE
