"""Results that were kept as JSON documents: the one reader. Whoever hands one on may have written it himself."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from bnsharp_cli.errors import CheckpointRefusedError, shown
from bnsharp_cli.io.containers.bounded_json import bounded_json
from bnsharp_cli.io.data.preprocessing import Preprocessing
from bnsharp_cli.io.files.printable_text import shown_path
from bnsharp_cli.io.files.regular_files import open_regular, read_whole
from bnsharp_cli.measurement.measures.measurement import Measurement
from bnsharp_cli.measurement.measures.measurements import Measurements
from bnsharp_cli.measurement.surface.cost import Cost

SCHEMA = Path(__file__).parent / "schema" / "bnsharp-1.json"
NAME = "bnsharp/1"
OF_ONE_NETWORK = ("measure", "check")
"""Commands whose documents are results of one network, with all that a comparison needs."""

REPORTED = (*OF_ONE_NETWORK, "compare", "rescale-test", "audit", "bound")
"""Commands whose documents say something of a minimum."""

FAILURE = "failure"
"""What stands in a file of several results for a checkpoint that could not be measured."""

_LARGEST = 2**26
"""Bytes of a file of results: hundreds of networks with thousands of tensors."""
_LONGEST_NAMES = 3
_MARK = b'"bnsharp/'
_HEAD = 256


@dataclass(frozen=True)
class StoredResult:
    """What was measured of one checkpoint, as a document of schema ``bnsharp/1`` says.

    Attributes:
        path: of the file.
        document: all of it.
    """

    path: Path
    document: Mapping[str, Any]

    @property
    def measured(self) -> Measurements:
        """What was measured, every measure at every radius."""
        return measurements_of(self.document["measures"], self.document["skipped"])


def is_result(path: Path) -> bool:
    """Whether a file looks like a result of ours, by its first bytes.

    Raises:
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        head = file.read(0, _HEAD).lstrip()
    return head.startswith(b"{") and _MARK in head


def read_results(path: Path) -> list[StoredResult]:
    """The results of a file: one document, or one a line as ``measure`` prints several.

    Raises:
        CheckpointRefusedError: a file that is too large, that is no such document, or of another schema.
    """
    return [StoredResult(path, document) for document in read_documents(path, OF_ONE_NETWORK)]


def read_documents(path: Path, commands: Sequence[str] = (*REPORTED, FAILURE)) -> list[Mapping[str, Any]]:
    """The documents of a file, each as the schema describes it: one, or one a line.

    Args:
        path: of the file.
        commands: whose documents are taken, with :data:`FAILURE` what stands for one that failed.

    Raises:
        CheckpointRefusedError: a file that is too large, that is no such document, or of another schema.
    """
    text = _read(path)
    try:
        documents = [bounded_json(text)]
    except (ValueError, RecursionError) as error:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2:
            raise _refused(path, f"holds no JSON document: {shown(error)}") from error
        documents = [*_of_lines(path, lines)]
    for number, document in enumerate(documents, 1):
        _require_result(path, document, f"document {number}: " if len(documents) > 1 else "", commands)
    return documents


def measurements_of(records: Mapping[str, Any], skipped: Mapping[str, str] | None = None) -> Measurements:
    """What the ``measures`` of a document say, every measure at every radius.

    Args:
        records: by the names of the measures.
        skipped: why a measure was left out, by its name.
    """
    return Measurements({name: _profile(name, one) for name, one in records.items()}, dict(skipped or {}))


def on_every_sample(document: Mapping[str, Any]) -> bool:
    """Whether the whole split was used, so that there are no more samples to ask about."""
    return bool(document["data"]["samples"] == document["data"]["available"])


def total_cost(document: Mapping[str, Any]) -> tuple[Cost, float]:
    """All passes of the command, and the seconds that it took."""
    cost = document["cost"]
    return Cost(cost["forward"], cost["backward"]), cost["seconds"]


def _of_lines(path: Path, lines: list[bytes]) -> Iterator[Any]:
    for number, line in enumerate(lines, 1):
        try:
            yield bounded_json(line)
        except (ValueError, RecursionError) as error:
            raise _refused(path, f"holds no JSON document in line {number}: {shown(error)}") from error


def _read(path: Path) -> bytes:
    return read_whole(path, _LARGEST, "a file of results", lambda why: _refused(path, why))


