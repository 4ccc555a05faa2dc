"""A file that is opened once: what was checked is what is read."""

from __future__ import annotations

import copy
import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bnsharp_cli.errors import CheckpointRefusedError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

COPY_AGAIN = "Copy or save the checkpoint again."
CHUNK = 2**20
_LARGEST_FILE = 64 * 2**30


class OpenFile:
    """A regular file through one descriptor, so that nobody can put another in its place between check and load."""

    def __init__(self, path: Path, stream: io.FileIO) -> None:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointRefusedError(f"{path} is not a regular file.", "Name a checkpoint file.")
        if status.st_size == 0:
            raise CheckpointRefusedError(f"{path} is empty.", COPY_AGAIN)
        limit = min(_LARGEST_FILE, _memory())
        if status.st_size > limit:
            raise CheckpointRefusedError(
                f"{path} has {status.st_size / 2**30:.1f} GiB, more than the {limit / 2**30:.0f} GiB that can be read.",
                "Save the weights alone.",
            )
        self.path = path
        self.size = status.st_size
        self._stream, self._start = stream, 0
        self._written = (status.st_size, status.st_mtime_ns)

    def part(self, offset: int, length: int) -> OpenFile:
        """A stretch of the file as if it were a file of its own."""
        part = copy.copy(self)
        part.size, part._start = min(length, self.size - offset), self._start + offset
        return part

    def read(self, offset: int, length: int) -> bytes:
        """The bytes from ``offset`` on, fewer than ``length`` at the end of the file."""
        return self.window(offset, max(0, min(length, self.size - offset))).read()

    def chunks(self, offset: int, length: int) -> Iterator[bytes]:
        """The same in pieces of a mebibyte."""
        window = self.window(offset, length)
        while chunk := window.read(CHUNK):
            yield chunk

    def window(self, offset: int = 0, length: int | None = None) -> io.BufferedReader:
        """A part of the file that looks like a file of its own, without a descriptor to go around it."""
        length = self.size - offset if length is None else length
        return io.BufferedReader(_Window(self._stream, self._start + offset, length))

    def sha256(self) -> str:
        """The digest of all bytes, in hexadecimal digits."""
        return hashlib.file_digest(self.window(), "sha256").hexdigest()

    def descriptor_path(self) -> Path:
        """A path to the descriptor itself where the system has one."""
        own = Path("/dev/fd") / str(self._stream.fileno())
        return own if own.exists() else self.path

    def require_unchanged(self) -> None:
        """Refuse a file that was written to meanwhile.

        Raises:
            CheckpointRefusedError: size or time of modification differ.
        """
        status = os.fstat(self._stream.fileno())
        if (status.st_size, status.st_mtime_ns) != self._written:
            raise CheckpointRefusedError(f"{self.path} changed while it was read.", "Wait until it is written.")


@contextmanager
def opened(path: Path) -> Iterator[OpenFile]:
    """Open a regular file; pipes and devices neither block nor notice.

    Raises:
        CheckpointRefusedError: missing, unreadable, empty, too large or not a regular file.
    """
    if not stat.S_ISREG(_mode(path)):
        raise CheckpointRefusedError(f"{path} is not a regular file.", "Name a checkpoint file.")
    try:
        stream = io.FileIO(path, opener=_open_without_waiting)
    except (OSError, ValueError) as error:
        raise _unopened(path, error) from error
    with stream:
        yield OpenFile(path, stream)


def is_folder(path: Path) -> bool:
    """Whether a path names a folder.

    Raises:
        CheckpointRefusedError: it names nothing, or nothing that can be looked at.
    """
    return stat.S_ISDIR(_mode(path))


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except (OSError, ValueError) as error:
        raise _unopened(path, error) from error


def _unopened(path: Path, error: OSError | ValueError) -> CheckpointRefusedError:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return CheckpointRefusedError(f"Cannot open {path}: {reason}.", "Check the path and its permissions.")


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return _LARGEST_FILE


class _Window(io.RawIOBase):
    def __init__(self, stream: io.FileIO, start: int, length: int) -> None:
        super().__init__()
        self._stream, self._start, self._length = stream, start, length
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        if base + offset < 0:
            raise OSError("seek before the beginning")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        wanted = max(0, min(len(view), self._length - self._position))
        self._stream.seek(self._start + self._position)
        count = self._stream.readinto(view[:wanted]) or 0
        self._position += count
        return count
