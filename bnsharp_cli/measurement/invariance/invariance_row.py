"""What one measure says of copies that compute the same, and the verdict on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bnsharp_cli.errors import spelt
from bnsharp_cli.measurement.invariance.options import SMALLEST_TOLERANCE

ORIGINAL = "original"
"""The name of the network itself among its copies."""

_FAR = 2.0
"""From this ratio on a number says nothing of the function."""

_COARSEST = 1e-2
"""Errors above this share of a value hide too much for a verdict."""


class Invariance(StrEnum):
    """Whether a measure gives one number for one function.

    >>> Invariance("same").meaning
    'same function, same number'
    """

    SAME = "same"
    MOVES = "moves"
    ANYTHING = "anything"
    UNRESOLVED = "unresolved"
    UNMEASURED = "unmeasured"

    @property
    def meaning(self) -> str:
        """In a few words."""
        return _MEANINGS[self]


_MEANINGS = {
    Invariance.SAME: "same function, same number",
    Invariance.MOVES: "not the same number",
    Invariance.ANYTHING: "anything you like",
    Invariance.UNRESOLVED: "its own error hides it",
    Invariance.UNMEASURED: "not measured",
}


@dataclass(frozen=True)
class ValueOnCopy:
    """What one measure says of one copy.

    Attributes:
        value: the number.
        error: its absolute error from arithmetic and integration, which is there on copies too.
        sampling: the standard error of a mean over random draws; 0 where nothing is drawn.
        kind: of the rescaling that made the copy; empty for the network itself.
    """

    value: float
    error: float = 0.0
    sampling: float = 0.0
    kind: str = ""


@dataclass(frozen=True)
class InvarianceRow:
    """One measure on the network and its copies.

    Attributes:
        name: of the measure, or of what another tool computes.
        readings: by the name of the copy, the network itself first; empty where there are none.
        marked_reason: why there are none, or what a reader must know; arguments are marked by
            :func:`~bnsharp_cli.errors.named`.
        tool: the other tool and its version; empty for our own measures.
        tolerance: allowed relative distance; None for what the errors explain, never below 1e-9.

    >>> values = {"original": 2.0, "a = 100": 200.0, "neurons": 1.0}
    >>> row = InvarianceRow("norm", {name: ValueOnCopy(value) for name, value in values.items()})
    >>> row.smallest, row.largest, row.ratio, row.verdict.value
    ('neurons', 'a = 100', 200.0, 'anything')
    >>> row.sentence
    'norm: anything you like, from 1 (neurons) to 200 (a = 100), × 200.'
    """

    name: str
    readings: Mapping[str, ValueOnCopy] = field(default_factory=dict)
    marked_reason: str = ""
    tool: str = ""
    tolerance: float | None = None

    @property
    def original(self) -> ValueOnCopy:
        """What it says of the network itself."""
        return self.readings[ORIGINAL]

    @property
    def smallest(self) -> str:
        """The copy with the smallest value."""
        return self._first(lambda value: value)

    @property
    def largest(self) -> str:
        """The copy with the largest value."""
        return self._first(lambda value: -value)

    @property
    def ratio(self) -> float:
        """The value that is farthest from zero, divided by the nearest one; ∞ where signs differ, too."""
        values = [reading.value for reading in self.readings.values()]
        low, high = sorted((min(values, key=abs), max(values, key=abs)), key=abs)
        if not high:
            return 1.0
        return high / low if low and min(values) * max(values) > 0 else math.inf

    @property
    def spread(self) -> float:
        """The largest distance from the original, relative to it; ∞ where that is zero and a copy is not."""
        return max(self.relative(name) for name in self.readings)

    @property
    def worst(self) -> str:
        """The copy that is farthest from the original, in units of what is allowed."""
        return max(self.readings, key=lambda name: self.relative(name) / self.allowed(name))

    @property
    def verdict(self) -> Invariance:
        """Whether the number is the function's."""
        if not self.readings:
            return Invariance.UNMEASURED
        kept = [self.follows(name) for name in self.readings]
        if False in kept:
            return Invariance.ANYTHING if self.ratio >= _FAR else Invariance.MOVES
        return Invariance.UNRESOLVED if None in kept else Invariance.SAME

    @property
    def sentence(self) -> str:
        """The verdict with its figures; arguments by their names in Python."""
        return spelt(self.marked_sentence)

    @property
    def marked_sentence(self) -> str:
        """The same with arguments marked by :func:`~bnsharp_cli.errors.named`."""
        verdict, name = self.verdict, f"{self.name} ({self.tool})" if self.tool else self.name
        figures = "" if verdict is Invariance.UNMEASURED else f", {self._figures(verdict)}"
        kept = [kind for kind, same in self.followed.items() if same]
        if kept and len(kept) < len(self.followed):
            figures += f"; the same under {', '.join(kept)}"
        after = f" {self.marked_reason}" if self.marked_reason else ""
        return f"{name}: {verdict.meaning}{figures}.{after}"

    @property
    def followed(self) -> dict[str, bool | None]:
        """Whether the number is the original's on every copy of a kind, by kind; None where its error hides that."""
        found: dict[str, bool | None] = {}
        for name, reading in self.readings.items():
            if reading.kind:
                kept = (found.get(reading.kind, True), self.follows(name))
                found[reading.kind] = False if False in kept else None if None in kept else True
        return found

    def relative(self, copy: str) -> float:
        """The distance of a copy's value from the original's, relative to that."""
        return _share(abs(self.readings[copy].value - self.original.value), self.original.value)

    def follows(self, copy: str) -> bool | None:
        """Whether the value on a copy is the original's; None where the errors are too large to tell."""
        distance, allowed = self.relative(copy), self.allowed(copy)
        if distance <= allowed and (distance <= SMALLEST_TOLERANCE or allowed <= _COARSEST):
            return True
        return None if distance <= self.allowed(copy, drawn=True) else False

    def times(self, copy: str) -> float:
        """The value on a copy divided by the original's; 1 where that is the same, NaN where the errors hide it."""
        kept = self.follows(copy)
        if kept is not False:
            return 1.0 if kept else math.nan
        return self.readings[copy].value / self.original.value if self.original.value else math.inf

    def allowed(self, copy: str, drawn: bool = False) -> float:
        """The distance that the errors of both values explain, relative to the original; at least 1e-9.

        Args:
            copy: its name.
            drawn: count the errors of random draws, too. Every copy is measured by the same draws, so a number that
                belongs to the function does not need this.
        """
        if self.tolerance is not None:
            return self.tolerance
        pair = (self.readings[copy], self.original)
        errors = sum(one.error + (one.sampling if drawn else 0.0) for one in pair)
        return max(SMALLEST_TOLERANCE, _share(errors, self.original.value))

    def to_dict(self, spelling: Callable[[str], str] = str) -> dict[str, Any]:
        """Plain containers, as in the JSON schema ``bnsharp/1``.

        Args:
            spelling: of the arguments that sentences name.
        """
        record = {
            "measure": self.name,
            "tool": self.tool or None,
            "verdict": self.verdict.value,
            "sentence": spelt(self.marked_sentence, spelling),
        }
        if not self.readings:
            return record
        return {
            **record,
            "value": self.original.value,
            "smallest": {"copy": self.smallest, "value": self.readings[self.smallest].value},
            "largest": {"copy": self.largest, "value": self.readings[self.largest].value},
            "ratio": self.ratio,
            "spread": self.spread,
            "allowed": self.allowed(self.worst),
            "follows": self.followed,
            "values": {name: vars(reading) for name, reading in self.readings.items()},
        }

    @property
    def cells(self) -> tuple[str, ...]:
        """What a table shows of it: measure, value, smallest, largest, ratio and verdict."""
        if not self.readings:
            return self.name, "–", "–", "–", "–", self.verdict.meaning
        numbers = (self.original.value, *(self.readings[copy].value for copy in (self.smallest, self.largest)))
        return (self.name, *(f"{number:.3g}" for number in numbers), factor(self.ratio), self.verdict.meaning)

    def _first(self, size: Callable[[float], float]) -> str:
        """The copy with the smallest size; the original where the two do not differ by more than is allowed."""
        found = min(self.readings, key=lambda name: size(self.readings[name].value))
        return ORIGINAL if self.follows(found) else found

    @property
    def _factor(self) -> str:
        return "" if math.isinf(self.ratio) else f", × {factor(self.ratio)}"

    def _figures(self, verdict: Invariance) -> str:
        if verdict is Invariance.SAME:
            return f"within {self.spread:.0e} ({self.allowed(self.worst):.0e} allowed)"
        if verdict is Invariance.ANYTHING:
            low, high = (f"{self.readings[copy].value:.3g} ({copy})" for copy in (self.smallest, self.largest))
            return f"from {low} to {high}{self._factor}"
        if verdict is Invariance.MOVES:
            explained = self.allowed(self.worst, drawn=True)
            return f"it moves by {_percent(self.spread)} ({self.worst}) and its errors explain {_percent(explained)}"
        hidden = max(self.allowed(name, drawn=True) for name in self.readings)
        return f"it moves by {_percent(self.spread)} and its errors explain {_percent(hidden)}"


def _percent(share: float) -> str:
    """A share in percent.

    >>> _percent(0.034), _percent(1e-6)
    ('3.4 %', '0.0001 %')
    """
    return f"{100 * share:.2g} %"


def _share(part: float, whole: float) -> float:
    if not part:
        return 0.0
    return part / abs(whole) if whole else math.inf


def factor(ratio: float) -> str:
    """A ratio as a table shows it.

    >>> factor(1 + 1e-12), factor(1.034), factor(58.2), factor(4.2e6), factor(math.inf)
    ('1', '1.03', '58.2', '4.2e+06', '∞')
    """
    return "∞" if math.isinf(ratio) else f"{ratio:.3g}"
