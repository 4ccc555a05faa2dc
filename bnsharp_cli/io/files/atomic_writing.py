"""Writing a file so that it is either whole or not there, and no other file instead: links are never followed."""

from __future__ import annotations

import contextlib
import glob
import os
import stat
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from bnsharp_cli.errors import UsageError

_PART = ".part"


def require_writable(path: Path) -> None:
    """Refuse a file that :func:`write_atomically` could not write, before the work whose result it is to hold.

    Raises:
        UsageError: the folder does not exist or cannot be written to, or ``path`` is something else than a file.
    """
    temporary = _name_beside(path)
    try:
        os.close(_create(path, temporary))
    finally:
        _remove(temporary)


def require_writable_folder(folder: Path) -> None:
    """Refuse a folder that cannot be made or written to; it is not made.

    Raises:
        UsageError: it, or the nearest folder above it that exists, cannot be written to.
    """
    existing = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
    if not existing.is_dir():
        raise UsageError(f"Cannot write to {folder}: {existing} is not a folder.", "Name another folder.")
    require_writable(existing / "copy")


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Call ``write`` on a temporary file beside ``path``, flush it to disk and rename it into place.

    Raises:
        UsageError: the folder does not exist or cannot be written to, or ``path`` is a link or no regular file.
    """
    temporary = _name_beside(path)
    try:
        with os.fdopen(_create(path, temporary), "wb") as stream:
            write(cast(BinaryIO, stream))
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        _remove(temporary)
        raise UsageError(f"Cannot write {path}: {error.strerror}.", "Check the path and the free space.") from error
    except BaseException:
        _remove(temporary)
        raise


def write_text_atomically(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all."""
    write_atomically(path, lambda stream: stream.write(text.encode()))


def remove_leftovers(path: Path) -> None:
    """Remove temporary files of :func:`write_atomically` that a killed process left beside ``path``."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*{_PART}"):
        leftover.unlink(missing_ok=True)


def append_at(path: Path, offset: int, text: str) -> int:
    """Let ``text`` follow the first ``offset`` bytes of a file, and nothing follow it.

    Returns:
        The length of the file.

    Raises:
        UsageError: the file is shorter than that, is a link or has another name too, or cannot be written to.
    """
    try:
        with os.fdopen(_open_in_place(path, create=not offset), "r+b") as stream:
            if stream.seek(0, os.SEEK_END) < offset:
                raise UsageError(f"{path} has lost lines that were written to it.", "Put it back, or start anew.")
            stream.truncate(offset)
            stream.seek(offset)
            stream.write(text.encode())
            stream.flush()
            os.fsync(stream.fileno())
            return stream.tell()
    except OSError as error:
        raise UsageError(f"Cannot write {path}: {error.strerror}.", "Check the path and the free space.") from error


def _open_in_place(path: Path, create: bool) -> int:
    """A descriptor of the regular file at ``path`` that has no other name, links not followed."""
    _require_no_link(path)
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags | (os.O_CREAT if create else 0), 0o666)
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
        return descriptor
    os.close(descriptor)
    raise UsageError(f"Cannot write {path}: it is not a regular file of this name alone.", f"Remove {path}.")


def _name_beside(path: Path) -> Path:
    """Of a temporary file; known before there is one, so that an interruption at any moment finds it to remove."""
    return path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}{_PART}"


def _remove(temporary: Path) -> None:
    with contextlib.suppress(OSError):  # such as that of a folder that is none, in which there is nothing to remove
        temporary.unlink()


def _create(path: Path, temporary: Path) -> int:
    """A descriptor of the new, empty file ``temporary`` that is to become ``path``."""
    _require_no_link(path)
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"Cannot write {path}: it is not a regular file.", "Name a file.")
        return os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(
            f"Cannot write {path}: {error.strerror}.",
            "Name a file in an existing folder that you may write to.",
        ) from error


def _require_no_link(path: Path) -> None:
    """Refuse to write where a link stands: somebody else may have put it there to have another file overwritten."""
    if path.is_symlink():
        raise UsageError(
            f"Cannot write {path}: it is a link to another file.",
            f"Remove the link {path}, or name the file that it leads to.",
        )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
