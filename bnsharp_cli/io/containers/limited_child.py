"""What runs in the limited process: it limits itself, reads the files whose descriptors it got, and answers.

It is started by ``limited_process.py`` as an interpreter of its own that loads nothing but this package and the
standard library.
"""

from __future__ import annotations

import codecs
import contextlib
import gc
import io
import json
import os
import resource
import sys
from pathlib import Path

from bnsharp_cli.errors import CheckpointRefusedError, spelt
from bnsharp_cli.io.containers.describe import describe_files, describe_folder
from bnsharp_cli.io.containers.remedies import SAVE_WEIGHTS
from bnsharp_cli.io.files.printable_text import kind_and_line
from bnsharp_cli.io.files.regular_files import RegularFile

MOST_SECONDS = 4
"""Seconds of processor time that reading may take."""

MOST_MEMORY = 200 * 2**20
"""Bytes of memory that reading may take, beyond what the interpreter had when it began."""

READY, DESCRIPTION, REFUSAL = b"!", b"D", b"R"
"""The first byte says that the limits hold; the second says what the rest of the answer is."""

_CODECS = ("ascii", "cp437", "latin-1", "raw_unicode_escape", "unicode_escape", "utf-8")
"""Encodings that the readers use; Python loads each from a file when it is first used, and later none can be opened."""


def main() -> None:
    """Answer the one request on standard input."""
    request = json.loads(sys.stdin.buffer.read())
    os.close(0)
    gc.disable()  # what is read has no cycles, and the search for some takes a third of the time
    for name in _CODECS:
        codecs.lookup(name)
    files = [RegularFile(Path(path), io.FileIO(descriptor)) for descriptor, path in request["files"]]
    limit_this_process(MOST_SECONDS, MOST_MEMORY)
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    answer = _answer(request["folder"], files)
    sys.stdout.buffer.write(answer)
    sys.stdout.buffer.flush()
    os._exit(0)


def _answer(folder: str | None, files: list[RegularFile]) -> bytes:
    try:
        description = describe_files(files) if folder is None else describe_folder(Path(folder), files)
        return DESCRIPTION + description.to_bytes()
    except CheckpointRefusedError as error:
        about, named = ("" if path is None else str(path) for path in (error.path, error.subject))
        refusal = [spelt(error.marked_reason), error.remedy, str(error.expected), str(error.found), about, named]
    except MemoryError:
        os._exit(1)
    except Exception as error:  # whatever a reader stumbles over is the file's fault, and somebody waits
        why = kind_and_line(error)
        subject = str(folder or files[0].path)
        refusal = [f"{subject} is not read: {why}.", SAVE_WEIGHTS, "weights alone", why, "", subject]
    return REFUSAL + json.dumps(refusal).encode()


def limit_this_process(seconds: int, memory: int) -> None:
    """Give up memory, processor time, new descriptors, files, core dumps and processes for good.

    Args:
        seconds: of processor time that are left.
        memory: bytes that may be taken beyond those that the process has mapped.
    """
    limits = {
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_AS: _address_space() + memory,
        resource.RLIMIT_NOFILE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 0,
    }
    for limit, most in limits.items():
        hard = resource.getrlimit(limit)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with contextlib.suppress(ValueError, OSError):  # a system that does not have this one still has the others
            resource.setrlimit(limit, (most, most))


def _address_space() -> int:
    """Bytes that the process has mapped."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        return MOST_MEMORY
