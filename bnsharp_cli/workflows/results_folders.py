"""Folders of results that many jobs wrote: which files are results, which are current, and each of them once."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from bnsharp_cli.errors import CheckpointRefusedError, UsageError, shown
from bnsharp_cli.io.files.printable_text import one_line, shown_path
from bnsharp_cli.io.files.regular_files import open_regular, reason_of
from bnsharp_cli.report.numbered_names import natural_key
from bnsharp_cli.report.stored_results import OF_ONE_NETWORK, is_result, measurements_of, read_documents
from bnsharp_cli.workflows.input_files import RESULT_ENDINGS
from bnsharp_cli.workflows.measuring import ResultDocument

_MOST = 1000
_LONGEST = 200
_OF_WEIGHTS = ("sha256", "key", "architecture")


def is_kept(path: Path) -> bool:
    """Whether a path is that of a result, not of a checkpoint."""
    try:
        return is_result(path)
    except (OSError, ValueError):  # a folder, a name of a sample, or what opening it as a checkpoint will tell
        return False


@dataclass(frozen=True)
class FolderFiles:
    """The files of a folder that end as results do, in the order of the numbers in their names.

    Attributes:
        results: those that begin as results do.
        others: the rest, and what each of them is instead.
    """

    results: Sequence[Path] = ()
    others: Mapping[Path, str] = field(default_factory=dict)


def result_files(folder: Path) -> FolderFiles:
    """Look through a folder for results; there is none in a file, and in the folder of a model.

    Raises:
        UsageError: it has more files than are looked at.
    """
    try:
        if not folder.is_dir():
            return FolderFiles()
        every = [*islice((one for one in folder.iterdir() if one.name.endswith(RESULT_ENDINGS)), _MOST + 1)]
    except OSError:  # it may not be listed, which opening it as a checkpoint will tell
        return FolderFiles()
    every.sort(key=lambda path: natural_key(path.name))
    others = {path: instead for path in every if (instead := _instead(path))}
    results = [path for path in every if path not in others]
    if results and len(every) > _MOST:
        raise UsageError(
            f"{shown_path(folder)} has more than {_MOST:,} files that may be results.",
            "Write the results of several checkpoints into one file, or name several folders with fewer files.",
            argument="checkpoint",
            expected=f"a folder of at most {_MOST:,} results",
            found=folder,
        )
    return FolderFiles(results, others)


def _instead(path: Path) -> str:
    """What a file is that is no result; empty for one that begins as results do."""
    if path.is_symlink():  # whoever wrote into the folder chose where it leads
        return "a link, which is not followed"
    try:
        if is_result(path):
            return ""
        return "empty" if path.stat().st_size == 0 else "no result of bnsharp"
    except OSError as error:
        return reason_of(error)


@dataclass
class FolderResults:
    """The results of folders: what is spoiled, stale or there twice is left out, and told.

    Attributes:
        results: of one network each.
        files: those that were read.
        notes: a sentence for each file, or document in it, that is not taken as it is.
    """

    results: list[ResultDocument] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, paths: Sequence[Path]) -> FolderResults:
        """Read the folders of results among some paths.

        Raises:
            UsageError: too many files, or results that contradict each other.
        """
        found = cls()
        for path in dict.fromkeys(paths):
            files = result_files(path)
            if files.results:
                found._add(files)
        return found

    def take(self, folder: Path) -> list[ResultDocument] | None:
        """The results of a folder that were not taken yet; None for what is no folder of results."""
        if all(path.parent != folder for path in self.files):
            return None
        own = [one for one in self.results if one.kept is not None and one.kept.parent == folder]
        self.results = [one for one in self.results if one not in own]
        return own

    def _add(self, found: FolderFiles) -> None:
        """Read the results of one more folder.

        Raises:
            UsageError: two results of the same weights, samples and options contradict each other.
        """
        self.notes += [f"{shown_path(path)} is left out: {instead}" for path, instead in found.others.items()]
        self.files += [*found.results, *found.others]
        for path in found.results:
            try:
                documents = read_documents(path)
            except CheckpointRefusedError as error:
                self.notes.append(f"{shown_path(path)} is left out: {_after_the_name(error, path)}")
                continue
            for document in documents:
                self._take(path, document)

    def _take(self, path: Path, document: Mapping[str, Any]) -> None:
        """One document of a file, unless something speaks against it."""
        if (reason := _against(document)) is not None:
            self.notes.append(f"{shown_path(path)} is left out: {reason}")
            return
        own = ResultDocument(document, measurements_of(document["measures"], document["skipped"]), path)
        place = next((place for place, one in enumerate(self.results) if _is_of_the_same(one.document, document)), None)
        if place is None:
            self.results.append(own)
            return
        known = self.results[place]
        if document["key"] == known.document["key"]:
            _require_same_numbers(known, own)
            self.notes.append(f"{shown_path(path)} has the same result as {shown_path(known.kept)}, which is used once")
            return
        self.results[place] = _joined(known, own)
        added = ", ".join(map(shown, document["measures"]))
        self.notes.append(f"{shown_path(path)} adds {added} to the network of {shown_path(known.kept)}")


def _after_the_name(error: CheckpointRefusedError, path: Path) -> str:
    return error.reason.removeprefix(f"{shown_path(path)}: ").removeprefix(f"{shown_path(path)} ").removesuffix(".")


def _against(document: Mapping[str, Any]) -> str | None:
    """Why a document is no current result of one network; None if it is."""
    if "command" not in document:
        reason = one_line(document["error"]["reason"], _LONGEST)
        return f"{one_line(document['path'], _LONGEST)} could not be measured: {reason}"
    if document["command"] not in OF_ONE_NETWORK:
        return f"a result of {document['command']}, not of one network"
    checkpoint = Path(document["checkpoint"]["path"])
    if _digest(checkpoint) in (None, document["checkpoint"]["sha256"]):
        return None
    return f"stale, since {shown_path(checkpoint)} has other content than what was measured"


def _digest(checkpoint: Path) -> str | None:
    """The digest of a file that a result names, if there is one here whose digest is that of its bytes alone."""
    if checkpoint.suffix == ".json":  # the index of several files
        return None
    try:
        with open_regular(checkpoint) as file:
            return file.sha256()
    except (OSError, ValueError):  # a folder, or what lies on another machine
        return None


def _is_of_the_same(first: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two results belong to the same network, samples and options, and test data where both have some."""
    checkpoints = [[one["checkpoint"][name] for name in _OF_WEIGHTS] for one in (first, other)]
    tested = [one["test"]["data"] for one in (first, other) if one["test"] is not None]
    alike = all(first[name] == other[name] for name in ("data", "options")) and tested[:1] == tested[-1:]
    return checkpoints[0] == checkpoints[1] and alike


