"""What the arguments of a report name: results, folders of results, or checkpoints that are still to be measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnsharp_cli.errors import UsageError
from bnsharp_cli.report.stored_results import read_documents
from bnsharp_cli.workflows.results_folders import is_kept, result_files

MOST_DOCUMENTS = 60
"""A page of more results would have more than a megabyte, and no reader."""


@dataclass(frozen=True)
class ReportedFile:
    """One document of a file, or a checkpoint.

    Attributes:
        path: of the file.
        document: None for a checkpoint.
    """

    path: Path
    document: Mapping[str, Any] | None


def reported_files(paths: Sequence[Path]) -> list[ReportedFile]:
    """The documents and checkpoints that some paths name, in their order.

    Raises:
        UsageError: more than a page shows.
        CheckpointRefusedError: a file that begins as a result does and is none.
    """
    found = [one for path in paths for one in _named_by(path)]
    if len(found) > MOST_DOCUMENTS:
        raise UsageError(
            f"A report shows at most {MOST_DOCUMENTS} results and checkpoints, and there are {len(found):,}.",
            "Name fewer.",
            argument="checkpoint",
            expected=f"at most {MOST_DOCUMENTS} results and checkpoints",
            found=len(found),
        )
    return found


def _named_by(path: Path) -> list[ReportedFile]:
    files = [path] if is_kept(path) else result_files(path).results
    if not files:
        return [ReportedFile(path, None)]
    return [ReportedFile(file, document) for file in files for document in read_documents(file)]
