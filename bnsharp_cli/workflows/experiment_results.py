"""The files in which an experiment keeps its figures; whoever hands on the folder may have written them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from bnsharp_cli.errors import CheckpointRefusedError, UsageError, named
from bnsharp_cli.io.containers.bounded_json import bounded_json
from bnsharp_cli.io.files.atomic_writing import append_at
from bnsharp_cli.io.files.printable_text import kind_and_line, shown_path
from bnsharp_cli.io.files.regular_files import read_beside, reason_of
from bnsharp_cli.report.json_document import render_line

ResultKey = tuple[str, str, int]
"""Name of the cell, data and seed."""

COMPARED_MEASURES = ("bn", "delta-linf")
"""What every final network is measured by, as in the paper's tables."""

_LARGEST = 2**22
"""Bytes of a file of figures: those of thousands of runs."""
_MOST_GRADIENTS = 2**53


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
            if known is None:
                continue
            if any(known.get(name) != value for name, value in identity.items()):
                raise UsageError(
                    f"{shown_path(self.path)} has {identity['name']} with other options.",
                    f"Name another folder with {named('output')}.",
                    argument="output",
                    expected="a folder without results of other options",
                    found=str(self.path.parent),
                )
            if not _is_result(known):
                raise _no_results(self.path)
        return done

    def _records(self) -> dict[ResultKey, Mapping[str, Any]]:
        try:
            records, self._end = _read_lines(self.path)
            return {result_key(record): record for record in records}
        except FileNotFoundError:
            return {}
        except (KeyError, TypeError) as error:
            raise _no_results(self.path) from error


def result_key(result: Mapping[str, Any]) -> ResultKey:
    """The run that a result belongs to, as a key."""
    return result["name"], result["data"], result["seed"]


def read_accuracies(path: Path, epochs: int) -> list[float]:
    """The test accuracy after each epoch of a finished run, in [0, 1].

    Args:
        path: the run's file of figures.
        epochs: of the run.

    Raises:
        CheckpointRefusedError: the file is missing or holds something else.
    """
    try:
        records, _ = _read_lines(path)
    except FileNotFoundError as error:
        raise _refused(path, f"cannot be read: {reason_of(error)}") from error
    found = [record.get("test_accuracy") if isinstance(record, Mapping) else None for record in records]
    accuracies = [one for one in found if _is_share(one)]
    if len(records) != epochs or len(accuracies) != epochs:
        raise _refused(path, f"does not hold the figures of {epochs} epochs")
    return accuracies


def _read_lines(path: Path) -> tuple[list[Any], int]:
    """What each line says, and how many bytes the lines are that have an end.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointRefusedError: it is no regular file, too large, or holds something else than JSON.
    """
    try:
        content = read_beside(path, _LARGEST)
        content.decode()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _refused(path, f"cannot be read: {reason_of(error)}") from error
    except UnicodeDecodeError as error:
        raise _refused(path, f"cannot be read: {kind_and_line(error)}") from error
    end = content.rfind(b"\n") + 1
    try:
        return [bounded_json(line) for line in content[:end].split(b"\n")[:-1]], end
    except (ValueError, RecursionError) as error:
        raise _no_results(path) from error


def _is_result(record: Mapping[str, Any]) -> bool:
    """Whether a record has every figure that the table shows, in its range."""
    measures = record.get("measures")
    return (
        all(accept(record.get(name)) for name, accept in _FIGURES.items())
        and isinstance(measures, Mapping)
        and all(isinstance(measures.get(name), Mapping) for name in COMPARED_MEASURES)
        and all(_is_measured(measures[name]) for name in COMPARED_MEASURES)
    )


def _is_measured(found: Mapping[str, Any]) -> bool:
    return (found.get("value") is None or _is_number(found["value"])) and isinstance(found.get("status", ""), str)


def _is_number(value: object) -> bool:
    return (isinstance(value, float) and math.isfinite(value)) or _is_count(value)


def _is_share(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_GRADIENTS


_FIGURES: Mapping[str, Callable[[object], bool]] = {
    "train_loss": _is_number,
    "train_accuracy": _is_share,
    "test_loss": _is_number,
    "test_accuracy": _is_share,
    "gradients": _is_count,
    "batch_size": _is_count,
}


def _no_results(path: Path) -> CheckpointRefusedError:
    return _refused(path, "does not hold results of this command")


def _refused(path: Path, why: str) -> CheckpointRefusedError:
    return CheckpointRefusedError(f"{shown_path(path)} {why}.", "Name another folder.")
