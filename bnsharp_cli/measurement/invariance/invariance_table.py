"""What every measure says of copies that compute the same: a row for each measure, with its verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from bnsharp_cli.measurement.invariance.function_copies import FunctionCopies, FunctionCopy
from bnsharp_cli.measurement.invariance.options import RESCALINGS, SMALLEST_TOLERANCE
from bnsharp_cli.measurement.measures.tables import aligned, as_frame, as_html, folded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
class Reading:
    """What one measure says of one copy.

    Attributes:
        value: the number.
        error: its absolute error from arithmetic and integration, which is there on copies too.
        sampling: the standard error of a mean over random draws; 0 where nothing is drawn.
    """

    value: float
    error: float = 0.0
    sampling: float = 0.0


@dataclass(frozen=True)
class InvarianceRow:
    """One measure on the network and its copies.

    Attributes:
        name: of the measure, or of what another tool computes.
        readings: by the name of the copy, the network itself first; empty where there are none.
        reason: why there are none, or what a reader must know.
        tool: the other tool and its version; empty for our own measures.

    >>> row = InvarianceRow("norm", {"original": Reading(2.0), "a = 100": Reading(200.0), "neurons": Reading(1.0)})
    >>> row.smallest, row.largest, row.ratio, row.verdict.value
    ('neurons', 'a = 100', 200.0, 'anything')
    >>> row.sentence
    'norm: anything you like, from 1 (neurons) to 200 (a = 100), × 200.'
    """

    name: str
    readings: Mapping[str, Reading] = field(default_factory=dict)
    reason: str = ""
    tool: str = ""

    @property
    def original(self) -> Reading:
        """What it says of the network itself."""
        return self.readings[ORIGINAL]

    @property
    def smallest(self) -> str:
        """The copy with the smallest value."""
        return min(self.readings, key=lambda name: self.readings[name].value)

    @property
    def largest(self) -> str:
        """The copy with the largest value."""
        return max(self.readings, key=lambda name: self.readings[name].value)

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
        if all(self.relative(name) <= self.allowed(name) for name in self.readings):
            coarse = max(map(self.allowed, self.readings)) > _COARSEST and self.spread > SMALLEST_TOLERANCE
            return Invariance.UNRESOLVED if coarse else Invariance.SAME
        if all(self.relative(name) <= self.allowed(name, drawn=True) for name in self.readings):
            return Invariance.UNRESOLVED
        return Invariance.ANYTHING if self.ratio >= _FAR else Invariance.MOVES

    @property
    def sentence(self) -> str:
        """The verdict with its figures."""
        verdict, name = self.verdict, self.tool and f"{self.name} ({self.tool})" or self.name
        if verdict is Invariance.UNMEASURED:
            return f"{name}: not measured. {self.reason}"
        after = f" {self.reason}" if self.reason else ""
        return f"{name}: {self._figures(verdict)}.{after}"

    def relative(self, copy: str) -> float:
        """The distance of a copy's value from the original's, relative to that."""
        return _share(abs(self.readings[copy].value - self.original.value), self.original.value)

    def allowed(self, copy: str, drawn: bool = False) -> float:
        """The distance that the errors of both values explain, relative to the original; at least 1e-9.

        Args:
            copy: its name.
            drawn: count the errors of random draws, too. Every copy is measured by the same draws, so a number that
                belongs to the function does not need this.
        """
        pair = (self.readings[copy], self.original)
        errors = sum(one.error + (one.sampling if drawn else 0.0) for one in pair)
        return max(SMALLEST_TOLERANCE, _share(errors, self.original.value))

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, as in the JSON schema ``bnsharp/1``."""
        record = {
            "measure": self.name,
            "tool": self.tool or None,
            "verdict": self.verdict.value,
            "sentence": self.sentence,
            "reason": self.reason or None,
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
            "values": {name: vars(reading) for name, reading in self.readings.items()},
        }

    @property
    def cells(self) -> tuple[str, ...]:
        """What a table shows of it: measure, value, smallest, largest, ratio and verdict."""
        if not self.readings:
            return self.name, "–", "–", "–", "–", self.verdict.meaning
        numbers = (self.original.value, *(self.readings[copy].value for copy in (self.smallest, self.largest)))
        return (self.name, *(f"{number:.4g}" for number in numbers), times(self.ratio), self.verdict.meaning)

    def _figures(self, verdict: Invariance) -> str:
        if verdict is Invariance.SAME:
            return f"{verdict.meaning}, within {self.spread:.0e} ({self.allowed(self.worst):.0e} allowed)"
        if verdict is Invariance.ANYTHING:
            low, high = (f"{self.readings[copy].value:.3g} ({copy})" for copy in (self.smallest, self.largest))
            return f"{verdict.meaning}, from {low} to {high}, {times(self.ratio)}"
        if verdict is Invariance.MOVES:
            explained = self.allowed(self.worst, drawn=True)
            return f"{verdict.meaning}, it moves by {self.spread:.2g} where its errors explain {explained:.1g}"
        hidden = max(self.allowed(name, drawn=True) for name in self.readings)
        return f"no verdict, it moves by {self.spread:.1g} and its own error is {hidden:.1g}"


