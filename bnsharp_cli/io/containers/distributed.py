"""Folders of ``torch.distributed.checkpoint``: a pickled table of contents beside files of many small checkpoints.

The table is read by calling nothing but the stand-ins below, and each small checkpoint like any other file.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.containers.file_kinds import recognise
from bnsharp_cli.io.containers.pickle_values import Budget, ForeignGlobalsError, Global, PickleRefusedError, require_key
from bnsharp_cli.io.containers.pickles import LARGEST_PICKLE, read_pickle
from bnsharp_cli.io.containers.remedies import COPY_AGAIN
from bnsharp_cli.io.containers.stand_ins import PLAIN_STAND_INS, Record
from bnsharp_cli.io.containers.tensor_plans import DTYPES, plain_size
from bnsharp_cli.io.containers.torch_files import read_torch_file
from bnsharp_cli.io.containers.untrusted_files import open_untrusted, require_unchanged
from bnsharp_cli.io.files.printable_text import one_line, shown_path
from bnsharp_cli.io.files.regular_files import RegularFile

TABLE = ".metadata"
_CONVERT = "Convert it: python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE."
_OPTIMISERS = {"optim", "optimizer", "optimizers", "optimizer_state_dict", "optimizer_states"}


class _TensorEntry(Record):
    """Shape and pieces of a tensor."""


class _Place(Record):
    """File, offset and length of a stored piece."""


class _Index(Record):
    """Name and offset of a stored piece, which the table uses as a key."""

    is_key = True
    __hash__ = object.__hash__  # type: ignore[assignment]  # two pieces are never merged, whatever they are called


class _Properties(Record):
    def __setstate__(self, state: object) -> None:
        """The properties of a tensor are stored beside its values once more, so nothing is kept of them."""


def _nothing(*_: object) -> None:
    """An entry that reading needs nothing of."""


_METADATA = "torch.distributed.checkpoint.metadata"
_MEMORY_FORMAT = f"{_METADATA}._MEM_FORMAT_ENCODING"


def _member(holder: object, _name: object) -> None:
    """A memory format, which reading needs nothing of: Python 3.11.0 to 3.11.3 write enumerations as ``getattr``."""
    if not isinstance(holder, Global) or holder.name != _MEMORY_FORMAT:
        raise PickleRefusedError("takes an attribute of something else than a memory format")


_STAND_INS: Mapping[str, Any] = {
    **PLAIN_STAND_INS,
    **DTYPES,
    "torch.Size": plain_size,
    "torch.serialization._get_layout": _nothing,
    f"{_METADATA}.Metadata": Record,
    f"{_METADATA}.TensorStorageMetadata": _TensorEntry,
    f"{_METADATA}.BytesStorageMetadata": Record,
    f"{_METADATA}.ChunkStorageMetadata": Record,
    f"{_METADATA}.TensorProperties": _Properties,
    f"{_METADATA}.MetadataIndex": _Index,
    f"{_METADATA}.StorageMeta": Record,
    _MEMORY_FORMAT: _nothing,
    "builtins.getattr": _member,
    "torch.distributed.checkpoint.filesystem._StorageInfo": _Place,
}


def read_distributed(folder: Path) -> tuple[dict[str, Any], str, tuple[str, ...]]:
    """What a folder holds, nested as it was saved; the digest of its files; what was left out.

    Raises:
        CheckpointRefusedError: no such checkpoint, damaged, or a table of contents that holds anything else.
    """
    if not (folder / TABLE).exists():
        kind = "a TensorFlow model" if (folder / "saved_model.pb").exists() else "a folder"
        raise CheckpointRefusedError(f"{shown_path(folder)} is {kind}.", "Name a checkpoint file.")
    try:
        with open_untrusted(folder / TABLE) as file, contextlib.ExitStack() as stack:
            table = _table(file)
            shards = _Shards(folder, stack)
            content, skipped = _content(table, shards)
            return content, shards.sha256(file), skipped
    except ForeignGlobalsError as error:
        raise CheckpointRefusedError(
            f"{shown_path(folder / TABLE)} holds Python objects ({one_line(', '.join(error.names[:4]))}); "
            "nothing in it was executed.",
            f"If you trust it: {_CONVERT}",
        ) from error
    except PickleRefusedError as error:
        raise CheckpointRefusedError(
            f"{shown_path(folder)}: its table of contents {one_line(error)}.", COPY_AGAIN
        ) from error


def _table(file: RegularFile) -> Record:
    if file.size > LARGEST_PICKLE:
        raise PickleRefusedError(f"has more than {LARGEST_PICKLE // 2**20} MiB")
    stream = io.BytesIO(file.read(0, file.size))
    table = read_pickle(stream, _STAND_INS, Budget(), protocols=range(2, 6))
    if not isinstance(table, Record):
        raise PickleRefusedError("is not one of torch.distributed.checkpoint")
    return table


class _Shards:
    """The files of a folder, each opened once, and no more bytes read of them than they have."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self._files: dict[str, RegularFile] = {}
        self._left: dict[str, int] = {}

    def load(self, place: object) -> Any:
        """The value stored at a place."""
        name, offset, length = (
            (place.get("relative_path"), place.get("offset"), place.get("length"))
            if isinstance(place, _Place) and not place.get("transform_descriptors")
            else (None, None, None)
        )
        if not isinstance(name, str) or type(offset) is not int or type(length) is not int or min(offset, length) < 0:
            raise PickleRefusedError("is damaged (a piece without a place)")
        if name != Path(name).name or name in {"", ".", ".."} or not name.isprintable() or "\\" in name:
            raise PickleRefusedError("names a file outside the folder")
        if name not in self._files:
            self._files[name] = self._stack.enter_context(open_untrusted(self._folder / name))
            self._left[name] = self._files[name].size
        self._left[name] -= length
        if offset + length > self._files[name].size or self._left[name] < 0:
            raise PickleRefusedError("is damaged (a piece reaches beyond its file)")
        part = self._files[name].part(offset, length)
        kind = recognise(part)
        if kind == "safetensors":
            raise PickleRefusedError("speaks of pieces in safetensors format, which is not read here")
        return read_torch_file(part, kind)

    def sha256(self, table: RegularFile) -> str:
        """The digest of the digests of all files by name."""
        digests = [f"{TABLE} {table.sha256()}"]
        for name, file in sorted(self._files.items()):
            digests.append(f"{name} {file.sha256()}")
            require_unchanged(file)
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _content(table: Record, shards: _Shards) -> tuple[dict[str, Any], tuple[str, ...]]:
    entries, places, paths = (table.get(name) for name in ("state_dict_metadata", "storage_data", "planner_data"))
    if not isinstance(entries, dict) or not isinstance(places, dict):
        raise PickleRefusedError("is damaged (it lists no tensors)")
    stored = dict(_stored(places))
    content: dict[str, Any] = {}
    skipped = False
    for name, entry in entries.items():
        path = paths.get(name) if isinstance(paths, dict) else None
        keys = path if isinstance(path, tuple) and path else (name,)
        if keys[0] in _OPTIMISERS:
            skipped = True
        elif isinstance(entry, _TensorEntry):
            _put(content, keys, _assembled(name, entry, stored, shards))
        else:
            _put(content, keys, shards.load(stored.get((name, None))))
    return content, ("The optimiser's state was not read.",) if skipped else ()


