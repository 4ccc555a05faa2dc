"""The file in which an experiment keeps the results of its runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bnsharp_cli.errors import CheckpointRefusedError, UsageError, named
from bnsharp_cli.io.files.atomic_writing import append_at
from bnsharp_cli.io.files.printable_text import kind_and_line, shown_path
from bnsharp_cli.report.json_document import render_line

ResultKey = tuple[str, str, int]
"""Name of the cell, data and seed."""


class ResultsFile:
    """The results of an experiment, one JSON document a line; a reader never sees half a file.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._end = path, 0

    def append(self, result: Mapping[str, Any]) -> None:
        """Add a result to the file."""
        self._end = append_at(self.path, self._end, render_line(result))

    def read(self, identities: Sequence[Mapping[str, Any]]) -> dict[ResultKey, Mapping[str, Any]]:
        """What is done; half a line that a killed process left is written over.

        Args:
            identities: what the results of an experiment belong to.

        Raises:
            UsageError: results that belong to other options.
            CheckpointRefusedError: a file that holds something else.
        """
        done = self._records()
        for identity in identities:
            known = done.get(result_key(identity))
            if known is not None and any(known.get(name) != value for name, value in identity.items()):
                raise UsageError(
                    f"{shown_path(self.path)} has {identity['name']} with other options.",
                    f"Name another folder with {named('output')}.",
                    argument="output",
                    expected="a folder without results of other options",
                    found=str(self.path.parent),
                )
        return done

    def _records(self) -> dict[ResultKey, Mapping[str, Any]]:
        try:
            text = self.path.read_text()
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            raise self._refused(f"cannot be read: {kind_and_line(error)}") from error
        whole = text[: text.rfind("\n") + 1]
        self._end = len(whole.encode())
        try:
            return {result_key(record): record for record in map(json.loads, whole.splitlines())}
        except (ValueError, KeyError, TypeError) as error:
            raise self._refused("does not hold results of this command") from error

    def _refused(self, why: str) -> CheckpointRefusedError:
        return CheckpointRefusedError(f"{shown_path(self.path)} {why}.", "Name another folder.")


def result_key(result: Mapping[str, Any]) -> ResultKey:
    """The run that a result belongs to, as a key."""
    return result["name"], result["data"], result["seed"]