def _share(part: float, whole: float) -> float:
    if not part:
        return 0.0
    return part / abs(whole) if whole else math.inf


def times(ratio: float) -> str:
    """A ratio as a table shows it.

    >>> times(1 + 1e-12), times(1.034), times(58.2), times(4.2e6), times(math.inf)
    ('× 1', '× 1.034', '× 58.2', '× 4.2e+06', 'sign')
    """
    if math.isinf(ratio):
        return "sign"
    return f"× {ratio:.4g}" if ratio < 10 else f"× {ratio:.3g}"


@dataclass(frozen=True, repr=False)
class InvarianceTable:
    """Every measure on copies that compute the same; it shows itself as a table, with a sentence for each measure.

    Attributes:
        rows: the measures.
        made: the copies, and which rescalings the network does not have.
        notes: what a reader should know of the network.
    """

    rows: tuple[InvarianceRow, ...]
    made: FunctionCopies
    notes: tuple[str, ...] = ()

    @property
    def copies(self) -> tuple[FunctionCopy, ...]:
        """The copies, without the network itself."""
        return self.made.copies

    @property
    def kept(self) -> tuple[Any, ...]:
        """The copies for whoever saves them."""
        return tuple(one.rescaled for one in self.copies)

    def __getitem__(self, name: str) -> InvarianceRow:
        """The row of one measure."""
        return next(row for row in self.rows if row.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, as in the JSON schema ``bnsharp/1``."""
        return {
            "copies": [one.to_dict() for one in self.copies],
            "missing": dict(self.made.missing),
            "rows": [row.to_dict() for row in self.rows],
        }

    def to_frame(self) -> Any:
        """A ``pandas.DataFrame`` with a row for each measure and a column for each copy.

        Raises:
            BnsharpError: pandas is not installed.
        """
        rows = [
            {"measure": row.name, "verdict": row.verdict.value, **{name: one.value for name, one in row.readings.items()}}
            for row in self.rows
        ]
        return as_frame(rows)

    def plot(self, title: str = "one function, and what is said of its copies") -> Figure:
        """Every measure on every copy, relative to the original, as a figure of matplotlib.

        In a notebook it shows itself; ``plot().savefig("copies.png")`` writes a file.

        Args:
            title: above the picture.
        """
        from bnsharp_cli.figures import draw_ratios

        rows = [row for row in self.rows if row.readings]
        values = {
            row.name: [row.readings[one.name].value for one in self.copies if one.name in row.readings] for row in rows
        }
        originals = {row.name: row.original.value for row in rows}
        return draw_ratios([one.name for one in self.copies], values, originals, title)

    @property
    def lines(self) -> list[str]:
        """What was rescaled, and what could not be, a line each."""
        said = []
        for kind, words in RESCALINGS.items():
            own = [one for one in self.copies if one.kind == kind]
            if own:
                drift = max(one.loss_drift for one in own)
                said.append(f"{words}: {', '.join(one.name for one in own)} (loss moves by {drift:.0e})")
            else:
                said.append(f"{words}: {self.made.missing.get(kind, 'none found')}")
        return said

    @property
    def cells(self) -> list[Sequence[str]]:
        """The table, its headings first."""
        return [("measure", "value", "smallest", "largest", "ratio", "verdict"), *(row.cells for row in self.rows)]

    def __repr__(self) -> str:
        """The table, and a sentence for each measure, within 80 columns."""
        sentences = (*self.lines, *(row.sentence for row in self.rows), *self.notes)
        return "\n".join([aligned(self.cells), "", *(folded(sentence.split(), "  ") for sentence in sentences)])

    def _repr_html_(self) -> str:
        """The same as tables, for notebooks."""
        return as_html(self.cells) + as_html([["verdict"], *([row.sentence] for row in self.rows)])
