"""Keeping the records of a monitor: a file with a line for each, and a tracker; neither may end a training run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from bnsharp_cli.errors import UsageError
from bnsharp_cli.integrations.trackers import Tracker, open_tracker, require_tracker
from bnsharp_cli.io.files.atomic_writing import append_at, require_writable
from bnsharp_cli.io.files.printable_text import shown_path
from bnsharp_cli.io.files.regular_files import open_regular, reason_of

PREFIX = "sharpness/"
"""What the names of figures begin with where a training run has other figures too."""


def require_lines_file(path: Path) -> None:
    """Refuse a file that no line can be appended to, or that holds something else than lines of a monitor.

    Raises:
        UsageError: naming what is wrong with it.
    """
    require_writable(path, "file")
    if not path.exists():
        return
    try:
        with open_regular(path) as file:
            ends = file.read(0, 1), file.read(max(0, file.size - 1), 1)
    except OSError as error:
        raise _other_file(path, reason_of(error)) from error
    if any(ends) and ends != (b"{", b"\n"):
        raise _other_file(path, "it holds something else than lines of a monitor")


def _other_file(path: Path, why: str) -> UsageError:
    return UsageError(
        f"Cannot append to {shown_path(path)}: {why}.",
        "Name another file.",
        argument="file",
        expected="a new file, or one of a monitor",
        found=why,
        subject=path,
    )


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Append a record as a line of JSON, and make the file if it is not there.

    Raises:
        BnsharpError: it cannot be written to.
    """
    length = path.stat().st_size if path.exists() else 0
    append_at(path, length, json.dumps(record, ensure_ascii=False) + "\n")


class RecordKeeping:
    """Sends each record on; what fails is told to ``warn``, and training goes on.

    A tracker is opened with the first record, so that processes without records open none.

    Args:
        file: to append a line for each record to; None for none.
        track: a specification of a tracker; None for none.
        name: of the run in the tracker.
        options: of the run, for the tracker.
        warn: told what failed, and why.

    Raises:
        UsageError: a file or a folder that cannot be written to, or an unknown tracker.
    """

    def __init__(
        self,
        file: Path | None,
        track: str | None,
        name: str,
        options: Mapping[str, Any],
        warn: Callable[[str, Exception], None],
    ) -> None:
        self._file, self._track, self._name, self._options, self._warn = file, track, name, options, warn
        self._tracker: Tracker | None = None
        if file is not None:
            require_lines_file(file)
        if track is not None:
            require_tracker(track, name)

    def keep(self, record: Mapping[str, Any], position: int) -> None:
        """Send a record on.

        Args:
            record: as it is.
            position: of it on the axis of the tracker.
        """
        if self._file is not None:
            self._tried(f"{shown_path(self._file)} was not written", partial(append_line, self._file, record))
        if self._track is not None:
            self._tried("The tracker got no figures", partial(self._send, self._track, record, position))

    def close(self) -> None:
        """End the tracker's run; further records begin another one."""
        tracker, self._tracker = self._tracker, None
        if tracker is not None:
            self._tried("The tracker's run was not ended", tracker.close)

    def _send(self, track: str, record: Mapping[str, Any], position: int) -> None:
        if self._tracker is None:
            self._tracker = open_tracker(track, self._name, self._options)
        self._tracker.log(position, figures_of(record))

    def _tried(self, what: str, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:  # a disk and a server fail as they like, and training goes on
            self._warn(what, error)


def figures_of(record: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a record, by the names that they have among the figures of a training run.

    >>> figures_of({"step": 3, "epoch": None, "bn": 0.5, "bn_status": "converged"})
    {'sharpness/bn': 0.5}
    """
    numbers = {name: value for name, value in record.items() if isinstance(value, float)}
    return {f"{PREFIX}{name}": value for name, value in numbers.items() if name not in {"step", "epoch"}}
