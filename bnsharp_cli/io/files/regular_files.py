"""Opening a file that is a file: what a stranger put there may be a pipe that never ends, or a device."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

Identity = tuple[int, ...]
"""Device, inode, size and time of change: the same for as long as a file is."""


def open_regular(path: Path) -> io.FileIO:
    """The regular file at ``path``, links followed, opened for reading without waiting for a writer.

    Raises:
        OSError: there is none, it may not be read, or it is no regular file.
    """
    _require_regular(path.stat())
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _require_regular(os.fstat(descriptor))
        return io.FileIO(descriptor)
    except BaseException:
        os.close(descriptor)
        raise


def identity(stream: io.FileIO | io.BufferedReader) -> Identity:
    """What tells whether an open file is the one it was."""
    status = os.fstat(stream.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def reason(error: BaseException) -> str:
    """An operating system's reason without its number and without the path, which the caller names."""
    stated = error.strerror if isinstance(error, OSError) else None
    return stated or str(error) or type(error).__name__


def _require_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(None, "not a regular file")
