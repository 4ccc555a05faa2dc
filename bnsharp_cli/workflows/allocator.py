"""Keeps the C allocator from giving memory back after every large temporary."""

from __future__ import annotations

import ctypes
import os
import sys

KEEP = "BNSHARP_ALLOCATOR"
"""Environment variable: ``system`` leaves the allocator as it is."""

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of <malloc.h>
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let glibc keep up to 2 GiB of freed memory instead of having the kernel map and clear it anew for every tensor.

    It holds for the whole process and cannot be undone, so the ``bnsharp`` command calls it once at its start and
    importing the library never does. Programs that use the Python interface may call it before their first tensor.
    :func:`release_freed_memory` hands everything free back. Nothing happens without glibc, when another allocator
    is preloaded, or when the environment variable ``BNSHARP_ALLOCATOR`` is ``system``.

    Returns:
        Whether the allocator was told.

    Source: mallopt(3).
    """
    libc = _glibc()
    if libc is None:
        return False
    return bool(libc.mallopt(_MMAP_MAX, 0) and libc.mallopt(_TRIM_THRESHOLD, _LARGEST))


def release_freed_memory() -> bool:
    """Hand freed memory back to the kernel; whether there was some. Source: malloc_trim(3)."""
    libc = _glibc()
    return libc is not None and bool(libc.malloc_trim(0))


def _glibc() -> ctypes.CDLL | None:
    preloaded = os.environ.get("LD_PRELOAD", "")
    if not sys.platform.startswith("linux") or os.environ.get(KEEP) == "system" or "malloc" in preloaded:
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