def _require_same_numbers(first: ResultDocument, other: ResultDocument) -> None:
    """Refuse two results of one key whose measures differ by more than both say of rounding.

    Raises:
        UsageError: naming both, and the measure.
    """
    for own, their in zip(first.measured, other.measured, strict=False):
        allowed = (own.uncertainty.rounding or 0.0) + (their.uncertainty.rounding or 0.0)
        if not math.isclose(own.value, their.value, rel_tol=0.0, abs_tol=allowed) and math.isfinite(own.value):
            values = f"{shown(own.name)} is {own.value:.9g} and {their.value:.9g}"
            raise _contradiction(first, other, f"have the same key and differ: {values}")


def _joined(first: ResultDocument, other: ResultDocument) -> ResultDocument:
    """One result with the measures of both.

    Raises:
        UsageError: both have the same measure, so that one of them was measured with other code or another version.
    """
    both = [name for name in first.document["measures"] if name in other.document["measures"]]
    if both:
        raise _contradiction(first, other, f"are two results of {both[0]} of one network, and one of them is stale")
    keys = sorted([first.document["key"], other.document["key"]])
    document = {
        **first.document,
        "test": other.document["test"] if first.document["test"] is None else first.document["test"],
        "measures": {**first.document["measures"], **other.document["measures"]},
        "skipped": {**first.document["skipped"], **other.document["skipped"]},
        "key": hashlib.sha256("".join(keys).encode()).hexdigest(),
    }
    return replace(first, document=document, measured=measurements_of(document["measures"], document["skipped"]))


def _contradiction(first: ResultDocument, other: ResultDocument, how: str) -> UsageError:
    return UsageError(
        f"{shown_path(first.kept)} and {shown_path(other.kept)} {how}.",
        "Move the wrong one out of the folder, or measure again.",
        argument="checkpoint",
        expected="results that agree",
        found=how,
    )
