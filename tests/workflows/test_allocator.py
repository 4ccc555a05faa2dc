"""The allocator is told by the command alone, and gives back what it kept. In processes of their own."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from bnsharp_cli.workflows import allocator

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator only")

RESIDENT = """
import pathlib, resource
def resident():
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20
"""


def python(code: str, **environment: str) -> list[float]:
    finished = subprocess.run(
        [sys.executable, "-c", RESIDENT + code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    return [float(word) for word in finished.stdout.split()]


FREED = """
import numpy
from bnsharp_cli.workflows.allocator import keep_freed_memory, release_freed_memory
told = keep_freed_memory()
before = resident()
for _ in range(5):
    numpy.ones(2**23)
after = resident()
released = release_freed_memory()
print(told, before, after, resident(), released)
""".replace("print(told", "print(float(told)").replace("released)\n", "float(released))\n")


@glibc
def test_freed_memory_is_kept_bounded_and_released() -> None:
    told, before, after, released, some = python(FREED)
    assert (told, some) == (1, 1)
    assert before + 60 < after < before + 70, "five arrays of 64 MiB in a row need the room of one"
    assert released < before + 4


@glibc
def test_an_environment_variable_leaves_the_allocator_alone() -> None:
    told, before, after, _, _ = python(FREED, BNSHARP_ALLOCATOR="system")
    assert told == 0
    assert after < before + 4


@glibc
def test_importing_the_library_does_not_touch_the_allocator() -> None:
    before, after = python("""
import bnsharp_cli, numpy
bnsharp_cli.measure
before = resident()
numpy.ones(2**23)
print(before, resident())
""")
    assert after < before + 4


def test_other_systems_and_allocators_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/usr/lib/libjemalloc.so.2")
    assert not allocator.keep_freed_memory()
    monkeypatch.delenv("LD_PRELOAD")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not allocator.keep_freed_memory()
    assert not allocator.release_freed_memory()
