"""What a training run says while it works: its cost first, then how far it is and how long it will take."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping

import typer

_REGULAR_EPOCHS = 10
_FIRST_STEPS = 5
_BETWEEN = 0.2
"""Seconds between two lines that overwrite each other."""

_WORTH_SAYING = 60.0


class Display:
    """Lines on stderr: notices, and progress on a terminal alone.

    Args:
        quiet: say nothing.
        epochs: of the whole run.
        clock: seconds.
    """

    def __init__(self, quiet: bool, epochs: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._quiet, self._epochs, self._clock = quiet, epochs, clock
        self._live = not quiet and sys.stderr.isatty()
        self._begun, self._last, self._done = clock(), 0.0, 0
        self._epoch = self._first = self._steps = 0

    def notice(self, text: str) -> None:
        """A line for the user."""
        if not self._quiet:
            typer.echo(f"bnsharp: {text}", err=True)

    def begin(self, epoch: int, steps: int, gradients_per_step: int, batch_size: int) -> None:
        """Say what the run costs, before it starts.

        Args:
            epoch: how many epochs are done.
            steps: of each epoch.
            gradients_per_step: of the rule.
            batch_size: samples of a gradient.
        """
        self._epoch = self._first = epoch
        self._begun, self._steps = self._clock(), steps
        left = (self._epochs - epoch) * steps
        after = f" after epoch {epoch}" if epoch else ""
        self.notice(
            f"{left * gradients_per_step:,} gradients of {batch_size:,} samples{after} "
            f"({self._epochs - epoch} epochs of {steps} steps)"
        )

    def step(self, done: int, loss: float) -> None:
        """One more step of the epoch is done, with this loss before it."""
        self._done = (self._epoch - self._first) * self._steps + done
        now = self._clock()
        if self._done == _FIRST_STEPS and self._seconds_left() > _WORTH_SAYING:
            self.notice(f"about {duration(self._seconds_left())} to go, by the first {_FIRST_STEPS} steps")
        if self._live and now - self._last >= _BETWEEN:
            self._last = now
            where = f"epoch {self._epoch + 1}/{self._epochs}  step {done}/{self._steps}"
            self._overwrite(f"{where}  loss {loss:.4g}  {duration(self._seconds_left())} left")

    def phase(self, text: str) -> None:
        """What is done between the steps."""
        if self._live:
            self._overwrite(text)

    def epoch(self, figures: Mapping[str, float | None]) -> None:
        """An epoch is done: a line on a terminal; every tenth where BNSHARP_PROGRESS asks for it, as in a log."""
        self._epoch += 1
        self._done = (self._epoch - self._first) * self._steps
        if self._live:
            self._overwrite("")
        logged = not self._quiet and "BNSHARP_PROGRESS" in os.environ and self._epoch % _REGULAR_EPOCHS == 0
        if self._live or logged:
            shown = [f"{name} {_shown(name, value)}" for name, value in figures.items() if value is not None]
            left = [f"{duration(self._seconds_left())} left"] if self._epoch < self._epochs else []
            typer.echo("  ".join([f"epoch {self._epoch}/{self._epochs}", *shown, *left]), err=True)

    def _seconds_left(self) -> float:
        total = (self._epochs - self._first) * self._steps
        return (self._clock() - self._begun) / max(1, self._done) * (total - self._done)

    def _overwrite(self, text: str) -> None:
        typer.echo(f"\r\x1b[2K{text}", err=True, nl=False)


def duration(seconds: float) -> str:
    """Hours, minutes and seconds as a clock shows them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _shown(name: str, value: float) -> str:
    return f"{value:.2%}" if name.endswith("accuracy") else f"{value:.4g}"
