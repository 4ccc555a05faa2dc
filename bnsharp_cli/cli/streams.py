"""Standard error that never fails a command: what is said there matters less than the result and the exit code."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def forgiving_stderr() -> TextIO:
    """The process's standard error, of which the words are lost that cannot be written, as on a disk that is full."""
    stream = sys.__stderr__
    if stream is None:
        return io.StringIO()
    descriptor = io.BufferedWriter(_Forgiving(stream.fileno(), "wb", closefd=False))
    return io.TextIOWrapper(descriptor, stream.encoding, "backslashreplace", line_buffering=True)


class _Forgiving(io.FileIO):
    """A descriptor for which everything counts as written."""

    def write(self, data: ReadableBuffer, /) -> int:
        """How many bytes were written, or were lost."""
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes
