"""Writing a file so that it is either whole or not there, and so that no link leads to another file instead."""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from bnsharp_cli.errors import UsageError
from bnsharp_cli.io.files.printable_text import shown_path
from bnsharp_cli.io.files.regular_files import reason_of

_PART = ".part"
_READ_AND_WRITE = 0o666  # what the process's umask leaves of it
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_IN_PLACE = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ARGUMENT = "output"
"""The argument that names most files."""

_CHECK_PATH = "Check the path and the free space."


def require_writable(path: Path, argument: str = _ARGUMENT) -> None:
    """Refuse a file that :func:`write_atomically` could not write, before the work whose result it is to hold.

    Args:
        path: of the file.
        argument: that names it, for the error.

    Raises:
        UsageError: the folder does not exist or cannot be written to, or ``path`` is a link or no regular file.
    """
    temporary = _name_beside(path)
    try:
        os.close(_create(path, temporary, argument))
    finally:
        _remove(temporary)


def require_writable_folder(folder: Path, argument: str = _ARGUMENT) -> None:
    """Refuse a folder that cannot be made or written to; it is not made.

    Args:
        folder: to write to.
        argument: that names it, for the error.

    Raises:
        UsageError: it, or the nearest folder above it that exists, cannot be written to.
    """
    try:
        existing = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
        why = "" if existing.is_dir() else f"{shown_path(existing)} is not a folder"
    except (OSError, ValueError) as error:
        why = reason_of(error)
    if why:
        raise unwritable_folder(folder, why, argument)
    require_writable(existing / "copy", argument)


def unwritable_folder(folder: Path, why: str, argument: str) -> UsageError:
    """The refusal of a folder that cannot be written to.

    Args:
        folder: that is refused.
        why: what is wrong with it.
        argument: that names it.
    """
    return UsageError(
        f"Cannot write to {shown_path(folder)}: {why}.",
        "Name another folder.",
        argument=argument,
        expected="a folder that can be written to",
        found=why,
    )


def write_atomically(path: Path, write: Callable[[BinaryIO], object], argument: str = _ARGUMENT) -> None:
    """Call ``write`` on a temporary file beside ``path``, flush it to disk and rename it into place.

    Args:
        path: of the file.
        write: writes its content to the stream that it is given.
        argument: that names the file, for the error.

    Raises:
        UsageError: the folder does not exist or cannot be written to, or ``path`` is a link or no regular file.
    """
    temporary = _name_beside(path)
    try:
        with os.fdopen(_create(path, temporary, argument), "wb") as stream:
            write(cast(BinaryIO, stream))
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        _remove(temporary)
        raise _unwritable(path, reason_of(error), _CHECK_PATH, argument) from error
    except BaseException:
        _remove(temporary)
        raise


def write_text_atomically(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all.

    Raises:
        UsageError: as :func:`write_atomically`.
    """
    write_atomically(path, lambda stream: stream.write(text.encode()))


def remove_leftovers(path: Path) -> None:
    """Remove temporary files of :func:`write_atomically` that a killed process left beside ``path``."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*{_PART}"):
        leftover.unlink(missing_ok=True)


def append_at(path: Path, offset: int, text: str) -> int:
    """Write ``text`` behind the first ``offset`` bytes of a file, and cut off what stood there before.

    Returns:
        The length of the file.

    Raises:
        UsageError: the file is shorter than that, is a link or has another name too, or cannot be written to.
    """
    try:
        with os.fdopen(_open_in_place(path, create=not offset), "r+b") as stream:
            length = stream.seek(0, os.SEEK_END)
            if length < offset:
                raise UsageError(
                    f"{shown_path(path)} has lost lines that were written to it.",
                    "Put it back, or start anew.",
                    argument=_ARGUMENT,
                    expected=f"at least {offset} bytes",
                    found=f"{length} bytes",
                )
            stream.truncate(offset)
            stream.seek(offset)
            stream.write(text.encode())
            stream.flush()
            os.fsync(stream.fileno())
            return stream.tell()
    except (OSError, ValueError) as error:
        raise _unwritable(path, reason_of(error), _CHECK_PATH, _ARGUMENT) from error


def _open_in_place(path: Path, create: bool) -> int:
    """A descriptor of the regular file at ``path`` that has no other name, links not followed."""
    _require_no_link(path, _ARGUMENT)
    descriptor = os.open(path, _IN_PLACE | (os.O_CREAT if create else 0), _READ_AND_WRITE)
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
        return descriptor
    os.close(descriptor)
    raise _unwritable(path, "it is not a regular file of this name alone", f"Remove {shown_path(path)}.", _ARGUMENT)


def _name_beside(path: Path) -> Path:
    """The name of a temporary file: nobody can foresee it, and an interruption at any moment finds it to remove."""
    return path.parent / f".{path.name}.{secrets.token_hex(8)}{_PART}"


def _remove(temporary: Path) -> None:
    with contextlib.suppress(OSError, ValueError):  # such as that of a folder that does not exist
        temporary.unlink()


def _create(path: Path, temporary: Path, argument: str) -> int:
    """A descriptor of the new, empty file ``temporary`` that is to become ``path``."""
    try:
        _require_no_link(path, argument)
        if path.exists() and not path.is_file():
            raise _unwritable(path, "it is not a regular file", "Name a file.", argument)
        return os.open(temporary, _NEW, _READ_AND_WRITE)
    except (OSError, ValueError) as error:
        remedy = "Name a file in an existing folder that you may write to."
        raise _unwritable(path, reason_of(error), remedy, argument) from error


def _require_no_link(path: Path, argument: str) -> None:
    """Refuse to write where a link stands: somebody else may have put it there to have another file overwritten."""
    if path.is_symlink():
        remedy = f"Remove the link {shown_path(path)}, or name the file that it leads to."
        raise _unwritable(path, "it is a link to another file", remedy, argument)


def _unwritable(path: Path, why: str, remedy: str, argument: str) -> UsageError:
    return UsageError(
        f"Cannot write {shown_path(path)}: {why}.",
        remedy,
        argument=argument,
        expected="a file that can be written",
        found=why,
    )
