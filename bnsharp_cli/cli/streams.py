"""The streams of the command, so that neither an encoding nor a full disk loses a result or its exit code.

Standard error never fails a command: what is said there matters less. Standard output holds a readable replacement for
each character that its encoding lacks.
"""

from __future__ import annotations

import codecs
import io
import sys
from typing import TYPE_CHECKING, TextIO

from bnsharp_cli.io.files.encodable_text import READABLE, readable_replacements

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_FAILING = {"strict", "surrogateescape"}
"""What Python sets unless the user asks for another treatment by ``PYTHONIOENCODING``."""


def encode_all() -> None:
    """Let what is written to standard output and standard error hold replacements for what they cannot encode."""
    codecs.register_error(READABLE, readable_replacements)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in _FAILING:
            stream.reconfigure(errors=READABLE)


def say(line: str) -> None:
    """A line on standard error. typer's own function would take another encoding where the stream's is ASCII."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def forgiving_stderr() -> TextIO:
    """The process's standard error, of which the words are lost that cannot be written, as on a disk that is full."""
    stream = sys.__stderr__
    if stream is None:
        return io.StringIO()
    descriptor = io.BufferedWriter(_Forgiving(stream.fileno(), "wb", closefd=False))
    codecs.register_error(READABLE, readable_replacements)
    return io.TextIOWrapper(descriptor, stream.encoding, READABLE, line_buffering=True)


class _Forgiving(io.FileIO):
    """A descriptor for which everything counts as written."""

    def write(self, data: ReadableBuffer, /) -> int:
        """How many bytes were written, or were lost."""
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes
