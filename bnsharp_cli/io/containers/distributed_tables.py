"""The table of contents of a ``torch.distributed.checkpoint`` folder, which torch itself would unpickle.

It is read by calling nothing but the stand-ins here, and never handed to torch.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bnsharp_cli.io.containers.dtypes import DType
from bnsharp_cli.io.containers.pickle_reader import LARGEST_PICKLE, PickledGlobal, read_pickle
from bnsharp_cli.io.containers.stand_ins import PLAIN_STAND_INS, AttributeRecord
from bnsharp_cli.io.containers.tensor_layouts import plain_size
from bnsharp_cli.io.containers.tensor_plans import DTYPES
from bnsharp_cli.io.containers.unsound_content import UnsoundContentError, damaged
from bnsharp_cli.io.files.regular_files import RegularFile

_METADATA = "torch.distributed.checkpoint.metadata"
_MEMORY_FORMAT = f"{_METADATA}._MEM_FORMAT_ENCODING"


class TensorEntry(AttributeRecord):
    """The shape and the pieces of a tensor, as the table states them."""


class Place(AttributeRecord):
    """The file, offset and length of a stored piece, as the table states them."""


class _Index(AttributeRecord):
    """The name and the offset of a stored piece, which the table uses as a key."""

    is_key = True
    __hash__ = object.__hash__  # type: ignore[assignment]  # by identity: pieces of the same name stay two


class Properties(AttributeRecord):
    """The properties of a tensor; its type alone is kept.

    Attributes:
        dtype: to which torch would convert the pieces; ``None`` if none is stated.
    """

    dtype: DType | None = None

    def __setstate__(self, state: object) -> None:
        """Keep the type, which stands first."""
        if isinstance(state, tuple) and state and isinstance(state[0], DType):
            self.dtype = state[0]


@dataclass(frozen=True)
class Table:
    """What the table of contents says, not yet compared with any file.

    Attributes:
        entries: by name, the tensors as :class:`TensorEntry`; anything else is stored in one piece.
        places: where the piece with a name and an offset is stored; the offset of what is in one piece is None.
        paths: by name, the keys of the nested containers that held the entry when it was saved.
        crc32: of the bytes of the table.
    """

    entries: Mapping[Any, Any]
    places: Mapping[tuple[str, tuple[int, ...] | None], Any]
    paths: Mapping[Any, Any]
    crc32: int

    def path(self, name: Any) -> tuple[Any, ...]:
        """The keys under which an entry was saved, which its name consists of; its name if the table states none.

        Raises:
            UnsoundContentError: they are those of another name.
        """
        path = self.paths.get(name)
        if not isinstance(path, tuple) or not path:
            return (name,)
        if not all(isinstance(key, str | int) for key in path) or ".".join(map(str, path)) != name:
            raise damaged("an entry that was saved under another name")
        return path


def read_table(file: RegularFile) -> Table:
    """Read a table of contents.

    Raises:
        PickleRefusedError: damaged, or it names anything but the parts of such a table.
        UnsoundContentError: it is another pickle, or lacks a part.
    """
    data = file.read(0, LARGEST_PICKLE + 1)
    table = read_pickle(io.BytesIO(data), _STAND_INS)
    if not isinstance(table, AttributeRecord):
        raise UnsoundContentError("is not one of torch.distributed.checkpoint")
    entries, places, paths = (table.get(name) for name in ("state_dict_metadata", "storage_data", "planner_data"))
    if not isinstance(entries, dict) or not isinstance(places, dict):
        raise damaged("it lists no tensors")
    named_places = dict(_by_name_and_offset(places))
    return Table(entries, named_places, paths if isinstance(paths, dict) else {}, zlib.crc32(data))


def sizes(value: object) -> tuple[int, ...]:
    """A shape or an offset of the table; of what is none, an empty one, which fits no piece.

    Raises:
        UnsoundContentError: a tuple of anything but a few whole numbers.
    """
    return tuple(plain_size(value)) if isinstance(value, tuple) else ()


def _by_name_and_offset(places: Mapping[Any, Any]) -> Iterator[tuple[tuple[str, tuple[int, ...] | None], Any]]:
    for index, place in places.items():
        name = index.get("fqn") if isinstance(index, _Index) else None
        if not isinstance(name, str):
            raise damaged("a piece without a name")
        offset = index.get("offset")
        yield (name, None if offset is None else sizes(offset)), place


def _nothing(*_: object) -> None:
    """Stand for what reading does not need."""


def _memory_format(holder: object, _name: object) -> None:
    """Stand for ``getattr``, by which Python 3.11.0 to 3.11.3 pickle the memory format; reading does not need it."""
    if not isinstance(holder, PickledGlobal) or holder.name != _MEMORY_FORMAT:
        raise UnsoundContentError("takes an attribute of something else than a memory format")


_STAND_INS: Mapping[str, Any] = {
    **PLAIN_STAND_INS,
    **DTYPES,
    "torch.Size": plain_size,
    "torch.serialization._get_layout": _nothing,
    f"{_METADATA}.Metadata": AttributeRecord,
    f"{_METADATA}.TensorStorageMetadata": TensorEntry,
    f"{_METADATA}.BytesStorageMetadata": AttributeRecord,
    f"{_METADATA}.ChunkStorageMetadata": AttributeRecord,
    f"{_METADATA}.TensorProperties": Properties,
    f"{_METADATA}.MetadataIndex": _Index,
    f"{_METADATA}.StorageMeta": AttributeRecord,
    _MEMORY_FORMAT: _nothing,
    "builtins.getattr": _memory_format,
    "torch.distributed.checkpoint.filesystem._StorageInfo": Place,
}
