"""Keeping a library in C from writing to the terminal."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_STDERR = 2
_lock = threading.Lock()


@contextmanager
def silent_standard_error() -> Iterator[None]:
    """Nothing that is written to the standard error stream arrives while the block runs.

    libtiff writes what it finds in a damaged file there, and Pillow offers no other place. A line of another thread
    that is written in these milliseconds is lost too, so this is for no more than one image.
    """
    with _lock:
        try:
            kept = os.dup(_STDERR)
        except OSError:  # it is closed: nothing arrives in any case
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.dup2(nowhere, _STDERR)
            yield
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)
            os.close(nowhere)
