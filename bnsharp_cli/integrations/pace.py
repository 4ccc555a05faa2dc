"""When a measurement along a training run is due, so that it costs no more than a share of the run."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Decides which calls of a monitor measure, and counts what measuring took of the time.

    The first call measures. Without ``every`` the next measurement is due when the training since the last one was
    long enough to pay for it: ``share`` times that time covers what the last measurement took, and what earlier ones
    took beyond their share. So a run pays at most ``share``, but for the first measurement of a short run.

    Args:
        every: calls from one measurement to the next; None to decide by the time.
        share: the most that measuring may take of the time of training.
        clock: seconds.

    Attributes:
        calls: how many there were.
        training: seconds outside of measurements so far.
        measuring: seconds inside of them.
        since: seconds of training since the last measurement, or since the beginning.

    >>> now = [0.0]
    >>> pace = Pace(None, 0.02, lambda: now[0])
    >>> pace.is_due()
    True
    >>> pace.begin()
    >>> now[0] = 1.0  # the measurement took a second
    >>> pace.end()
    >>> now[0] = 90.0
    >>> pace.is_due()
    False
    >>> now[0] = 102.0  # which pays for that measurement and for another one
    >>> pace.is_due()
    True
    """

    def __init__(self, every: int | None, share: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self._every, self._share, self._clock = every, share, clock
        self._last = clock()
        self._expected = self._debt = 0.0
        self.calls = 0
        self.training = self.measuring = self.since = 0.0

    def is_due(self) -> bool:
        """Count a call, and say whether it is to measure."""
        number = self.calls
        self.calls += 1
        if self._every is not None:
            return number % self._every == 0
        return not number or self._share * (self._clock() - self._last) >= self._expected + self._debt

    def begin(self) -> None:
        """The measurement that is due begins."""
        now = self._clock()
        self.since = now - self._last
        self.training += self.since
        self._last = now

    def end(self) -> None:
        """The measurement is over."""
        now = self._clock()
        self._expected = now - self._last
        self.measuring += self._expected
        self._debt = max(0.0, self._debt + self._expected - self._share * self.since)
        self._last = now

    @property
    def costs(self) -> dict[str, float | None]:
        """The last measurement in seconds, as a share of the training since the one before, and of all of it."""
        return {
            "seconds": self._expected,
            "training_seconds": self.since,
            "share": self._expected / self.since if self.since else None,
            "overall_share": self.measuring / self.training if self.training else None,
        }
