"""The files of a training run, all of them whole whenever somebody looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bnsharp_cli.errors import CheckpointRefusedError, UsageError, named
from bnsharp_cli.io.containers.read_container import read_container
from bnsharp_cli.io.files.atomic_writing import remove_leftovers, write_atomically
from bnsharp_cli.io.files.printable_text import shown_path

_RUN_FORMAT = "bnsharp-run/1"


@dataclass(frozen=True)
class RunFiles:
    """The files of a run: they lie beside its output, and their names begin as that does.

    Attributes:
        output: the last network, such as ``run.pt``.
    """

    output: Path

    @property
    def best(self) -> Path:
        """The network with the best figures on the test split: ``run.best.pt``."""
        return self.output.with_name(f"{self.output.stem}.best{self.output.suffix}")

    @property
    def metrics(self) -> Path:
        """One JSON document an epoch: ``run.metrics.jsonl``."""
        return self.output.with_name(f"{self.output.stem}.metrics.jsonl")

    @property
    def state(self) -> Path:
        """All that the run needs to go on: ``run.state``. An epoch counts from the moment this file says so."""
        return self.output.with_name(f"{self.output.stem}.state")

    def require_names_apart(self) -> None:
        """Refuse a name that two files of the run would have.

        Raises:
            UsageError: with one that is right.
        """
        if self.output in (self.state, self.metrics):
            raise UsageError(
                f"{named('output')}: {shown_path(self.output)} would be two files of this run.",
                "For example run.pt.",
                argument="output",
                expected="a name for the last network",
                found=str(self.output),
            )

    def remove_leftovers(self) -> None:
        """Remove what a killed run left half-done."""
        for path in self.every:
            remove_leftovers(path)

    @property
    def every(self) -> tuple[Path, ...]:
        """All files of the run."""
        return self.output, self.best, self.metrics, self.state

    def load_state(self) -> Mapping[str, Any] | None:
        """What :meth:`save_state` wrote, or None if there is no such file. Nothing in it is executed.

        Raises:
            CheckpointRefusedError: a file that is no state of a run.
        """
        if not self.state.exists():
            return None
        content = read_container(self.state).content
        if content.get("format") != _RUN_FORMAT:
            raise CheckpointRefusedError(
                f"{shown_path(self.state)} is not the state of a training run.",
                f"Name another {named('output')}.",
                subject=self.state,
            )
        return content

    def save_state(self, content: Mapping[str, Any]) -> None:
        """Write plain containers, numbers and tensors, whole or not at all."""
        write_atomically(self.state, lambda stream: torch.save({"format": _RUN_FORMAT, **content}, stream))

    def begin(self) -> None:
        """Forget an earlier run: its state first, so that no moment has the state of one and the figures of another."""
        for path in (self.state, self.metrics, self.best):
            path.unlink(missing_ok=True)
