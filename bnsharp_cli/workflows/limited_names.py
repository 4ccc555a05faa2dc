"""Names of what a limit can be put on; nothing heavy is imported."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.measurement.measures.registry import MEASURES

LOSS, ACCURACY, DEAD_ROWS, SHARE = "loss", "accuracy", "dead-rows", "share:"
TEST_LOSS, TEST_ACCURACY, GAP, ACCURACY_GAP = "test-loss", "test-accuracy", "gap", "accuracy-gap"
ON_TEST_DATA = (TEST_LOSS, TEST_ACCURACY, GAP, ACCURACY_GAP)
OF_CLASSES = frozenset({ACCURACY, TEST_ACCURACY, ACCURACY_GAP})
"""What exists only where there are class labels."""

_OWN = (LOSS, ACCURACY, DEAD_ROWS, *ON_TEST_DATA)
_EXAMPLE = "For example bn, loss, accuracy or share:conv1."


@dataclass(frozen=True)
class LimitedName:
    """What a limit is put on.

    Attributes:
        what: ``loss``, ``accuracy``, ``dead-rows``, ``share:``, one of ``ON_TEST_DATA`` or the name of a measure.
        layer: of a share; else empty.
        delta: the radius at which it is limited; None for every radius.

    >>> LimitedName.read("share:conv1@0.01", "limits")
    LimitedName(what='share:', layer='conv1', delta=0.01)
    >>> str(LimitedName.read("bn@1e-2", "limits"))
    'bn@0.01'
    """

    what: str
    layer: str = ""
    delta: float | None = None

    @classmethod
    def read(cls, text: object, argument: str) -> Self:
        """A name from its text.

        Args:
            text: ``NAME`` or ``NAME@DELTA``.
            argument: that it belongs to.

        Raises:
            UsageError: nothing of that name can be limited, or what has no radius is given one.
        """
        words, at, radius = text.rpartition("@") if isinstance(text, str) else ("", "", "")
        name = words if at else str(text)
        what, layer = (SHARE, name.removeprefix(SHARE)) if name.startswith(SHARE) else (name, "")
        known = what in MEASURES or what in _OWN or (what == SHARE and layer)
        if not known:
            expected = f"one of {', '.join(dict.fromkeys((*_OWN, *MEASURES)))} or {SHARE}LAYER"
            raise UsageError.of(argument, expected, text, _EXAMPLE)
        found = cls(what, layer, _radius(radius, text, argument) if at else None)
        if found.delta is not None and not found.has_radius:
            raise UsageError.of(argument, f"{name}, which has no radius", text, f"Write {name}.")
        return found

    @property
    def measure(self) -> str | None:
        """The measure that has to be taken for it; None for what is known without."""
        if self.what == SHARE:
            return "bn"
        return None if self.what in _OWN else self.what

    @property
    def has_radius(self) -> bool:
        """Whether δ decides it."""
        return self.measure is not None and MEASURES[self.measure].has_radius

    def __str__(self) -> str:
        """The text that is read as it."""
        return f"{self.what}{self.layer}" + ("" if self.delta is None else f"@{self.delta:g}")


def offered_names(beginning: str = "") -> Iterator[str]:
    """What completion offers; layers are not known before a checkpoint is read."""
    del beginning
    yield from dict.fromkeys((*_OWN, *MEASURES))


def layer_missing(layer: str, known: list[str]) -> UsageError:
    """The error for the share of a layer that the network does not have."""
    some = ", ".join(known[:8]) + (f" and {len(known) - 8:,} more" if len(known) > 8 else "")
    return UsageError.of(
        "limits", f"a layer among {some}", layer, f"`bnsharp measure` lists them with {named('by')} layer."
    )


def _radius(text: str, whole: object, argument: str) -> float:
    try:
        radius = float(text)
    except ValueError:
        radius = math.nan
    if not 0 < radius < math.inf:
        raise UsageError.of(argument, "NAME@DELTA with a positive number", whole, "For example bn@0.01.")
    return radius
