"""Losses that were computed for a picture before, so that an interrupted one goes on where it ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

AnyPlace = TypeVar("AnyPlace")

_AT_ONCE = 32
"""Places after whose evaluation what is known is kept."""


class KeptEvaluations:
    """What is known of the places of a picture.

    A picture asks for the same places in the same order each time, so that whole groups are known or unknown, and the
    numbers are those of a picture that was not interrupted.

    Args:
        known: numbers by places, as :attr:`known` had them.
        keep: told of all that is known after each group that was computed.

    Attributes:
        known: the numbers of each place.

    >>> evaluations = KeptEvaluations({"line 0.5": [2.0]})
    >>> evaluations.of("line", [0.5, 1.0], lambda places: [[4 * place] for place in places])
    [[2.0], [4.0]]
    """

    def __init__(
        self,
        known: Mapping[str, Sequence[float]] | None = None,
        keep: Callable[[Mapping[str, Sequence[float]]], None] = lambda _: None,
    ) -> None:
        self.known: dict[str, Sequence[float]] = dict(known or {})
        self._keep = keep

    def of(
        self,
        label: str,
        places: Sequence[AnyPlace],
        compute: Callable[[Sequence[AnyPlace]], Sequence[Sequence[float]]],
        numbers: int = 1,
    ) -> list[Sequence[float]]:
        """The numbers of places, computed where they are not known.

        Args:
            label: tells these places from others of the picture.
            places: with a ``repr`` that tells them apart.
            compute: the numbers of several places.
            numbers: of each place; what is known with another number of them is computed anew.
        """
        found: list[Sequence[float]] = []
        for first in range(0, len(places), _AT_ONCE):
            group = places[first : first + _AT_ONCE]
            names = [f"{label} {place!r}" for place in group]
            missing = {
                name: place
                for name, place in zip(names, group, strict=True)
                if len(self.known.get(name, ())) != numbers
            }
            if missing:
                self.known |= dict(zip(missing, compute([*missing.values()]), strict=True))
                self._keep(self.known)
            found += [self.known[name] for name in names]
        return found
