"""The one opener of files to read: regular files only, because a pipe may never end and a device is no data.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     path = Path(folder) / "digits.bin"
...     _ = path.write_bytes(b"0123456789")
...     with open_regular(path) as file:
...         file.size, file.read(2, 3), file.is_unchanged()
(10, b'234', True)
"""

from __future__ import annotations

import copy
import errno
import fcntl
import hashlib
import io
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_LAST_STANDARD_STREAM = 2

CHUNK = 2**20
"""Bytes that are read at a time where a file is read from end to end."""


class NotRegularFileError(OSError):
    """There is something at the path, but it is a folder, a pipe, a socket or a device."""

    def __init__(self) -> None:
        super().__init__(None, "not a regular file")


class FileIdentity(NamedTuple):
    """What stays the same for as long as a file is the same and nobody writes to it."""

    device: int
    inode: int
    size: int
    modified: int


class RegularFile:
    """A regular file behind one descriptor: what was checked is what is read, whatever the path leads to by then.

    Every read names its offset, so several readers do not disturb each other.

    Attributes:
        path: the path that it was opened by.
        stream: the descriptor, for libraries that need one; unbuffered.
        identity: as it was when the file was opened.
        size: in bytes; of a :meth:`part`, the length of the part.
    """

    def __init__(self, path: Path, stream: io.FileIO) -> None:
        self.path, self.stream = path, stream
        self.identity = _identity(os.fstat(stream.fileno()))
        self.size = self.identity.size
        self._start = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stream.close()

    def is_unchanged(self) -> bool:
        """Whether size and time of modification are what they were when the file was opened."""
        return _identity(os.fstat(self.stream.fileno())) == self.identity

    def part(self, offset: int, length: int) -> RegularFile:
        """The ``length`` bytes from ``offset`` on, as if they were a file of their own."""
        part = copy.copy(self)
        part.size, part._start = min(length, self.size - offset), self._start + offset
        return part

    def read(self, offset: int, length: int) -> bytes:
        """The ``length`` bytes from ``offset`` on; fewer at the end of the file."""
        return self.window(offset, max(0, min(length, self.size - offset))).read()

    def read_into(self, buffer: WriteableBuffer, offset: int) -> int:
        """Fill ``buffer`` with the bytes from ``offset`` on; how many there were."""
        view = memoryview(buffer)
        wanted = min(view.nbytes, self.size - offset)
        if wanted <= 0:
            return 0
        return os.preadv(self.stream.fileno(), [view.cast("B")[:wanted]], self._start + offset)

    def chunks(self, offset: int, length: int) -> Iterator[bytes]:
        """The bytes that :meth:`read` returns, in pieces of at most ``CHUNK``."""
        window = self.window(offset, length)
        while chunk := window.read(CHUNK):
            yield chunk

    def window(self, offset: int = 0, length: int | None = None) -> io.BufferedReader:
        """A part of the file as a stream that has no descriptor, so that no library can read around it."""
        return io.BufferedReader(_Window(self.part(offset, self.size if length is None else length)))

    def sha256(self) -> str:
        """The digest of all bytes, in hexadecimal digits."""
        return hashlib.file_digest(self.window(), "sha256").hexdigest()


def open_regular(path: Path) -> RegularFile:
    """Open a regular file to read it, links followed, without waiting for a writer.

    The path is looked at before it is opened, because opening alone can change a device, and again afterwards, because
    another file may have taken its place.

    Raises:
        NotRegularFileError: there is something else than a regular file.
        OSError: there is nothing, or it may not be read.
        ValueError: no path can be like this.
    """
    _require_regular(path.stat())
    return _regular(path, os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))


def _regular(path: Path, descriptor: int) -> RegularFile:
    descriptor = _above_standard_streams(descriptor)
    try:
        _require_regular(os.fstat(descriptor))
        return RegularFile(path, io.FileIO(descriptor))
    except BaseException:
        os.close(descriptor)
        raise


def _above_standard_streams(descriptor: int) -> int:
    """The descriptor, or another one of the same file where the program was started without standard streams.

    A file with the number of a standard stream would be lost when a process is started that gets streams of its own.
    """
    if descriptor > _LAST_STANDARD_STREAM:
        return descriptor
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _LAST_STANDARD_STREAM + 1)
    finally:
        os.close(descriptor)


def open_regular_inside(folder: Path, name: str, descriptor: int) -> RegularFile:
    """Open a regular file that lies in the folder behind a descriptor, no link followed.

    Raises:
        NotRegularFileError: there is something else than a regular file, such as a link to one.
        OSError: there is nothing, or it may not be read.
        ValueError: no name can be like this.
    """
    _require_regular(os.stat(name, dir_fd=descriptor, follow_symlinks=False))
    opened = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=descriptor)
    return _regular(folder / name, opened)


def read_whole(path: Path, most: int, what: str, refused: Callable[[str], Exception]) -> bytes:
    """The content of a file that a user named and that has to be small.

    Args:
        path: of the file, links followed.
        most: bytes that it may have.
        what: the kind of file, for the reason.
        refused: the error from a reason, which begins with a verb.

    Raises:
        Exception: what ``refused`` made: there is no such file, it may not be read, or it is larger.
    """
    try:
        with open_regular(path) as file:
            if file.size > most:
                raise refused(f"has {file.size:,} bytes, at most {most:,} are {what}")
            return file.read(0, file.size)
    except (OSError, ValueError) as error:
        raise refused(f"cannot be read: {reason_of(error)}") from error


def read_beside(path: Path, most: int) -> bytes:
    """The content of a file whose name the user did not give, only that of its folder: no link is followed.

    Args:
        path: of the file.
        most: bytes that it may have.

    Raises:
        NotRegularFileError: there is something else than a regular file, such as a link to one.
        OSError: there is nothing, it may not be read, or it is larger.
        ValueError: no path can be like this.
    """
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with open_regular_inside(path.parent, path.name, folder) as file:
            if file.size > most:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
            return file.read(0, file.size)
    finally:
        os.close(folder)


def reason_of(error: BaseException) -> str:
    """What the operating system said, without its number and without the path, which the caller names."""
    stated = error.strerror if isinstance(error, OSError) else None
    return stated or str(error) or type(error).__name__


def _require_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise NotRegularFileError


def _identity(status: os.stat_result) -> FileIdentity:
    return FileIdentity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class _Window(io.RawIOBase):
    """The raw stream under a window: a position, and reads at it."""

    def __init__(self, part: RegularFile) -> None:
        super().__init__()
        self._part, self._position = part, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._part.size}[whence]
        if base + offset < 0:
            raise OSError("seek before the beginning")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        count = self._part.read_into(buffer, self._position)
        self._position += count
        return count