def _require_result(path: Path, document: Any, where: str, commands: Sequence[str]) -> None:
    """Refuse what is no document of one of these commands as this version describes it.

    Raises:
        CheckpointRefusedError: naming the first entry that does not fit.
    """
    if not isinstance(document, dict) or document.get("schema") != NAME:
        found = shown(document.get("schema", "none")) if isinstance(document, dict) else "no document"
        raise _refused(path, f"{where}expected the schema {NAME}, found {found[:40]}")
    command = FAILURE if "command" not in document and "error" in document else document.get("command")
    if command not in commands:
        said = "a failure" if command == FAILURE else f"a result of {shown(command)[:40]}"
        wanted = [one for one in commands if one != FAILURE]
        raise _refused(path, f"{where}expected a result of {' or '.join(wanted)}, found {said}")
    error = best_match(_validator(command).iter_errors(document))
    if error is not None:
        raise _refused(path, f"{where}{_in_words(error)}")
    if "batch_losses" in document:
        _require_consistent(path, document, where)
    if "data" in document:
        _require_preprocessing(path, document["data"], where)
    if "comparison" in document:
        _require_pairs(path, document, where)


def _require_consistent(path: Path, document: Mapping[str, Any], where: str) -> None:
    """Refuse figures that cannot belong together.

    Raises:
        CheckpointRefusedError: naming them.
    """
    data, batches = document["data"], len(document["batch_losses"])
    if not batches or (data["available"] is not None and data["samples"] > data["available"]):
        raise _refused(path, f"{where}data: expected some batches and no more samples than there are")
    if len(document["batch_accuracies"]) not in {0, batches}:
        raise _refused(path, f"{where}batch_accuracies: expected {batches} numbers or none")
    if data["samples"] - data["batch_size"] * (batches - 1) < 1:
        raise _refused(path, f"{where}data: expected samples in each of {batches} batches")
    if len((data.get("text") or {}).get("tokens", ())) not in {0, batches}:
        raise _refused(path, f"{where}data.text.tokens: expected {batches} numbers or none")
    _require_groups(path, document.get("test"), where)
    for name, record in document.get("measures", {}).items():
        for one in (record, *record.get("profile", ())):
            if len(one["by_batch"]) not in {0, batches}:
                raise _refused(path, f"{where}measures.{name}.by_batch: expected {batches} numbers or none")


def _require_preprocessing(path: Path, data: Mapping[str, Any], where: str) -> None:
    """Refuse preprocessing that no image could get."""
    try:
        Preprocessing.from_dict(data["preprocessing"])
    except CheckpointRefusedError as error:
        raise _refused(path, f"{where}data.preprocessing: expected sizes, means and deviations of images") from error


def _require_pairs(path: Path, document: Mapping[str, Any], where: str) -> None:
    """Refuse comparisons of other networks than the document's, or of more than two."""
    names = {one["name"] for one in document["networks"]}
    every = [document["comparison"], document.get("over_seeds", [])]
    for row in (row for rows in every for row in rows):
        if len(row["networks"]) != 2 or len(row["values"]) != 2 or not names.issuperset(row["networks"]):
            raise _refused(path, f"{where}comparison: expected two of the networks, with two values")


def _require_groups(path: Path, test: Mapping[str, Any] | None, where: str) -> None:
    """Refuse groups of test samples that cannot belong together."""
    if test is None:
        return
    groups = len(test["group_sizes"])
    further = {len(test["group_accuracies"]), len(test.get("group_tokens", ()))}
    if len(test["group_losses"]) != groups or not further <= {0, groups}:
        raise _refused(path, f"{where}test: expected as many numbers as there are groups, {groups}")
    if "group_tokens" in test and not sum(test["group_tokens"]):
        raise _refused(path, f"{where}test.group_tokens: expected tokens in some group")
    if sum(test["group_sizes"]) != test["data"]["samples"]:
        raise _refused(path, f"{where}test.group_sizes: expected the samples of all groups to be those of the data")


@cache
def _validator(command: str) -> Draft202012Validator:
    """The part of the schema that describes documents of a command, ready to check one."""
    described = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return Draft202012Validator({"$ref": f"#/$defs/{command}", "$defs": described["$defs"]})


def _in_words(error: ValidationError) -> str:
    """What is wrong with which entry; the values of a stranger are left out, since they may be long."""
    path = ".".join(shown(part)[:40] for part in error.absolute_path) or "the document"
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        return f"{path} lacks {', '.join(missing[:_LONGEST_NAMES])}"
    if error.validator == "additionalProperties":
        return f"{path} has entries that this version does not know"
    return f"{path}: expected {error.validator} {shown(error.validator_value)[:80]}"


def _profile(name: str, record: Mapping[str, Any]) -> tuple[Measurement, ...]:
    """The measurements of one measure, one a radius; what is null was no number."""
    every = record.get("profile", [record])
    numbers = (math.nan if one["value"] is None else one["value"] for one in every)
    return tuple(
        Measurement.from_dict(name, {**one, "value": number}) for one, number in zip(every, numbers, strict=True)
    )


def _refused(path: Path, reason: str) -> CheckpointRefusedError:
    return CheckpointRefusedError(
        f"{shown_path(path)}: {reason}.",
        "Write it again with `bnsharp measure`, or name the checkpoint.",
        expected="a document that measure or check wrote",
        found=reason,
        subject=path,
    )
