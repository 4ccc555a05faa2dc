"""The files in which an experiment keeps its figures; whoever hands on the folder may have written them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from bnsharp_cli.errors import CheckpointRefusedError, UsageError, named
from bnsharp_cli.io.containers.bounded_json import bounded_json
from bnsharp_cli.io.files.atomic_writing import append_at
from bnsharp_cli.io.files.printable_text import kind_and_line, one_line, shown_path
from bnsharp_cli.io.files.regular_files import read_beside, reason_of
from bnsharp_cli.measurement.measures.measurement import Status
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
            CheckpointRefusedError: a file that holds something else, or a run twice.
        """
        done = self._records()
        for identity in identities:
            known = done.get(result_key(identity))
            if known is not None and not all(_is_identical(known[name], value) for name, value in identity.items()):
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
            content, self._end = _whole_lines(self.path)
        except FileNotFoundError:
            return {}
        done: dict[ResultKey, Mapping[str, Any]] = {}
        for number, record in _records_of(self.path, content):
            if not _has_exactly(record, _RESULT):
                raise _no_results(self.path, number)
            if result_key(record) in done:
                name, data, seed = result_key(record)
                once = f"{one_line(name)} on {one_line(data)} with seed {seed}"
                raise _refused(self.path, f"holds {once} twice, in line {number} again")
            done[result_key(record)] = record
        return done


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
        content, _ = _whole_lines(path)
    except FileNotFoundError as error:
        raise _refused(path, f"cannot be read: {reason_of(error)}") from error
    accuracies = []
    for number, record in _records_of(path, content):
        share = record.get("test_accuracy") if isinstance(record, Mapping) else None
        if not _is_share(share) or not _is_identical(record.get("epoch"), number):
            raise _refused(path, f"does not hold the figures of {epochs} epochs (line {number})")
        accuracies.append(share)
    if len(accuracies) != epochs:
        raise _refused(path, f"does not hold the figures of {epochs} epochs")
    return accuracies


def _whole_lines(path: Path) -> tuple[bytes, int]:
    """The lines that have an end, and how many bytes they are.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointRefusedError: it is no regular file, too large or no text.
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
    return content[:end], end


def _records_of(path: Path, content: bytes) -> Iterator[tuple[int, Any]]:
    """What each line says, with its number from 1.

    Raises:
        CheckpointRefusedError: a line that is no JSON.
    """
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        try:
            record = bounded_json(line)
        except (ValueError, RecursionError) as error:
            raise _no_results(path, number) from error
        yield number, record


def _is_identical(found: object, expected: object) -> bool:
    """Whether two values of JSON are the same, types included: neither ``0.0`` nor ``false`` is 0."""
    if type(found) is not type(expected):
        return False
    if isinstance(found, list) and isinstance(expected, list):
        return len(found) == len(expected) and all(map(_is_identical, found, expected))
    if isinstance(found, dict) and isinstance(expected, dict):
        return found.keys() == expected.keys() and all(_is_identical(found[name], expected[name]) for name in found)
    return found == expected


def _has_exactly(record: object, schema: Mapping[str, Callable[[object], bool]]) -> bool:
    """Whether a record has the entries of a schema, each accepted by it, and no others."""
    return (
        isinstance(record, Mapping)
        and record.keys() == schema.keys()
        and all(accept(record[name]) for name, accept in schema.items())
    )


def _is_measured(found: object) -> bool:
    return _has_exactly(found, _FAILED) or _has_exactly(found, _MEASURED)


def _is_float(value: object) -> TypeGuard[float]:
    return isinstance(value, float) and math.isfinite(value)


def _is_share(value: object) -> TypeGuard[float]:
    return _is_float(value) and 0 <= value <= 1


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MOST_GRADIENTS


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_float_or_none(value: object) -> bool:
    return value is None or _is_float(value)


_ERRORS = dict.fromkeys(("quadrature", "rounding", "sampling", "bracket"), _is_float_or_none)
_MEASURED: Mapping[str, Callable[[object], bool]] = {
    "value": _is_float_or_none,
    "status": lambda value: isinstance(value, str) and value in [*Status],
    "uncertainty": lambda value: isinstance(value, Mapping) and _has_exactly({"bracket": None, **value}, _ERRORS),
}
_FAILED: Mapping[str, Callable[[object], bool]] = {"error": _is_text}
_RESULT: Mapping[str, Callable[[object], bool]] = {
    **dict.fromkeys(("experiment", "name", "data", "arch"), _is_text),
    "options": lambda value: isinstance(value, Mapping),
    "published": _is_float,
    "seed": _is_count,
    "train_loss": _is_float,
    "train_accuracy": _is_share,
    "test_loss": _is_float,
    "test_accuracy": _is_share,
    "gradients": _is_count,
    "batch_size": _is_count,
    "measures": lambda value: _has_exactly(value, dict.fromkeys(COMPARED_MEASURES, _is_measured)),
}
"""A line of results: every entry that there is, with what it may be."""


def _no_results(path: Path, line: int) -> CheckpointRefusedError:
    return _refused(path, f"does not hold results of this command (line {line})")


def _refused(path: Path, why: str) -> CheckpointRefusedError:
    return CheckpointRefusedError(f"{shown_path(path)} {why}.", "Name another folder.")
