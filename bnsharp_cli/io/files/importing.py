"""Importing other people's libraries without anything that lies in the working directory.

The command is run where a stranger's files lie. The dynamic loader takes a library such as ``libcuda.so.1`` from the
working directory where the search path of another one has an empty part, as in wheels that torch needs; matplotlib
obeys a ``matplotlibrc`` there. So the command imports libraries from another directory. A program that uses the Python
interface has its own working directory, which is left alone.

>>> from contextvars import copy_context
>>> def visited():
...     stay_away_from_the_working_directory()
...     with importing_libraries():
...         return os.getcwd()
>>> copy_context().run(visited) == os.path.realpath(sys.prefix)
True
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_stays_away: ContextVar[bool] = ContextVar("stays_away", default=False)
_HANDLE = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
"""A directory can be returned to by such a descriptor although it is renamed, removed or may not be listed."""


def stay_away_from_the_working_directory() -> None:
    """Let :func:`importing_libraries` change the directory from here on, in this context and so in this thread alone.

    Call it inside :meth:`contextvars.Context.run`. Other threads are not meant, because all threads have the same
    working directory: whoever imports in one of them would pull it away from under the others.
    """
    _stays_away.set(True)


@contextmanager
def importing_libraries() -> Iterator[None]:
    """Meanwhile the working directory is Python's own, where only those can write who can change Python itself.

    Nothing else than imports belongs inside: the user's relative paths mean another directory. Nothing happens where
    :func:`stay_away_from_the_working_directory` was not called, as in a program that uses the Python interface.
    """
    before = _working_directory() if _stays_away.get() else None
    if before is None:
        yield
        return
    try:
        os.chdir(sys.prefix)
        yield
    finally:
        os.fchdir(before)
        os.close(before)


def _working_directory() -> int | None:
    """A descriptor of it; None where it may not be entered, so that nothing can be taken from it either."""
    try:
        return os.open(os.curdir, _HANDLE)
    except OSError:
        return None
