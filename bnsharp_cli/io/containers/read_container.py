"""From a path to plain content: the one place where the rest of bnsharp reads an untrusted checkpoint.

The names, types and shapes in a file are known before a byte of a tensor is read. This outline is there at once, on the
meta device, so that whoever has no use for the file need not read it.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
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
        content: plain containers, strings, numbers and dense tensors that own as many bytes as they declare; in an
            outline they are on the meta device.
        metadata: the ``__metadata__`` of a safetensors file, empty elsewhere.
        sha256: of the file's bytes; empty in an outline.
        notes: what the user should know about the reading, a line each.
    """

    kind: str
    content: Mapping[str, Any]
    sha256: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class OpenedContainers:
    """Files that are open and described; the bytes of their tensors are read when somebody asks for them.

    Args:
        files: all of them.
        description: of their content.
        path: of the file or folder, for messages.
        digest: of the whole, from what was read, by the number of the file.
    """

    def __init__(
        self,
        files: Sequence[RegularFile],
        description: Description,
        path: Path,
        digest: Callable[[int, Mapping[int, FileBytes]], str],
        numbers: Collection[int],
    ) -> None:
        self._files, self._description, self._path = files, description, path
        self._digest, self._numbers = digest, numbers

    @cached_property
    def outlines(self) -> list[Container]:
        """The containers with tensors that have a type and a shape, but no values.

        Raises:
            CheckpointRefusedError: they hold more than can be read, or tensors in pieces that do not fit together.
        """
        require_bearable(self._path, sum(part.length for part in self._description.stored))
        return self._containers(_built(self._path, self._description, None), {})

    @cached_property
    def whole(self) -> list[Container]:
        """The containers, read.

        Raises:
            CheckpointRefusedError: damage, or somebody wrote to a file since it was opened.
        """
        read = _read(self._files, self._description, self._numbers)
        return self._containers(_built(self._path, self._description, read), read)

    def _containers(self, made: Sequence[Any], read: Mapping[int, FileBytes]) -> list[Container]:
        return [
            Container(
                root.kind,
                built_value(root.content, made),
                self._digest(number, read) if read else "",
                built_value(root.metadata, made),
                tuple(self._description.notes),
            )
            for number, root in enumerate(self._description.roots)
        ]


def read_container(path: Path) -> Container:
    """Read a file, or a folder of ``torch.distributed.checkpoint``, without executing anything in it.

    Raises:
        CheckpointRefusedError: with one line of reason and one of remedy.
    """
    with opened_container(path) as opened:
        (container,) = opened.whole
    return container


@contextmanager
def opened_container(path: Path) -> Iterator[OpenedContainers]:
    """A file, or a folder of ``torch.distributed.checkpoint``, opened and described.

    Raises:
        CheckpointRefusedError: with one line of reason and one of remedy.
    """
    with _opened_folder(path) if is_folder(path) else opened_containers([path]) as opened:
        yield opened


@contextmanager
def opened_containers(paths: Sequence[Path]) -> Iterator[OpenedContainers]:
    """Several files, which together may cost as much as one, opened and described.

    Raises:
        CheckpointRefusedError: with one line of reason and one of remedy.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(open_untrusted(path)) for path in paths]
        with _without_collection():
            description = described(files)
        yield OpenedContainers(
            files, description, paths[0], lambda number, read: read[number].sha256, range(len(files))
        )


@contextmanager
def _opened_folder(folder: Path) -> Iterator[OpenedContainers]:
    with folder_files(folder) as files:
        with _without_collection():
            description = described(files, folder)
        used = {part.file for part in description.stored} | {checksum.file for checksum in description.checksums}
        used |= {number for number, file in enumerate(files) if file.path.name == TABLE}

        def digest(_: int, read: Mapping[int, FileBytes]) -> str:
            digests = sorted(f"{files[number].path.name} {content.sha256}" for number, content in read.items())
            return hashlib.sha256("\n".join(digests).encode(errors="surrogateescape")).hexdigest()

        yield OpenedContainers(files, description, folder, digest, used)


def _read(files: Sequence[RegularFile], description: Description, numbers: Collection[int]) -> dict[int, FileBytes]:
    """The bytes of the files with these numbers, to which nobody has written since they were opened."""
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


def _built(path: Path, description: Description, read: Mapping[int, FileBytes] | None) -> list[Any]:
    try:
        with _without_collection():
            return built_nodes(description, read)
    except UnsoundContentError as error:
        raise _refused(path, error) from error


@contextmanager
def _without_collection() -> Iterator[None]:
    """Garbage is not looked for meanwhile: a description has no cycles, and the search takes a third of the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _refused(path: Path, error: UnsoundContentError) -> CheckpointRefusedError:
    remedy = COPY_AGAIN if error.damaged else SAVE_WEIGHTS
    return CheckpointRefusedError(f"{shown_path(path)} {error.finding}.", remedy, found=error.finding, subject=path)
