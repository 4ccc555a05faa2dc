"""The numbers in names of files that belong together, such as the epochs of a training."""

from __future__ import annotations

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"(\d+)")
_WORD = re.compile(r"([A-Za-z]+)[^A-Za-z0-9]*$")
_MOST_DIGITS = 15
"""Of a number that a picture has room for; longer ones, such as digests, are texts."""


def natural_key(name: str) -> tuple[tuple[int, str], ...]:
    """What names are sorted by, so that their numbers are in order.

    >>> sorted(["run.epoch10.pt", "run.epoch9.pt"], key=natural_key)
    ['run.epoch9.pt', 'run.epoch10.pt']
    """
    return tuple((int(part), "") if place % 2 else (-1, part) for place, part in enumerate(_parts(name)))


def numbers_of(names: Sequence[str]) -> tuple[str, list[int]] | None:
    """The word before the number in which the names differ, and that number of each; None where there is none.

    >>> numbers_of(["run2.epoch9.pt", "run2.epoch10.pt"]), numbers_of(["small.pt", "large.pt"])
    (('epoch', [9, 10]), None)
    """
    each = [_parts(name) for name in names]
    if len({len(parts) for parts in each}) != 1:
        return None
    varying = [place for place in range(len(each[0])) if len({parts[place] for parts in each}) > 1]
    if len(varying) != 1 or varying[0] % 2 == 0:
        return None
    numbers, word = [int(parts[varying[0]]) for parts in each], _WORD.search(each[0][varying[0] - 1])
    return (word[1] if word else "number", numbers) if len({*numbers}) == len(names) else None


def _parts(name: str) -> list[str]:
    """Texts, and between them numbers; a number that is too long to be one belongs to the text around it."""
    parts = [""]
    for place, part in enumerate(_NUMBER.split(name)):
        if place % 2 and len(part) <= _MOST_DIGITS:
            parts += [part, ""]
        else:
            parts[-1] += part
    return parts
