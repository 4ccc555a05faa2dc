"""How a check ends, and whether an interval keeps a limit."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bnsharp_cli.measurement.decision.estimate import IntervalEstimate


class Outcome(StrEnum):
    """How a check ended.

    >>> Outcome("fail").value
    'fail'
    """

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    SKIP = "skip"


@dataclass(frozen=True)
class Limit:
    """What a number may be at most, or at least.

    Attributes:
        amount: the limit itself, which is allowed.
        upper: whether it is the highest number that is allowed; else the lowest.
    """

    amount: float
    upper: bool = True

    def keeps(self, number: float) -> bool:
        """Whether a number is allowed."""
        return number <= self.amount if self.upper else number >= self.amount

    def outcome(self, estimate: IntervalEstimate) -> Outcome:
        """Whether all that the number may be is allowed, or none of it; else it is inconclusive.

        >>> from bnsharp_cli.measurement.decision.estimate import IntervalEstimate
        >>> Limit(4.5).outcome(IntervalEstimate(4.2, 4.0, 4.6)).value
        'inconclusive'
        >>> Limit(4.5).outcome(IntervalEstimate(5.2, 4.6, None)).value
        'fail'
        """
        near, far = (estimate.low, estimate.high) if self.upper else (estimate.high, estimate.low)
        if far is not None and self.keeps(far):
            return Outcome.PASS
        if near is not None and not self.keeps(near):
            return Outcome.FAIL
        return Outcome.INCONCLUSIVE
