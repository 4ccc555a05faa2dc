"""JSON of strangers: how many parts a text has is counted before it is parsed, and no name may occur twice."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_MOST_MARKS: Mapping[bytes, int] = MappingProxyType({b"{": 2**17, b"[": 2**18, b",": 2**20})
"""How often each may occur, so that no text becomes many times as large as it is."""

_MOST_DIGITS = 20
"""Of a whole number, those of 64 bits; it fits a float, whatever is computed with it."""


def bounded_json(text: bytes, most_marks: Mapping[bytes, int] = _MOST_MARKS) -> Any:
    """What a text says.

    Args:
        text: in UTF-8.
        most_marks: how often each mark that begins a part may occur.

    Raises:
        ValueError: it is no JSON, has too many parts, names something twice, or holds NaN or a number that is infinite
            or of more than 64 bits.
        RecursionError: it nests too deep.

    >>> bounded_json(b'{"size": [2, 3]}')
    {'size': [2, 3]}
    """
    if any(text.count(mark) > most for mark, most in most_marks.items()):
        raise ValueError("it has more entries than any network")
    return json.loads(
        text.decode("utf-8"),
        object_pairs_hook=_without_duplicates,
        parse_constant=_no_constant,
        parse_float=_finite,
        parse_int=_whole,
    )


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("it names something twice")
    return entries


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):  # 1e999, which JSON allows
        raise ValueError("it holds a number that is too large")
    return number


def _whole(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError("it holds a number that is too large")
    return int(digits)


def _no_constant(name: str) -> Any:
    raise ValueError(f"it holds {name}")
