"""Notices and progress on stderr: how far a command is, how long it will take, and what the user should know."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from bnsharp_cli.cli.spelling import for_the_command
from bnsharp_cli.cli.streams import say
from bnsharp_cli.errors import counted
from bnsharp_cli.io.files.importing import importing_libraries
from bnsharp_cli.listeners import BETWEEN_LINES, Lines, is_long
from bnsharp_cli.measurement.surface.progress import SILENT_PROGRESS, Progress, Standing, ToldProgress, duration
from bnsharp_cli.workflows.input_files import require_no_input
from bnsharp_cli.workflows.output_files import OutputFile
from bnsharp_cli.workflows.reporter import Reporter

if TYPE_CHECKING:
    from rich.live import Live

_FIRST_STEPS = 5
_BETWEEN = 0.2
"""Seconds between two lines that overwrite each other."""

_WORTH_SAYING = 60.0

_WITHOUT_CURSOR = ("dumb", "unknown")
"""What TERM says of a terminal on which no line can be overwritten."""


class TerminalReporter(Reporter):
    """Notices as lines; progress as a line that is overwritten and gone in the end, elsewhere as lines now and then.

    Args:
        quiet: say nothing.
        clock: seconds.
        writes: the files that the command will write, which it may not read.
    """

    def __init__(
        self, quiet: bool, clock: Callable[[], float] = time.monotonic, writes: Sequence[OutputFile] = ()
    ) -> None:
        self._quiet, self._clock, self._writes = quiet, clock, writes
        self._live = not quiet and sys.stderr.isatty() and os.environ.get("TERM", "") not in _WITHOUT_CURSOR
        self._lines = Lines(self.notice, clock)
        self._shown: Live | None = None
        self._begun, self._last = clock(), 0.0
        self._last_line = self._last_epoch = clock()
        self._progress = SILENT_PROGRESS if quiet else ToldProgress(self.standing, clock)
        self._epochs = self._epoch = self._first = self._steps = self._done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def notice(self, text: str) -> None:
        """Print a line for the user."""
        if not self._quiet:
            self._line(f"bnsharp: {for_the_command(text)}")

    def reads(self, files: Sequence[Path]) -> None:
        """Refuse to write over what is read."""
        for argument, path in self._writes:
            require_no_input(path, argument, files)

    def activity(self, text: str) -> None:
        """The line of progress."""
        if text:
            self._follow(text)
        else:
            self._clear()

    def standing(self, standing: Standing) -> None:
        """The line of progress of a measurement; first its cost, where that is high."""
        if not self._quiet:
            self._lines.announce(standing)
        if self._live or is_long(standing):
            self.activity("" if standing.ended else str(standing))

    @property
    def progress(self) -> Progress:
        """What tells :meth:`standing`."""
        return self._progress

    def begin(self, done: int, epochs: int, steps: int, gradients_per_step: int, batch_size: int) -> None:
        """Say what the run costs, before it starts."""
        self._epoch = self._first = done
        self._begun, self._epochs, self._steps, self._done = self._clock(), epochs, steps, 0
        left = (epochs - done) * steps
        after = f" after epoch {done}" if done else ""
        self.notice(
            f"{left * gradients_per_step:,} gradients of {batch_size:,} samples{after} "
            f"({counted(epochs - done, 'epoch')} of {counted(steps, 'step')})"
        )

    def step(self, done: int, loss: float) -> None:
        """How far the epoch is; once, after the first steps, how long a long run will take."""
        self._done = (self._epoch - self._first) * self._steps + done
        now = self._clock()
        if self._done == _FIRST_STEPS and self._seconds_left() > _WORTH_SAYING:
            self.notice(f"about {duration(self._seconds_left())} to go, by the first {_FIRST_STEPS} steps")
        if now - self._last >= _BETWEEN:
            self._last = now
            where = f"epoch {self._epoch + 1}/{self._epochs}  step {done}/{self._steps}"
            self._follow(f"{where}  loss {loss:.4g}  {duration(self._seconds_left())} left")

    def epoch(self, figures: Mapping[str, float | None]) -> None:
        """A line on a terminal; elsewhere one now and then."""
        self._epoch += 1
        self._done = (self._epoch - self._first) * self._steps
        due = self._clock() - self._last_epoch >= BETWEEN_LINES
        if not self._quiet and (self._live or due):
            self._last_epoch = self._clock()
            shown = [f"{name} {_shown(name, value)}" for name, value in figures.items() if value is not None]
            left = [f"{duration(self._seconds_left())} left"] if self._epoch < self._epochs else []
            self._line("  ".join([f"epoch {self._epoch}/{self._epochs}", *shown, *left]))

    def _seconds_left(self) -> float:
        total = (self._epochs - self._first) * self._steps
        return (self._clock() - self._begun) / max(1, self._done) * (total - self._done)

    def _line(self, text: str) -> None:
        self._clear()
        self._last_line = self._clock()
        say(text)

    def _follow(self, text: str) -> None:
        if not self._live:
            if self._clock() - self._last_line >= BETWEEN_LINES:
                self.notice(text)
            return
        if self._shown is None:
            self._shown = _vanishing_lines()
            self._shown.start()
        self._shown.update(for_the_command(text), refresh=True)

    def _clear(self) -> None:
        if self._shown is not None:
            self._shown.stop()
            self._shown = None


def _vanishing_lines() -> Live:
    """Text that vanishes, folded where it is wider than the terminal.

    rich is imported for terminals alone.
    """
    with importing_libraries():
        from rich.console import Console
        from rich.live import Live

    return Live(
        console=Console(stderr=True, markup=False, highlight=False, emoji=False),
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        vertical_overflow="visible",
    )


def _shown(name: str, value: float) -> str:
    return f"{value:.2%}" if name.endswith("accuracy") else f"{value:.4g}"
