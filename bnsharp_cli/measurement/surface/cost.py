"""Counting passes over the samples."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Passes over all samples; a pass over a part of them counts for that part.

    >>> Cost(forward=7, backward=3) - Cost(forward=2)
    Cost(forward=5, backward=3.0)
    """

    forward: float = 0.0
    backward: float = 0.0

    @property
    def passes(self) -> str:
        """Forwards and backwards, as tables show them.

        >>> Cost(forward=7, backward=3).passes
        '7F + 3B'
        """
        return f"{round(self.forward, 1):g}F + {round(self.backward, 1):g}B"

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.forward + other.forward, self.backward + other.backward)

    def __sub__(self, other: Cost) -> Cost:
        """The difference, without what rounding made of the shares that were added up."""
        return Cost(round(self.forward - other.forward, 9), round(self.backward - other.backward, 9))

    def __rmul__(self, factor: float) -> Cost:
        return Cost(factor * self.forward, factor * self.backward)


FORWARD, BACKWARD = Cost(forward=1.0), Cost(backward=1.0)
GRADIENT = FORWARD + BACKWARD
"""One pass over all samples, forward, back, and both."""
NO_PASSES = Cost()
"""Where nothing is known of the passes, or there were none."""


class PassCounter:
    """Counts the passes of a surface and of all surfaces that were derived from it.

    Args:
        examples: all samples, in the unit in which trials count theirs.

    Attributes:
        cost: of measuring; what each measure needs, even where it shared passes with another.
        trials: of finding out how to measure: what the network does, in which layout it runs, which rows are
            scale-invariant. Mostly passes over a few examples.
    """

    def __init__(self, examples: float = 1.0) -> None:
        self.cost, self.trials = Cost(), Cost()
        self._examples = examples
        self._saved = Cost()

    @property
    def all(self) -> Cost:
        """The number of both together, each pass that measures shared counted once."""
        return self.cost + self.trials - self._saved

    def shared(self, cost: Cost) -> None:
        """Count passes that another measure has made for the measure that needs them too."""
        self.cost += cost
        self._saved += cost

    def tried(self, examples: int, *, forward: int = 0, backward: int = 0) -> None:
        """Count passes over some examples as trials."""
        part = examples / self._examples
        self.trials += Cost(forward * part, backward * part)
