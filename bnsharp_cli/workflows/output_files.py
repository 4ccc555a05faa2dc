"""What a command is to write is looked at before any work: every file by the name that it will have."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.io.files.atomic_writing import require_writable, require_writable_folder
from bnsharp_cli.measurement.invariance.options import COPY_NAMES
from bnsharp_cli.workflows.input_files import require_no_input

OutputFile = tuple[str, Path]
"""The argument that names a file, and the file."""


def require_outputs(outputs: Sequence[OutputFile], inputs: Sequence[Path]) -> None:
    """Refuse files that could not be written after the work.

    Args:
        outputs: what is written.
        inputs: what is read, from :func:`~bnsharp_cli.workflows.input_files.input_files`.

    Raises:
        UsageError: a link, no regular file, a folder that does not exist or may not be written to, a file that is read,
            or one that two arguments name.
    """
    for argument, path in outputs:
        require_writable(path, argument)
        require_no_input(path, argument, inputs)
    for (first, one), (second, other) in itertools.combinations(outputs, 2):
        if first != second and os.path.realpath(one) == os.path.realpath(other):
            raise UsageError(
                f"{named(first)} and {named(second)} name the same file.",
                "Name two.",
                argument=second,
                expected="another file",
                found=str(other),
            )


def copy_path(folder: Path, name: str, stored: bool) -> Path:
    """The path at which the copy of a name is saved; those with ε as stored have an ending of their own.

    >>> copy_path(Path("copies"), "a = 0.001", stored=False)
    PosixPath('copies/a-0.001.pt')
    """
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-")
    return folder / f"{plain}{'.stored-epsilon.pt' if stored else '.pt'}"


def copies_in(folder: Path, stored: bool) -> list[OutputFile]:
    """Every copy that may be saved in a folder, once the folder is found fit; none where it is still to be made.

    Raises:
        UsageError: the folder is a link, or cannot be made or written to.
    """
    require_writable_folder(folder, "save_copies")
    return [("save_copies", copy_path(folder, name, stored)) for name in COPY_NAMES] if folder.is_dir() else []
