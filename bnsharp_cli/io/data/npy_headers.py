r"""The header of a NumPy array, read by a grammar that knows nothing but a type, an order and a shape.

>>> header_of(b"{'descr': '<f4', 'fortran_order': False, 'shape': (8, 1), }\n", "x").shape
(8, 1)
"""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

import numpy as np

MAGIC = b"\x93NUMPY"
LONGEST_START = 12
"""Bytes of the magic, the version and the length of the header, at most."""

LONGEST_HEADER = 2**12
_ENTRY = re.compile(
    r"\s*'(descr|fortran_order|shape)'\s*:\s*"
    r"(?:'([<>=|]?[A-Zb-z]\d{0,9})'|(True|False)|(\(\s*(?:-?\d{1,20}L?\s*,\s*){0,32}(?:-?\d{1,20}L?\s*)?\)))\s*(,|(?=\}))"
)
_NUMBER = re.compile(r"-?\d+")
_KEYS = ("descr", "fortran_order", "shape")
_LENGTH_BYTES = {b"\1\0": 2, b"\2\0": 4}


class UnsoundArchiveError(Exception):
    """What is wrong with an archive or an array in it, as a sentence without its end."""


class ArrayHeader(NamedTuple):
    """What an array says of itself.

    Attributes:
        shape: as many numbers as it has dimensions.
        fortran: whether the first index runs fastest.
        dtype: of its numbers.
    """

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Bytes of the array."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def row(self) -> int:
        """Numbers in each of its rows."""
        return math.prod(self.shape[1:])


def header_bounds(start: bytes, name: str) -> tuple[int, int]:
    """The beginning and the end of the header, from the first ``LONGEST_START`` bytes of an array.

    Raises:
        UnsoundArchiveError: it is no array, or its header is longer than any.
    """
    width = _LENGTH_BYTES.get(start[6:8])
    if start[:6] != MAGIC or len(start) < LONGEST_START:
        raise UnsoundArchiveError(f"{name} is no NumPy array")
    if width is None:
        raise UnsoundArchiveError(f"{name} has fields with names, or is of a format that numpy.savez does not write")
    length = int.from_bytes(start[8 : 8 + width], "little")
    if length > LONGEST_HEADER:
        raise UnsoundArchiveError(f"{name} has a header of {length} bytes, longer than that of any array of numbers")
    return 8 + width, 8 + width + length


def header_of(header: bytes, name: str) -> ArrayHeader:
    """The header of an array, from its bytes.

    Raises:
        UnsoundArchiveError: it describes no plain array of numbers.
    """
    entries = _entries(header.decode("latin1").strip(), name)
    try:
        dtype = np.dtype(entries["descr"])
    except TypeError:
        raise UnsoundArchiveError(f"{name} is of no type of numbers") from None
    if dtype.hasobject:
        raise UnsoundArchiveError(f"{name} holds Python objects, which would run code when read")
    shape = tuple(int(number) for number in _NUMBER.findall(entries["shape"]))
    return ArrayHeader(shape, entries["fortran_order"] == "True", dtype)


def _entries(text: str, name: str) -> dict[str, str]:
    """The three entries as they are written, each of its own kind."""
    entries: dict[str, str] = {}
    position = 1
    while found := _ENTRY.match(text, position):
        kinds = dict(zip(_KEYS, found.groups()[1:4], strict=True))
        value = kinds[found[1]]
        if value is None or found[1] in entries:
            break
        entries[found[1]], position = value, found.end()
    if text[:1] != "{" or text[position:].strip() != "}" or len(entries) != len(_KEYS):
        raise UnsoundArchiveError(f"{name} has a header that is not that of an array of numbers")
    return entries
