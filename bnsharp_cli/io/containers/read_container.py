"""From a path to plain content: the one function by which the rest of bnsharp reads an untrusted checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.containers.built_content import built_nodes, built_value
from bnsharp_cli.io.containers.describe import TABLE
from bnsharp_cli.io.containers.description import Description
from bnsharp_cli.io.containers.folders import folder_files
from bnsharp_cli.io.containers.limited_process import described
from bnsharp_cli.io.containers.remedies import COPY_AGAIN, SAVE_WEIGHTS
from bnsharp_cli.io.containers.stored_bytes import FileBytes, read_bytes
from bnsharp_cli.io.containers.unsound_content import UnsoundContentError
from bnsharp_cli.io.containers.untrusted_files import is_folder, open_untrusted, require_bearable, require_unchanged
from bnsharp_cli.io.files.printable_text import shown_path
from bnsharp_cli.io.files.regular_files import RegularFile


@dataclass(frozen=True)
class Container:
    """What a file holds, before anyone has asked which of it are the weights.

    Attributes:
        kind: ``zip``, ``pickle`` (torch's format before 1.6), ``safetensors`` or ``distributed``.
        content: plain containers, strings, numbers and dense tensors that own as many bytes as they declare.
        metadata: the ``__metadata__`` of a safetensors file, empty elsewhere.
        sha256: of the file's bytes.
        notes: what the user should know about the reading, a line each.
    """

    kind: str
    content: Mapping[str, Any]
    sha256: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_container(path: Path) -> Container:
    """Read a file, or a folder of ``torch.distributed.checkpoint``, without executing anything in it.

    Raises:
        CheckpointRefusedError: with one line of reason and one of remedy.
    """
    if is_folder(path):
        return _read_folder(path)
    (container,) = read_containers([path])
    return container


def read_containers(paths: Sequence[Path]) -> list[Container]:
    """Read several files, which together may cost as much as one.

    Raises:
        CheckpointRefusedError: with one line of reason and one of remedy.
    """
    with ExitStack() as opened:
        files = [opened.enter_context(open_untrusted(path)) for path in paths]
        description = described(files)
        read = _read(files, description, range(len(files)))
        made = _built(paths[0], description, read)
    return [
        Container(root.kind, built_value(root.content, made), read[number].sha256, built_value(root.metadata, made))
        for number, root in enumerate(description.roots)
    ]


def _read_folder(folder: Path) -> Container:
    with folder_files(folder) as files:
        description = described(files, folder)
        used = {part.file for part in description.stored} | {checksum.file for checksum in description.checksums}
        used |= {number for number, file in enumerate(files) if file.path.name == TABLE}
        read = _read(files, description, used)
        made = _built(folder, description, read)
    (root,) = description.roots
    digests = sorted(f"{files[number].path.name} {content.sha256}" for number, content in read.items())
    sha256 = hashlib.sha256("\n".join(digests).encode()).hexdigest()
    return Container(root.kind, built_value(root.content, made), sha256, notes=tuple(description.notes))


def _read(files: Sequence[RegularFile], description: Description, numbers: Collection[int]) -> dict[int, FileBytes]:
    """The bytes of the files with these numbers, to which nobody has written since they were opened."""
    require_bearable(files[0].path, sum(part.length for part in description.stored))
    read = {}
    for number in numbers:
        file = files[number]
        try:
            read[number] = read_bytes(
                file,
                [part for part in description.stored if part.file == number],
                [checksum for checksum in description.checksums if checksum.file == number],
            )
        except UnsoundContentError as error:
            require_unchanged(file)
            raise _refused(file.path, error) from error
        require_unchanged(file)
    return read


def _built(path: Path, description: Description, read: Mapping[int, FileBytes]) -> list[Any]:
    try:
        return built_nodes(description, read)
    except UnsoundContentError as error:
        raise _refused(path, error) from error


def _refused(path: Path, error: UnsoundContentError) -> CheckpointRefusedError:
    remedy = COPY_AGAIN if error.damaged else SAVE_WEIGHTS
    return CheckpointRefusedError(f"{shown_path(path)} {error.finding}.", remedy, found=error.finding)
