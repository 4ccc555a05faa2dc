"""The first crossing of a function of one number: by doubling from a start, then by halves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Crossing:
    """The interval in which a function was seen to become positive.

    Attributes:
        low: the largest number below ``high`` at which it is not; 0 where it was positive wherever it was tried.
        high: the smallest number at which it was seen to be.
        step: the interval in which doubling found the crossing, before it was halved.
        values: of the function, by where it was tried.
    """

    low: float
    high: float
    step: tuple[float, float]
    values: Mapping[float, float]

    @property
    def middle(self) -> float:
        """The middle of the interval."""
        return (self.low + self.high) / 2

    @property
    def reach(self) -> float:
        """Half the interval: how far the crossing can be from its middle."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class HalvingSearch:
    """A search for a crossing: its begin, how far it goes, and how often it halves.

    Attributes:
        start: the number that is tried first.
        doublings: how often it may be doubled.
        halvings: how often it may be halved, where the function is positive at ``start`` already.
        bisections: how often the interval between two neighbouring numbers is halved then.

    >>> found = HalvingSearch(start=0.25, doublings=4, halvings=4, bisections=5).crossing(lambda t: t * t - 0.5)
    >>> found.low, found.high, len(found.values)
    (0.703125, 0.71875, 8)
    """

    start: float
    doublings: int
    halvings: int
    bisections: int

    @property
    def most(self) -> int:
        """The largest number of values that a search takes."""
        return 1 + max(self.doublings, self.halvings) + self.bisections

    @property
    def largest(self) -> float:
        """The largest number that is tried."""
        return self.start * 2.0**self.doublings

    def crossing(self, function: Callable[[float], float]) -> Crossing | None:
        """The crossing that doubling meets first, as close as halving brings it; None if it meets none.

        A crossing between two numbers that are tried one after the other is not seen where the function has crossed
        back before the second. So it is the smallest only as far as neighbouring powers of two tell them apart.

        Args:
            function: of positive numbers; it is taken as not positive at 0.
        """
        values: dict[float, float] = {}

        def positive(number: float) -> bool:
            values[number] = function(number)
            return values[number] > 0

        low, high = self._step(positive)
        if high > self.largest:
            return None
        step = low, high
        for _ in range(self.bisections if low > 0 else 0):
            middle = (low + high) / 2
            low, high = (low, middle) if positive(middle) else (middle, high)
        return Crossing(low, high, step, values)

    def _step(self, positive: Callable[[float], bool]) -> tuple[float, float]:
        """Neighbouring numbers between which the function becomes positive; the second too large if it does not."""
        number = self.start
        if positive(number):
            for _ in range(self.halvings):
                if not positive(number / 2):
                    return number / 2, number
                number /= 2
            return 0.0, number
        for _ in range(self.doublings):
            if positive(2 * number):
                return number, 2 * number
            number *= 2
        return number, 2 * number


def last_crossing(values: Mapping[float, float]) -> float:
    """The place where the straight lines between values become positive for the last time.

    Args:
        values: by where they were taken; the first is not positive. The largest place where none is.

    >>> last_crossing({0.0: -1.0, 0.5: 1.0, 0.25: -1.0})
    0.375
    """
    places = sorted(values)
    for low, high in reversed([*pairwise(places)]):
        if values[low] <= 0 < values[high]:
            return low + (high - low) * values[low] / (values[low] - values[high])
    return places[-1]
