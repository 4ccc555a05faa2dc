"""Folders of ``torch.distributed.checkpoint``: a table of contents beside files of many small checkpoints.

The table says which tensor is where (``distributed_tables.py``). Each small checkpoint is read like a file of its own.
"""

from __future__ import annotations

import hashlib
import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.containers.distributed_tables import Place, Table, TensorEntry, read_table, sizes
from bnsharp_cli.io.containers.file_kinds import recognise
from bnsharp_cli.io.containers.pickle_reader import ForeignGlobalsError, PickleRefusedError, require_key
from bnsharp_cli.io.containers.remedies import COPY_AGAIN
from bnsharp_cli.io.containers.stand_ins import AttributeRecord
from bnsharp_cli.io.containers.torch_files import read_torch_file
from bnsharp_cli.io.containers.unsound_content import UnsoundContentError, damaged, unsound
from bnsharp_cli.io.containers.untrusted_files import exists, open_untrusted, require_unchanged
from bnsharp_cli.io.files.printable_text import one_line, shown_path
from bnsharp_cli.io.files.regular_files import RegularFile

TABLE = ".metadata"
_CONVERT = "Convert it: python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE."
_OPTIMISERS = {"optim", "optimizer", "optimizers", "optimizer_state_dict", "optimizer_states"}
_NAMES_SHOWN = 4


def read_distributed(folder: Path) -> tuple[dict[str, Any], str, tuple[str, ...]]:
    """Read a folder.

    Returns:
        Its content, nested as it was saved; the digest of its files; what was left out, a line each.

    Raises:
        CheckpointRefusedError: no such checkpoint, damaged, or a table of contents that holds anything else.
    """
    if not exists(folder / TABLE):
        kind = "a TensorFlow model" if exists(folder / "saved_model.pb") else "a folder"
        raise CheckpointRefusedError(f"{shown_path(folder)} is {kind}.", "Name a checkpoint file.", found=kind)
    try:
        with open_untrusted(folder / TABLE) as file, ExitStack() as open_files:
            shards = _Shards(folder, open_files)
            content, skipped = _content(read_table(file), shards)
            return content, shards.sha256(file), skipped
    except ForeignGlobalsError as error:
        names = one_line(", ".join(error.names[:_NAMES_SHOWN]))
        raise CheckpointRefusedError(
            f"{shown_path(folder / TABLE)} holds Python objects ({names}); nothing in it was executed.",
            f"If you trust it: {_CONVERT}",
            expected="a table of contents",
            found=names,
        ) from error
    except (PickleRefusedError, UnsoundContentError) as error:
        finding = one_line(unsound(error).finding)
        raise CheckpointRefusedError(
            f"its table of contents {finding}.", COPY_AGAIN, found=finding, path=folder
        ) from error


class _Shards:
    """The files of a folder. Each is opened once, and no more bytes are read of it than it has."""

    def __init__(self, folder: Path, open_files: ExitStack) -> None:
        self._folder, self._open_files = folder, open_files
        self._files: dict[str, RegularFile] = {}
        self._unread: dict[str, int] = {}

    def load(self, place: object) -> Any:
        """The value stored at a place.

        Raises:
            UnsoundContentError: the place is none inside the folder and its files.
            CheckpointRefusedError: the small checkpoint there is refused.
        """
        name, offset, length = _stated(place)
        file = self._file(name)
        self._unread[name] -= length
        if offset + length > file.size or self._unread[name] < 0:
            raise damaged("a piece reaches beyond its file")
        part = file.part(offset, length)
        kind = recognise(part)
        if kind == "safetensors":
            raise UnsoundContentError("speaks of pieces in safetensors format, which is not read here")
        return read_torch_file(part, kind)

    def sha256(self, table: RegularFile) -> str:
        """The digest of the digests of all files by name."""
        digests = [f"{TABLE} {table.sha256()}"]
        for name, file in sorted(self._files.items()):
            digests.append(f"{name} {file.sha256()}")
            require_unchanged(file)
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()

    def _file(self, name: str) -> RegularFile:
        if name != Path(name).name or name in {"", ".", ".."} or not name.isprintable() or "\\" in name:
            raise UnsoundContentError("names a file outside the folder")
        if name not in self._files:
            self._files[name] = self._open_files.enter_context(open_untrusted(self._folder / name))
            self._unread[name] = self._files[name].size
        return self._files[name]


def _stated(place: object) -> tuple[str, int, int]:
    """The file, offset and length that a place states."""
    if isinstance(place, Place) and not place.get("transform_descriptors"):
        name, offset, length = (place.get(field) for field in ("relative_path", "offset", "length"))
        if isinstance(name, str) and type(offset) is int and type(length) is int and min(offset, length) >= 0:
            return name, offset, length
    raise damaged("a piece without a place")


def _content(table: Table, shards: _Shards) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Everything but the state of optimisers, nested as it was saved, and a note of what was left out."""
    content: dict[str, Any] = {}
    skipped = False
    for name, entry in table.entries.items():
        path = table.path(name)
        if path[0] in _OPTIMISERS:
            skipped = True
        elif isinstance(entry, TensorEntry):
            _put(content, path, _assembled(name, entry, table, shards))
        else:
            _put(content, path, shards.load(table.places.get((name, None))))
    return content, ("The optimiser's state was not read.",) if skipped else ()


def _assembled(name: Any, entry: TensorEntry, table: Table, shards: _Shards) -> Tensor:
    """A tensor made of its pieces."""
    size, chunks = sizes(entry.get("size")), entry.get("chunks")
    if not isinstance(chunks, list) or not chunks or not all(isinstance(chunk, AttributeRecord) for chunk in chunks):
        raise damaged("a tensor without pieces")
    pieces = []
    for chunk in chunks:
        offsets, shape = sizes(chunk.get("offsets")), sizes(chunk.get("sizes"))
        piece = shards.load(table.places.get((name, offsets)))
        if not isinstance(piece, Tensor) or tuple(piece.shape) != shape or len(offsets) != len(shape):
            raise damaged("a piece of another shape")
        box = tuple(slice(begin, begin + length) for begin, length in zip(offsets, shape, strict=True))
        pieces.append((box, piece))
    return pieces[0][1] if pieces[0][1].shape == size else _joined(size, pieces)


def _joined(size: tuple[int, ...], pieces: list[tuple[tuple[slice, ...], Tensor]]) -> Tensor:
    """The whole of which each piece fills a box; they fill it without gaps, and none lies over another."""
    inside = all(len(box) == len(size) and all(map(_fits, box, size)) for box, _piece in pieces)
    if not inside or sum(piece.numel() for _box, piece in pieces) != math.prod(size):
        raise damaged("a tensor whose pieces do not make the whole")
    whole = torch.zeros(size, dtype=pieces[0][1].dtype)
    covered = torch.zeros(size, dtype=torch.bool)
    for box, piece in pieces:
        whole[box] = piece
        covered[box] = True
    if not bool(covered.all()):
        raise damaged("a tensor whose pieces overlap")
    return whole


def _fits(part: slice, length: int) -> bool:
    return bool(part.stop <= length)


def _put(content: dict[str, Any], path: tuple[Any, ...], value: object) -> None:
    """Put a value into nested dicts, which are made on the way."""
    for key in path:
        require_key(key)
    *folders, last = path
    for key in folders:
        content = content.setdefault(key, {})
        if not isinstance(content, dict):
            raise damaged("a name inside something that is no folder")
    content[last] = value
