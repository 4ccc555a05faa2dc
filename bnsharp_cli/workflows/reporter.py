"""The receiver of a workflow's notices and progress."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bnsharp_cli.measurement.surface.progress import SILENT_PROGRESS, Progress, Standing


class Reporter:
    """Receives notices and progress of a workflow; this one ignores them.

    Sentences name arguments as errors do, through :func:`~bnsharp_cli.errors.named`.
    """

    def notice(self, text: str) -> None:
        """A sentence that the user should read."""

    def reads(self, files: Sequence[Path]) -> None:
        """Files and folders that no argument names and that are read; a receiver may refuse that by raising."""

    def activity(self, text: str) -> None:
        """What is being done at the moment; an empty text once it is done."""

    def standing(self, standing: Standing) -> None:
        """How far a measurement is."""

    @property
    def progress(self) -> Progress:
        """What follows the passes of a measurement."""
        return SILENT_PROGRESS

    def begin(self, done: int, epochs: int, steps: int, gradients_per_step: int, batch_size: int) -> None:
        """A training run starts.

        Args:
            done: epochs that were done before.
            epochs: of the whole run.
            steps: of each epoch.
            gradients_per_step: of the training rule.
            batch_size: samples of a gradient.
        """

    def step(self, done: int, loss: float) -> None:
        """One more step of the epoch is done, with this loss before it."""

    def epoch(self, figures: Mapping[str, float | None]) -> None:
        """An epoch is done."""


SILENT = Reporter()
"""What callers from Python get unless they pass their own."""
