"""From what the readers return to a description: a bounded walk that visits every object once.

A description may not stand for much more than the file holds. Containers that are shared many times over, such as a
list of ten references to a list of ten references, would be endless for whoever walks through them as through a tree.
So what a value takes when it is written out is counted too, and bounded.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bnsharp_cli.io.containers.description import (
    ARRAY,
    ASSEMBLED,
    BYTES,
    COMPLEX,
    CONTAINERS,
    DICT,
    LIST,
    SET,
    TENSOR,
    TUPLE,
    UNREAD,
    Checksum,
    Description,
    Node,
    Root,
    StoredBytes,
    StoredTensor,
)
from bnsharp_cli.io.containers.dtypes import DType
from bnsharp_cli.io.containers.pickle_reader import (
    ForeignObject,
    PickledDict,
    PickledGlobal,
    PickledList,
    PickledTuple,
)
from bnsharp_cli.io.containers.stand_ins import AttributeRecord, NumpyArray, NumpyType, PlainSet
from bnsharp_cli.io.containers.tensor_layouts import StoragePart, StoragePlan, TensorPlan
from bnsharp_cli.io.containers.unsound_content import UnsoundContentError

_MOST_WRITTEN_OUT = 4_000_000
_CHARACTERS_OF_AN_ITEM = 8
_MOST_TENSORS = 2**15
_ATOMS = {type(None), bool, int, float, str}
_MAPPINGS = (dict, PickledDict, AttributeRecord)
_SEQUENCES: Mapping[type, str] = {list: LIST, PickledList: LIST, tuple: TUPLE, PickledTuple: TUPLE}


@dataclass(frozen=True)
class Found:
    """What a reader has found in a file, or in a part of one.

    Attributes:
        content: plain containers, atoms, and plans of tensors.
        metadata: texts that stand apart from the content.
        order: the byte order of the tensors.
        checksums: (first byte, length, CRC-32, name): what the file states of bytes that the reader has not read, and
            what the reader found where it has, so that a change before the tensors are read is noticed.
    """

    content: Any
    metadata: Mapping[str, str] = field(default_factory=dict)
    order: str = "little"
    checksums: Sequence[tuple[int, int, int, str]] = ()


@dataclass(frozen=True)
class Assembly:
    """A tensor of a shape, made of tensors that were written already: for each its value, and where it begins."""

    dtype: str
    shape: tuple[int, ...]
    pieces: Sequence[tuple[Any, tuple[int, ...]]]


@dataclass(frozen=True)
class Written:
    """A value that was written already."""

    value: Any


class ContentWriter:
    """Collects the description of several files."""

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._written_out: list[int] = []
        self._stored: dict[StoredBytes, int] = {}
        self._tensors: list[StoredTensor] = []
        self._checksums: list[Checksum] = []

    def description(self, roots: Sequence[Root], notes: Sequence[str] = ()) -> Description:
        """All that was written."""
        return Description(roots, self._nodes, [*self._stored], self._tensors, self._checksums, notes)

    def tensor(self, value: Any) -> StoredTensor | None:
        """The tensor that a value stands for; ``None`` if it stands for something else."""
        node = self._nodes[value[0]] if isinstance(value, list) else [LIST]
        return self._tensors[int(node[1])] if node[0] == TENSOR else None

    def write(self, found: Found, file: int = 0, base: int = 0) -> Any:
        """Write content that was found from byte ``base`` of the file with a number on; the value that stands for it.

        Raises:
            UnsoundContentError: it holds anything but plain content, or too much of it.
        """
        for begin, size, crc32, name in found.checksums:
            self._checksums.append(Checksum(file, base + begin, size, crc32, name))
        values: dict[int, Any] = {}
        for content in _children_first(found.content):
            if isinstance(content, TensorPlan):
                node = self._tensor(content, file, base, found.order)
            else:
                node = _node(content, values)
            size = sum(map(self._size, node)) if node[0] in CONTAINERS else len(node) + _length(node[-1])
            if size > _MOST_WRITTEN_OUT:
                raise UnsoundContentError("holds containers that are endless when they are written out")
            values[id(content)] = [len(self._nodes)]
            self._nodes.append(node)
            self._written_out.append(size)
        return _value(found.content, values)

    def _size(self, value: Any) -> int:
        """How many items a part of a node is when it is written out; long texts count as several."""
        return self._written_out[value[0]] if isinstance(value, list) else 1 + _length(value)

    def _tensor(self, plan: TensorPlan, file: int, base: int, order: str) -> Node:
        storage, layout = plan.storage, plan.layout
        stored = StoredBytes(file, base + storage.begin, storage.size, order, storage.dtype.name)
        number = self._stored.setdefault(stored, len(self._stored))
        if len(self._tensors) >= _MOST_TENSORS:
            raise UnsoundContentError(f"holds more than {_MOST_TENSORS} tensors")
        self._tensors.append(StoredTensor(number, plan.dtype.name, layout.offset, layout.shape, layout.stride))
        return [TENSOR, len(self._tensors) - 1]


def _children_first(root: Any) -> Iterator[Any]:
    """Every object below and including ``root`` that needs a node, each once, after all that it holds.

    What the readers return has no cycles: a container is complete before anything else holds it.
    """
    seen: set[int] = set()
    waiting: list[tuple[Any, bool]] = [(root, False)]
    while waiting:
        content, ready = waiting.pop()
        if ready:
            yield content
        elif _needs_node(content) and id(content) not in seen:
            seen.add(id(content))
            waiting.append((content, True))
            waiting.extend((child, False) for child in _children(content) if _needs_node(child))


def _needs_node(content: Any) -> bool:
    if isinstance(content, NumpyType):
        return content.dtype is None
    return type(content) not in _ATOMS and not isinstance(content, DType | Written)


def _children(content: Any) -> Iterator[Any]:
    if type(content) in _MAPPINGS:
        yield from content
        yield from content.values()
    elif type(content) in _SEQUENCES:
        yield from content
    elif isinstance(content, PlainSet):
        yield from content.members


def _value(content: Any, values: Mapping[int, Any]) -> Any:
    """What stands for a content in the node of its container."""
    if isinstance(content, Written):
        return content.value
    if isinstance(content, DType):
        return content.name
    if isinstance(content, NumpyType) and content.dtype:
        return content.dtype.name
    return content if type(content) in _ATOMS else values[id(content)]


def _node(content: Any, values: Mapping[int, Any]) -> Node:
    kind = type(content)
    if kind in _MAPPINGS:
        return [DICT, *(_value(part, values) for entry in content.items() for part in entry)]
    if kind in _SEQUENCES:
        return [_SEQUENCES[kind], *(_value(member, values) for member in content)]
    if kind is PlainSet:
        return [SET, *(_value(member, values) for member in content.members)]
    if kind is bytes:
        return [BYTES, _in_base_64(content)]
    if kind is complex:
        return [COMPLEX, content.real, content.imag]
    if kind is NumpyArray and not content.unread:
        dtype, data = content.complete()
        return [ARRAY, dtype.name, list(content.shape), content.fortran, _in_base_64(data)]
    if kind is Assembly:
        return [ASSEMBLED, content.dtype, list(content.shape), *([value, list(at)] for value, at in content.pieces)]
    return _unread(content)


def _unread(content: Any) -> Node:
    """The node of an object that is not read: of what it is, and whether tensors are in it."""
    if isinstance(content, ForeignObject | PickledGlobal):
        return [UNREAD, isinstance(content, ForeignObject) and content.holds_data, content.name]
    if isinstance(content, NumpyArray):
        return [UNREAD, content.holds_data, "numpy.ndarray"]
    if isinstance(content, NumpyType):
        return [UNREAD, False, "numpy.dtype"]
    if isinstance(content, StoragePlan | StoragePart):
        return [UNREAD, True, "torch.UntypedStorage"]
    raise UnsoundContentError(f"holds an object of type {type(content).__name__}")


def _length(value: Any) -> int:
    return len(value) // _CHARACTERS_OF_AN_ITEM if isinstance(value, str) else 0


def _in_base_64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
