"""What one check of the audit answers: a stated error, what was found in its place, and whether it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class CannotSayError(Exception):
    """A check that has nothing to say here; its text is the reason, with arguments marked as in errors."""


@dataclass(frozen=True)
class Finding:
    """One stated error, and what independent evidence says of it.

    Attributes:
        name: of the check.
        stated: the largest deviation that the statement allows; None where it sets no bound.
        found: the deviation that was found, in the same unit; None where nothing was.
        holds: None where it cannot be said.
        sentence: what was compared, or why nothing can be said.

    >>> Finding("integral", 1e-6, 2e-9, True, "").to_dict()["holds"]
    True
    """

    name: str
    stated: float | None
    found: float | None
    holds: bool | None
    sentence: str

    @classmethod
    def unsaid(cls, name: str, reason: str) -> Finding:
        """A check that has nothing to say."""
        return cls(name, None, None, None, reason)

    @classmethod
    def compared(cls, name: str, stated: float, found: float, sentence: str, doubt: float = 0.0) -> Finding:
        """A deviation held against what is stated.

        Args:
            name: of the check.
            stated: the largest deviation that is allowed.
            found: the deviation.
            sentence: what was compared.
            doubt: how far the evidence itself may be off; where that decides, nothing is said.
        """
        holds = None if found - doubt <= stated else False  # of a NaN too
        if found + doubt <= stated:
            holds = True
        if holds is None:
            sentence += f"; the evidence itself is only known to {doubt:.1e}"
        return cls(name, stated, found, holds, sentence)

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, as in the JSON schema ``bnsharp/1``."""
        return dict(vars(self))
