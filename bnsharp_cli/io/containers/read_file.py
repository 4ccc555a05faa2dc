"""The content of one file, whatever its format: the formats that are read, in one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bnsharp_cli.io.containers.content_writer import Found
from bnsharp_cli.io.containers.file_kinds import recognise
from bnsharp_cli.io.containers.legacy_files import read_legacy
from bnsharp_cli.io.containers.safetensors_files import read_safetensors
from bnsharp_cli.io.containers.torch_files import read_torch_zip
from bnsharp_cli.io.files.regular_files import RegularFile

_READERS: Mapping[str, Callable[[RegularFile], Found]] = {
    "zip": read_torch_zip,
    "pickle": read_legacy,
    "safetensors": read_safetensors,
}


def found_in(file: RegularFile) -> tuple[str, Found]:
    """The kind of a file, and what it holds.

    Raises:
        CheckpointRefusedError: it is of no kind that is read, or damaged.
        PickleRefusedError: its pickle is damaged, or does what no saved weights do.
        UnsoundContentError: it holds what no checkpoint of weights has.
    """
    kind = recognise(file)
    return kind, _READERS[kind](file)
