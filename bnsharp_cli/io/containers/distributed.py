"""Folders of ``torch.distributed.checkpoint``: a table of contents beside files of many small checkpoints.

The table says which tensor is where (``distributed_tables.py``). Each small checkpoint is read like a file of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bnsharp_cli.io.containers.content_writer import Assembly, ContentWriter, Written
from bnsharp_cli.io.containers.description import StoredTensor
from bnsharp_cli.io.containers.distributed_tables import Place, Properties, Table, TensorEntry, sizes
from bnsharp_cli.io.containers.pickle_reader import require_key
from bnsharp_cli.io.containers.read_file import found_in
from bnsharp_cli.io.containers.stand_ins import AttributeRecord
from bnsharp_cli.io.containers.unsound_content import UnsoundContentError, damaged
from bnsharp_cli.io.files.printable_text import one_line
from bnsharp_cli.io.files.regular_files import RegularFile

_OPTIMISERS = {"optim", "optimizer", "optimizers", "optimizer_state_dict", "optimizer_states"}


class Shards:
    """The files of a folder by name. No more bytes are read of any than it has.

    Args:
        files: with their numbers.
        writer: what is read is written to it.
    """

    def __init__(self, files: Mapping[str, tuple[int, RegularFile]], writer: ContentWriter) -> None:
        self._files, self.writer = files, writer
        self._unread = {name: file.size for name, (_number, file) in files.items()}

    def load(self, place: object) -> Any:
        """The written value that is stored at a place.

        Raises:
            UnsoundContentError: the place is none inside the folder and its files.
            CheckpointRefusedError: the small checkpoint there is refused.
        """
        name, offset, length = _stated(place)
        if name not in self._files:
            raise UnsoundContentError(f"names '{one_line(name)}', which is no file of the folder itself")
        number, file = self._files[name]
        self._unread[name] -= length
        if offset + length > file.size or self._unread[name] < 0:
            raise damaged("a piece reaches beyond its file")
        kind, found = found_in(file.part(offset, length))
        if kind == "safetensors":
            raise UnsoundContentError("speaks of pieces in safetensors format, which is not read here")
        return self.writer.write(found, number, offset)


def read_distributed(table: Table, shards: Shards) -> tuple[Any, bool]:
    """The written content of a folder, nested as it was saved, and whether the state of an optimiser was left out.

    Raises:
        PickleRefusedError, UnsoundContentError, CheckpointRefusedError: the table or a piece is damaged or refused.
    """
    content: dict[str, Any] = {}
    skipped = False
    for name, entry in table.entries.items():
        path = table.path(name)
        for key in path:
            require_key(key)
        if path[0] in _OPTIMISERS:
            skipped = True
        elif isinstance(entry, TensorEntry):
            _put(content, path, _assembled(name, entry, table, shards))
        else:
            _put(content, path, Written(shards.load(table.places.get((name, None)))))
    return content, skipped


def _stated(place: object) -> tuple[str, int, int]:
    """The file, offset and length that a place states."""
    if isinstance(place, Place) and not place.get("transform_descriptors"):
        name, offset, length = (place.get(field) for field in ("relative_path", "offset", "length"))
        if isinstance(name, str) and type(offset) is int and type(length) is int and min(offset, length) >= 0:
            return name, offset, length
    raise damaged("a piece without a place")


def _assembled(name: Any, entry: TensorEntry, table: Table, shards: Shards) -> Written | Assembly:
    """A tensor made of its pieces."""
    size, chunks = sizes(entry.get("size")), entry.get("chunks")
    if not isinstance(chunks, list) or not chunks or not all(isinstance(chunk, AttributeRecord) for chunk in chunks):
        raise damaged("a tensor without pieces")
    boxes, values, tensors = [], [], []
    for chunk in chunks:
        offsets, shape = sizes(chunk.get("offsets")), sizes(chunk.get("sizes"))
        value = shards.load(table.places.get((name, offsets)))
        tensor = shards.writer.tensor(value)
        if tensor is None or tuple(tensor.shape) != shape or len(offsets) != len(shape):
            raise damaged("a piece of another shape")
        boxes.append((offsets, shape))
        values.append(value)
        tensors.append(tensor)
    properties = entry.get("properties")
    if isinstance(properties, Properties) and properties.dtype and properties.dtype.name != tensors[0].dtype:
        raise damaged("a tensor of another type than its pieces")
    if boxes == [((0,) * len(size), size)]:
        return Written(values[0])
    _require_whole(size, boxes, tensors)
    return Assembly(tensors[0].dtype, size, [(value, at) for value, (at, _shape) in zip(values, boxes, strict=True)])


def _require_whole(size: tuple[int, ...], boxes: list[tuple[Any, Any]], tensors: list[StoredTensor]) -> None:
    """Refuse boxes that do not make the whole: one reaches out of it, two overlap, or they differ in type."""
    for at, shape in boxes:
        if len(at) != len(size) or any(a + n > whole for a, n, whole in zip(at, shape, size, strict=True)):
            raise damaged("a tensor whose pieces do not make the whole")
    if sum(math.prod(shape) for _at, shape in boxes) != math.prod(size):
        raise damaged("a tensor whose pieces do not make the whole")
    if len({tensor.dtype for tensor in tensors}) != 1:
        raise damaged("a tensor whose pieces are of several types")
    boxes = sorted(box for box in boxes if math.prod(box[1]))
    for index, (at, shape) in enumerate(boxes):
        for other, length in boxes[index + 1 :]:
            if other and other[0] >= at[0] + shape[0]:
                break
            if all(a < b + m and b < a + n for a, n, b, m in zip(at, shape, other, length, strict=True)):
                raise damaged("a tensor whose pieces overlap")


def _put(content: dict[str, Any], path: tuple[Any, ...], value: object) -> None:
    """Put a value into nested dicts, which are made on the way."""
    *folders, last = path
    for key in folders:
        content = content.setdefault(key, {})
        if type(content) is not dict:
            raise damaged("a name inside something that is no folder")
    if last in content:
        raise damaged("two entries in one place")
    content[last] = value