def _stored(places: Mapping[Any, Any]) -> Iterator[tuple[tuple[Any, Any], Any]]:
    for index, place in places.items():
        if not isinstance(index, _Index) or not isinstance(index.get("fqn"), str):
            raise PickleRefusedError("is damaged (a piece without a name)")
        offset = index.get("offset")
        yield (index.get("fqn"), None if offset is None else _sizes(offset)), place


def _assembled(name: object, entry: _TensorEntry, stored: Mapping[Any, Any], shards: _Shards) -> Tensor:
    size, chunks = _sizes(entry.get("size")), entry.get("chunks")
    if not isinstance(chunks, list) or not chunks or not all(isinstance(chunk, Record) for chunk in chunks):
        raise PickleRefusedError("is damaged (a tensor without pieces)")
    pieces = []
    for chunk in chunks:
        offsets, sizes = _sizes(chunk.get("offsets")), _sizes(chunk.get("sizes"))
        piece = shards.load(stored.get((name, offsets)))
        if not isinstance(piece, Tensor) or tuple(piece.shape) != sizes or len(offsets) != len(sizes):
            raise PickleRefusedError("is damaged (a piece of another shape)")
        box = tuple(slice(begin, begin + length) for begin, length in zip(offsets, sizes, strict=True))
        pieces.append((box, piece))
    return pieces[0][1] if pieces[0][1].shape == size else _joined(size, pieces)


def _joined(size: tuple[int, ...], pieces: list[tuple[tuple[slice, ...], Tensor]]) -> Tensor:
    inside = all(len(box) == len(size) and all(map(_fits, box, size)) for box, _piece in pieces)
    if not inside or sum(piece.numel() for _box, piece in pieces) != math.prod(size):
        raise PickleRefusedError("is damaged (a tensor whose pieces do not make the whole)")
    whole = torch.zeros(size, dtype=pieces[0][1].dtype)
    covered = torch.zeros(size, dtype=torch.bool)
    for box, piece in pieces:
        whole[box] = piece
        covered[box] = True
    if not bool(covered.all()):
        raise PickleRefusedError("is damaged (a tensor whose pieces overlap)")
    return whole


def _fits(part: slice, length: int) -> bool:
    return bool(part.stop <= length)


def _put(content: dict[str, Any], path: tuple[Any, ...], value: object) -> None:
    *folders, last = path
    for key in (*folders, last):
        require_key(key)
    for key in folders:
        content = content.setdefault(key, {})
        if not isinstance(content, dict):
            raise PickleRefusedError("is damaged (a name inside something that is no folder)")
    content[last] = value


def _sizes(value: object) -> tuple[int, ...]:
    return tuple(plain_size(value)) if isinstance(value, tuple) else ()
