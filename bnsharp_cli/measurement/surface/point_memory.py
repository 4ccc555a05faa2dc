"""What is known of one point, so that several measures of the same network share its passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bnsharp_cli.core.point import Point
from bnsharp_cli.measurement.surface.cost import Cost, PassCounter

Known = TypeVar("Known")


@dataclass
class PointMemory:
    """The answers of a surface at one point, each computed once.

    Attributes:
        point: θ; no other point is remembered, however equal.
        answers: by what was asked.
    """

    point: Point
    answers: dict[str, Any] = field(default_factory=dict)

    def recalled(self, what: str, cost: Cost, counter: PassCounter, compute: Callable[[], Known]) -> Known:
        """The answer to ``what``; one that is known counts as passes of whoever asks, but as none that were made."""
        if what in self.answers:
            counter.shared(cost)
        else:
            self.answers[what] = compute()
        answer: Known = self.answers[what]
        return answer
