"""Writing a file so that it is either whole or not there, and so that no link leads to another file instead."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from bnsharp_cli.errors import BnsharpError, UsageError
from bnsharp_cli.io.files.printable_text import shown_path
from bnsharp_cli.io.files.regular_files import reason_of

_PART = ".part"
_READ_AND_WRITE = 0o666  # what the process's umask leaves of it
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_IN_PLACE = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ARGUMENT = "output"
"""The argument that names most files."""

_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
_CHECK_FOLDER = "Name a file in an existing folder that you may write to."
_CHECK_PATH = "Check the path."

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""What ails a disk, and no argument."""
_MAKE_ROOM = "Make room on the disk, or name a file on another one."


def require_writable(path: Path, argument: str = _ARGUMENT) -> None:
    """Refuse a file that :func:`write_atomically` could not write, before the work whose result it is to hold.

    Args:
        path: of the file.
        argument: that names it, for the error.

    Raises:
        UsageError: the folder does not exist or cannot be written to, or ``path`` is a link or no regular file.
    """
    with _new_beside(path, argument) as (temporary, folder, descriptor):
        os.close(descriptor)
        _remove(temporary, folder)


def require_writable_folder(folder: Path, argument: str = _ARGUMENT) -> None:
    """Refuse a folder that cannot be made or written to; it is not made.

    Args:
        folder: to write to.
        argument: that names it, for the error.

    Raises:
        UsageError: it is a link, or it or the nearest folder above it that exists cannot be written to.
    """
    try:
        why, existing = "it is a link", folder.absolute()
        if not folder.is_symlink():
            existing = next(path for path in (existing, *existing.parents) if _is_there(path))
            why = "" if existing.is_dir() else f"{shown_path(existing)} is not a folder"
    except (OSError, ValueError) as error:
        why = reason_of(error)
    if why:
        raise _unwritable_folder(folder, why, argument)
    require_writable(existing / "copy", argument)


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _unwritable_folder(folder: Path, why: str, argument: str) -> UsageError:
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


def make_folder(folder: Path, argument: str = _ARGUMENT) -> None:
    """Make a folder that files are written to, with those above it, unless it is there.

    Raises:
        UsageError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable_folder(folder, reason_of(error), argument) from error


def write_atomically(path: Path, write: Callable[[BinaryIO], object], argument: str = _ARGUMENT) -> None:
    """Call ``write`` on a temporary file beside ``path``, flush it to disk and rename it into place.

    Args:
        path: of the file.
        write: writes its content to the stream that it is given.
        argument: that names the file, for the error.

    Raises:
        UsageError: the folder does not exist or cannot be written to, or ``path`` is a link or no regular file.
        BnsharpError: the disk is full.
    """
    with _new_beside(path, argument) as (temporary, folder, descriptor):
        try:
            with os.fdopen(descriptor, "wb") as stream:
                write(cast(BinaryIO, stream))
                stream.flush()
                os.fsync(stream.fileno())
            os.rename(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError as error:
            raise _failure(path, error, _CHECK_PATH, argument) from error


def write_text_atomically(path: Path, text: str, argument: str = _ARGUMENT) -> None:
    """Write ``text`` as UTF-8, whole or not at all.

    Raises:
        UsageError: as :func:`write_atomically`.
    """
    write_atomically(path, lambda stream: stream.write(text.encode()), argument)


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
                    subject=path,
                )
            stream.truncate(offset)
            stream.seek(offset)
            stream.write(text.encode())
            stream.flush()
            os.fsync(stream.fileno())
            return stream.tell()
    except (OSError, ValueError) as error:
        raise _failure(path, error, _CHECK_PATH, _ARGUMENT) from error


def _open_in_place(path: Path, create: bool) -> int:
    """A descriptor of the regular file at ``path`` that has no other name, links not followed."""
    _require_no_link(path, _ARGUMENT)
    descriptor = os.open(path, _IN_PLACE | (os.O_CREAT if create else 0), _READ_AND_WRITE)
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
        return descriptor
    os.close(descriptor)
    raise _unwritable(path, "it is not a regular file of this name alone", f"Remove {shown_path(path)}.", _ARGUMENT)


@contextmanager
def _new_beside(path: Path, argument: str) -> Iterator[tuple[str, int, int]]:
    """A new, empty file in the folder of ``path``, removed again if what is done inside fails.

    The folder is opened once. So what is found in it is what is written into, whatever its path leads to by then.

    Yields:
        The name of the file, which nobody can foresee; the descriptor of the folder; the descriptor of the file.
    """
    temporary = f".{path.name}.{secrets.token_hex(8)}{_PART}"
    try:
        folder = os.open(path.parent, _FOLDER)
    except (OSError, ValueError) as error:
        raise _failure(path, error, _CHECK_FOLDER, argument) from error
    try:
        _require_regular_or_none(path, folder, argument)
        yield temporary, folder, _create(path, temporary, folder, argument)
    except BaseException:
        _remove(temporary, folder)
        raise
    finally:
        os.close(folder)


def _remove(temporary: str, folder: int) -> None:
    with contextlib.suppress(OSError, ValueError):  # it was never made
        os.unlink(temporary, dir_fd=folder)


def _create(path: Path, temporary: str, folder: int, argument: str) -> int:
    try:
        return os.open(temporary, _NEW, _READ_AND_WRITE, dir_fd=folder)
    except (OSError, ValueError) as error:
        raise _failure(path, error, _CHECK_FOLDER, argument) from error


def _require_regular_or_none(path: Path, folder: int, argument: str) -> None:
    """Refuse to write where something else than a file stands, such as a link that somebody left."""
    try:
        mode = os.stat(path.name or os.curdir, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise _failure(path, error, _CHECK_FOLDER, argument) from error
    if stat.S_ISLNK(mode):
        raise _link(path, argument)
    if not stat.S_ISREG(mode):
        raise _unwritable(path, "it is not a regular file", "Name a file.", argument)


def _require_no_link(path: Path, argument: str) -> None:
    """Refuse to write where a link stands: somebody else may have put it there to have another file overwritten."""
    if path.is_symlink():
        raise _link(path, argument)


def _link(path: Path, argument: str) -> UsageError:
    remedy = f"Remove the link {shown_path(path)}, or name the file that it leads to."
    return _unwritable(path, "it is a link to another file", remedy, argument)


def _failure(path: Path, error: OSError | ValueError, remedy: str, argument: str) -> BnsharpError:
    """The failure to write a file: the user's mistake, unless the disk is full or broken."""
    if not isinstance(error, OSError) or error.errno not in _FULL:
        return _unwritable(path, reason_of(error), remedy, argument)
    why = reason_of(error)
    return BnsharpError(
        f"Cannot write {shown_path(path)}: {why}.",
        _MAKE_ROOM,
        argument=argument,
        expected="a disk with room for the file",
        found=why,
    )


def _unwritable(path: Path, why: str, remedy: str, argument: str) -> UsageError:
    return UsageError(
        f"Cannot write {shown_path(path)}: {why}.",
        remedy,
        argument=argument,
        expected="a file that can be written",
        found=why,
    )
