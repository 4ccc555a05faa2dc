"""Writing a file so that it is either whole or not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from bnsharp_cli.errors import UsageError


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Call ``write`` on a temporary file beside ``path``, flush it to disk and rename it into place.

    Raises:
        UsageError: the folder does not exist or cannot be written to.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise UsageError(f"Cannot write {path}: it is not a regular file.", "Name a file.")
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise UsageError(
            f"Cannot write {path}: {error.strerror}.",
            "Name a file in an existing folder that you may write to.",
        ) from error
    try:
        with os.fdopen(descriptor, "wb") as stream:
            write(cast(BinaryIO, stream))
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise UsageError(f"Cannot write {path}: {error.strerror}.", "Check the path and the free space.") from error
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text_atomically(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all."""
    write_atomically(path, lambda stream: stream.write(text.encode()))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
