"""Untrusted text, made fit to print.

Whatever these functions return is printable, as what :func:`bnsharp_cli.errors.shown` returns: no file name and no
entry of a file acts on a terminal, or passes for an option in the sentence of an error. They also bound its length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from bnsharp_cli.errors import shown
from bnsharp_cli.io.files.sample_folders import sample_title

_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?)")
_LONGEST = 200
_LONGEST_PATH = 4096
_LOOKED_AT = 16
"""How many times the characters that are shown are looked at: escapes and spaces do not count."""

_DEEPEST, _MOST, _MOST_TOGETHER, _LONG_ENTRY, _BITS = 8, 1000, 10_000, 1000, 64


def one_line(text: object, longest: int = _LONGEST) -> str:
    r"""The first line of ``text``, at most ``longest`` characters, with ``?`` for each that cannot be printed.

    >>> one_line("conv1.weight\x1b[31m\x07 of 7\nand more")
    'conv1.weight? of 7'
    """
    beginning = str(text)[: _LOOKED_AT * longest]  # a stranger's text may have millions of lines
    plain = _ESCAPES.sub("", beginning).strip()
    first = plain.splitlines()[0] if plain else ""
    cleaned = first if first.isprintable() else "".join(one if one.isprintable() else "?" for one in first)
    return cleaned if len(cleaned) <= longest else cleaned[: longest - 1] + "…"


def kind_and_line(error: BaseException) -> str:
    """An exception of other people's code in one line.

    >>> kind_and_line(KeyError("images"))
    "KeyError: 'images'"
    """
    return one_line(f"{type(error).__name__}: {error}".removesuffix(": "))


def escaped(text: object, longest: int = _LONGEST) -> str:
    r"""``text`` with an escape sequence for each character that cannot be printed; of a long one the end.

    >>> escaped("digits\n2.png")
    'digits\\n2.png'
    """
    written = shown(text)
    return written if len(written) <= longest else "…" + written[1 - longest :]


def shown_path(path: object) -> str:
    r"""A whole path, fit to stand in a sentence: a file's name may hold line ends, escapes and bytes that are no text.

    >>> shown_path("folder/net\x1b.pt")
    'folder/net\\x1b.pt'

    A sample checkpoint is called as the command calls it.
    """
    return sample_title(path) or escaped(path, _LONGEST_PATH)


def printable(entry: object) -> Any:
    r"""An untrusted entry as bounded plain containers that JSON can hold and a terminal can show.

    >>> printable({"epoch": 3, "notes": ("a\x07", object())})
    {'epoch': 3, 'notes': ['a?', '(object)']}
    """
    return _printable(entry, _DEEPEST, iter(range(_MOST_TOGETHER)))


def _printable(entry: object, depth: int, left: Iterator[int]) -> Any:
    """The same down to ``depth`` levels, with one of ``left`` for each entry of a container."""
    if isinstance(entry, int) and entry.bit_length() > _BITS:
        return f"(a number of {entry.bit_length()} bits)"
    if entry is None or isinstance(entry, bool | int | float):
        return entry
    if isinstance(entry, str):
        return one_line(entry, _LONG_ENTRY)
    if depth and isinstance(entry, Mapping):
        first = zip(islice(entry.items(), _MOST), left, strict=False)
        return {one_line(key): _printable(value, depth - 1, left) for (key, value), _ in first}
    if depth and isinstance(entry, list | tuple):
        return [_printable(value, depth - 1, left) for value, _ in zip(islice(entry, _MOST), left, strict=False)]
    return f"({type(entry).__name__})"
