"""Text from strangers, made fit to print."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?)")
_LONGEST = 200
_DEEPEST, _MOST, _LONG_ENTRY, _BITS = 8, 1000, 1000, 64


def one_line(text: object, longest: int = _LONGEST) -> str:
    """The first line of ``text`` without terminal escapes or control characters, at most ``longest`` characters."""
    plain = _ESCAPES.sub("", str(text)).strip()
    first = plain.splitlines()[0] if plain else ""
    cleaned = "".join(character if character.isprintable() else "?" for character in first)
    return cleaned if len(cleaned) <= longest else cleaned[: longest - 1] + "…"


def kind_and_line(error: BaseException) -> str:
    """A stranger's exception in one line: ``KeyError: 'images'``."""
    return one_line(f"{type(error).__name__}: {error}".removesuffix(": "))


def escaped(text: object, longest: int = _LONGEST) -> str:
    """``text`` with every character that a terminal would act upon written out; of a long one the end.

    For paths: what a stranger called a file may hold line ends, terminal escapes and bytes that are no text.
    """
    written = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in str(text)
    )
    return written if len(written) <= longest else "…" + written[1 - longest :]


def plain(entry: object, depth: int = _DEEPEST) -> Any:
    """A stranger's entry as bounded plain containers that JSON can hold and a terminal can show."""
    if isinstance(entry, int) and entry.bit_length() > _BITS:
        return f"(a number of {entry.bit_length()} bits)"
    if entry is None or isinstance(entry, bool | int | float):
        return entry
    if isinstance(entry, str):
        return one_line(entry, _LONG_ENTRY)
    if depth and isinstance(entry, Mapping):
        return {one_line(key): plain(value, depth - 1) for key, value in list(entry.items())[:_MOST]}
    if depth and isinstance(entry, list | tuple):
        return [plain(value, depth - 1) for value in entry[:_MOST]]
    return f"({type(entry).__name__})"
