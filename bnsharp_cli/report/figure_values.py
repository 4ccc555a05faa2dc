"""The numbers of a figure in a file beside it, a row for each point."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from bnsharp_cli.errors import shown
from bnsharp_cli.io.files.atomic_writing import write_atomically, write_text_atomically
from bnsharp_cli.report.json_document import render


def write_values(path: Path | None, rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any] | None = None) -> None:
    """Write rows as .csv, .json or .npz, by the ending of the path.

    Args:
        path: where to; None for nowhere.
        rows: with the same entries each: texts, numbers, or None.
        about: what a .json says beside its ``rows``: caption, options, cost.
    """
    if path is None:
        return
    kind = path.suffix.lower()
    if kind == ".npz":
        write_atomically(path, lambda stream: _write_arrays(stream, rows), "values")
    else:
        text = _as_csv(rows) if kind == ".csv" else render({**(about or {}), "rows": rows})
        write_text_atomically(path, text, "values")


def _as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    stream = io.StringIO()
    table = csv.DictWriter(stream, [*rows[0]], lineterminator="\n")
    table.writeheader()
    table.writerows({name: _plain(entry) for name, entry in row.items()} for row in rows)
    return stream.getvalue()


def _plain(entry: Any) -> Any:
    """An entry that every encoding has: texts fit to print."""
    return shown(entry) if isinstance(entry, str) else entry


def _write_arrays(stream: BinaryIO, rows: Sequence[Mapping[str, Any]]) -> None:
    """A column each; texts as numpy's texts, None as NaN."""
    columns: dict[str, Any] = {
        name: np.array([math.nan if row[name] is None else _plain(row[name]) for row in rows]) for name in rows[0]
    }
    np.savez(stream, **columns)
