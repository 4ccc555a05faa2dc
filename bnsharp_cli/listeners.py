"""Who is told how far long work is: a bar or lines on standard error, a function of the user's, Python's logging."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import Any

from bnsharp_cli.errors import UsageError, counted
from bnsharp_cli.io.files.importing import importing_libraries
from bnsharp_cli.measurement.surface.cost import Cost
from bnsharp_cli.measurement.surface.progress import (
    SILENT_PROGRESS,
    Listener,
    Progress,
    Standing,
    ToldProgress,
    duration,
)

ProgressLike = bool | Listener
"""True for a bar or lines on standard error, False for nothing, or a function of a :class:`Standing`."""

LOGGER = "bnsharp_cli"
"""The name under which progress is logged, at level INFO."""

BETWEEN_LINES = 10.0
"""Seconds between two lines, from which on it is also worth a line how long something takes."""

_MANY = 200.0
"""Passes from which the cost is said first."""


class Lines:
    """Says in lines how far long work is: the cost first, where it is high, then a line now and then.

    Args:
        write: takes a line.
        clock: seconds.
    """

    def __init__(self, write: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._clock, self._last = write, clock, clock()
        self._timed = True

    def __call__(self, standing: Standing) -> None:
        """See :data:`~bnsharp_cli.measurement.surface.progress.Listener`."""
        self.announce(standing)
        if is_long(standing) and self._clock() - self._last >= BETWEEN_LINES:
            self._say(str(standing))

    def announce(self, standing: Standing) -> None:
        """Say what work may cost when it begins, and how long it may take after its first pass, if that is much."""
        if standing.begins:
            self._timed = standing.planned.forward + standing.planned.backward < _MANY
            if not self._timed:
                self._say(f"{standing.stages[0]}: up to {passes_in_words(standing.planned)} over the samples")
        elif not self._timed and standing.spent.forward >= 1 and standing.seconds_left is not None:
            self._timed = True
            if standing.seconds_left > BETWEEN_LINES:
                self._say(f"up to {duration(standing.seconds_left)} to go, by the first pass")

    def close(self) -> None:
        """Nothing is left open."""

    def _say(self, text: str) -> None:
        self._last = self._clock()
        self._write(text)


class _Bar:
    """A bar of tqdm for each piece of work."""

    def __init__(self, tqdm: Any) -> None:
        self._tqdm = tqdm
        self._bar: Any = None

    def __call__(self, standing: Standing) -> None:
        if self._bar is None:
            self._bar = self._tqdm(total=1.0, bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}")
        self._bar.set_description_str(": ".join(standing.stages), refresh=False)
        self._bar.n = standing.fraction
        self._bar.refresh()
        if standing.ended:
            self.close()

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def is_long(standing: Standing) -> bool:
    """Whether work has gone on for so long that a line is due, where lines cannot be overwritten."""
    return not standing.ended and standing.seconds >= BETWEEN_LINES


def passes_in_words(cost: Cost) -> str:
    """Passes over the samples, for a sentence.

    >>> passes_in_words(Cost(1200, 401.0))
    '1,200 forwards and 401 backwards'
    """
    return f"{counted(round(cost.forward), 'forward')} and {counted(round(cost.backward), 'backward')}"


@contextmanager
def following(progress: ProgressLike) -> Iterator[Progress]:
    """What follows the work of one call; logging listens too where it takes lines of level INFO.

    Raises:
        UsageError: neither True nor False nor a function.
    """
    if not isinstance(progress, bool) and not callable(progress):
        raise UsageError.of_type("progress", "True, False or a function", progress, "For example progress=True.")
    listeners: list[Listener] = []
    with ExitStack() as stack:
        if progress is True:
            listeners.append(stack.enter_context(closing(_shown())))
        elif callable(progress):
            listeners.append(progress)
        logger = logging.getLogger(LOGGER)
        if logger.isEnabledFor(logging.INFO):
            listeners.append(Lines(logger.info))
        yield ToldProgress(partial(_tell, listeners)) if listeners else SILENT_PROGRESS


def _tell(listeners: Sequence[Listener], standing: Standing) -> None:
    for listener in listeners:
        listener(standing)


def _shown() -> Lines | _Bar:
    """A bar if tqdm is installed, else lines."""
    try:
        with importing_libraries():
            from tqdm.auto import tqdm
    except ImportError:
        return Lines(lambda line: print(line, file=sys.stderr, flush=True))
    return _Bar(tqdm)
