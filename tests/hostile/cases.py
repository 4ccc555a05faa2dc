"""The table of hostile and broken checkpoints: how each is made, and what the refusal must say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Writer = Callable[[Path], Path]


@dataclass(frozen=True)
class Case:
    """One file.

    Attributes:
        write: makes it in an empty folder and says where.
        says: a part of the one line that the command must print.
        environment: variables that are set for the command.
        unprivileged: whether the command runs without root's right to read everything.
    """

    write: Writer
    says: str
    environment: Mapping[str, str] = field(default_factory=dict)
    unprivileged: bool = False


CASES: dict[str, Case] = {}


def add(name: str, says: str, write: Writer, **more: Any) -> None:
    """Put a case into the table."""
    assert name not in CASES, name
    CASES[name] = Case(write, says, **more)


def add_bytes(name: str, says: str, content: bytes | Callable[[Path], bytes], file: str = "net.pt") -> None:
    """Put a file of given bytes into the table, or of bytes that depend on the folder."""

    def write(folder: Path) -> Path:
        path = folder / file
        path.write_bytes(content(folder) if callable(content) else content)
        return path

    add(name, says, write)
