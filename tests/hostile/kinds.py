"""Hostile files by the hundred: each mechanism is written once, and its parameters are enumerated.

They are read in this process, which takes milliseconds; a sample goes through the command too (``test_kinds.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

Content = bytes | Callable[[], bytes]


@dataclass(frozen=True)
class Kind:
    """One mechanism with one parameter.

    Attributes:
        write: makes the file or folder in an empty folder and says where.
        harmless: whether it may be read, if then it means what torch or safetensors reads in it; refused otherwise.
    """

    write: Callable[[Path], Path]
    harmless: bool = False


KINDS: dict[str, Kind] = {}


def kind(mechanism: str, parameters: object, content: Content, *, harmless: bool = False) -> None:
    """Put a file into the table."""

    def write(folder: Path) -> Path:
        path = folder / "net.pt"
        path.write_bytes(content() if callable(content) else content)
        return path

    put(f"{mechanism}[{parameters}]", Kind(write, harmless))


def put(name: str, entry: Kind) -> None:
    """Put anything into the table, under a name that no test id spoils."""
    name = name.encode("ascii", "backslashreplace").decode().replace("\0", "\\0")
    assert name not in KINDS, name
    KINDS[name] = entry


def around(value: int, bits: int) -> Iterable[int]:
    """Values of a field of so many bits that are not ``value``: its neighbours, and those that mean something."""
    others = (0, 1, value - 1, value + 1, 2 * value, 2 ** (bits - 1), 2**bits - 2, 2**bits - 1)
    return sorted({other % 2**bits for other in others} - {value})
