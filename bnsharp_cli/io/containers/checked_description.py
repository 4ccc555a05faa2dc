"""A description as it was handed over, held against its own rules and against the files before anyone relies on it.

What made it has read a stranger's file. If that went wrong in a way that nobody foresaw, the bytes here are a
stranger's too, so nothing in them is believed: whatever this module returns refers to bytes that the files have, to
types that the table knows and to nodes that come before.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from bnsharp_cli.io.containers.description import (
    ARRAY,
    ASSEMBLED,
    BYTES,
    COMPLEX,
    CONTAINERS,
    DICT,
    LARGEST_DESCRIPTION,
    LONGEST_NAME,
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
from bnsharp_cli.io.containers.dtypes import BY_NAME, UNTYPED
from bnsharp_cli.io.containers.tensor_layouts import MOST_DIMENSIONS, SIZE_LIMIT, StorageLayout

_MOST_MARKS = {b"[": 2**20, b",": 4 * 2**20, b"{": 2**20}
"""How often each may occur in a description, counted before it is parsed."""

_SIMPLE_KEYS = (BYTES, UNREAD)


class UnsoundDescriptionError(Exception):
    """A description that breaks its own rules, or speaks of bytes that the files do not have."""


def checked_description(data: bytes, sizes: Sequence[int], roots: int) -> Description:
    """The description in ``data``, if it is sound.

    Args:
        data: JSON.
        sizes: of the files, in bytes.
        roots: how many contents it has to describe.

    Raises:
        UnsoundDescriptionError: it is not.
    """
    _require(len(data) <= LARGEST_DESCRIPTION, "too long")
    _require(all(data.count(mark) <= most for mark, most in _MOST_MARKS.items()), "too many parts")
    try:
        stated = Description(*json.loads(data.decode("utf-8", "surrogatepass")))
        description = Description(
            roots=[Root(*entry) for entry in stated.roots],
            nodes=stated.nodes,
            stored=[StoredBytes(*entry) for entry in stated.stored],
            tensors=[StoredTensor(*entry) for entry in stated.tensors],
            checksums=[Checksum(*entry) for entry in stated.checksums],
            notes=stated.notes,
        )
        _require(len(description.roots) == roots, "another number of files")
        _check(description, sizes)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise UnsoundDescriptionError(type(error).__name__) from error
    return description


def _check(description: Description, sizes: Sequence[int]) -> None:
    _check_stored(description.stored, sizes)
    for checksum in description.checksums:
        _check_range(checksum, sizes)
        _require(_is_size(checksum.crc32) and type(checksum.name) is str, "a checksum that is none")
    for tensor in description.tensors:
        _check_tensor(tensor, description.stored)
    _require(isinstance(description.nodes, list), "no nodes")
    for number, node in enumerate(description.nodes):
        _check_node(node, number, description.nodes, len(description.tensors))
    for root in description.roots:
        _check_root(root, description.nodes)
    _require(all(type(note) is str for note in description.notes), "a note that is no text")


def _check_root(root: Root, nodes: Sequence[Node]) -> None:
    _require(type(root.kind) is str, "a kind that is no text")
    for value in (root.content, root.metadata):
        _check_value(value, len(nodes))
        _require(isinstance(value, list) and nodes[value[0]][0] == DICT, "content without names")
    _require(all(type(text) is str for text in nodes[root.metadata[0]]), "metadata that are no texts")


def _check_stored(parts: Sequence[StoredBytes], sizes: Sequence[int]) -> None:
    """Whether the files have these bytes, and nobody turns the same ones round in two ways."""
    orders: dict[tuple[int, ...], tuple[str, str]] = {}
    for stored in parts:
        _check_range(stored, sizes)
        known = stored.dtype == UNTYPED.name or stored.dtype in BY_NAME
        _require(known and stored.order in {"little", "big"}, "bytes of an unknown type")
        size = BY_NAME.get(stored.dtype, UNTYPED).size
        _require(stored.length % size == 0, "bytes that are no whole elements")
        order = (stored.order, stored.dtype if stored.order == "big" else "")
        place = (stored.file, stored.begin, stored.length)
        _require(stored.length == 0 or orders.setdefault(place, order) == order, "bytes in two orders")


def _check_range(part: StoredBytes | Checksum, sizes: Sequence[int]) -> None:
    _require(_are_sizes((part.file, part.begin, part.length)), "a place that is none")
    _require(part.file < len(sizes) and part.begin + part.length <= sizes[part.file], "bytes beyond the end")


def _check_tensor(tensor: StoredTensor, stored: Sequence[StoredBytes]) -> None:
    _require(_is_size(tensor.stored) and tensor.stored < len(stored), "a tensor without bytes")
    _require(tensor.dtype in BY_NAME and _is_size(tensor.offset), "a tensor of an unknown type")
    _check_shape(tensor.shape)
    _require(_are_sizes(tensor.stride) and len(tensor.stride) == len(tensor.shape), "strides that are none")
    layout = StorageLayout(tensor.offset, tuple(tensor.shape), tuple(tensor.stride))
    reach = layout.end * BY_NAME[tensor.dtype].size
    _require(reach <= stored[tensor.stored].length, "a tensor that reaches beyond its bytes")


def _check_node(node: Node, number: int, nodes: Sequence[Node], tensors: int) -> None:
    """Whether a node is made of what comes before it."""
    kind, *parts = node
    if kind in CONTAINERS:
        _require(kind != DICT or len(parts) % 2 == 0, "a key without a value")
        for value in parts:
            _check_value(value, number)
        for key in {DICT: parts[::2], SET: parts}.get(kind, ()):
            _check_key(key, nodes)
    elif kind == TENSOR:
        _require(len(parts) == 1 and _is_size(parts[0]) and parts[0] < tensors, "a tensor that is not there")
    elif kind == BYTES:
        _require(len(parts) == 1 and type(parts[0]) is str, "bytes that are none")
        decoded(parts[0])
    elif kind == COMPLEX:
        _require(len(parts) == 2 and all(type(part) is float for part in parts), "a number that is none")
    elif kind == ARRAY:
        _check_array(*parts)
    elif kind == UNREAD:
        _check_unread(*parts)
    else:
        _require(kind == ASSEMBLED, "an unknown node")
        _check_assembled(parts, number)


def _check_array(dtype: Any, shape: Any, fortran: Any, data: Any) -> None:
    _require(dtype in BY_NAME and type(fortran) is bool and type(data) is str, "an array that is none")
    _check_shape(shape)
    _require(len(decoded(data)) == math.prod(shape) * BY_NAME[dtype].size, "an array of another size")


def _check_unread(holds_tensors: Any, name: Any) -> None:
    _require(type(holds_tensors) is bool and type(name) is str and len(name) <= LONGEST_NAME, "an object that is none")


def _check_assembled(parts: list[Any], number: int) -> None:
    dtype, shape, *pieces = parts
    _require(dtype in BY_NAME and len(pieces) > 0, "a tensor without pieces")
    _check_shape(shape)
    for value, offsets in pieces:
        _require(isinstance(value, list), "a piece that is no tensor")
        _check_value(value, number)
        _require(_are_sizes(offsets) and len(offsets) == len(shape), "a piece without a place")


def _check_value(value: Any, nodes: int) -> None:
    if isinstance(value, list):
        _require(len(value) == 1 and _is_size(value[0]) and value[0] < nodes, "a value that comes later")
    else:
        _require(value is None or type(value) in {bool, int, float, str}, "a value that is no atom")


def _check_key(value: Any, nodes: Sequence[Node]) -> None:
    """Whether a value can be a key: an atom, bytes, an object that is not read, or a tuple of these."""
    if isinstance(value, list):
        kind, *parts = nodes[value[0]]
        plain = all(not isinstance(part, list) or nodes[part[0]][0] in _SIMPLE_KEYS for part in parts)
        _require(kind in _SIMPLE_KEYS or (kind == TUPLE and plain), "a key that is none")


def _check_shape(shape: Any) -> None:
    _require(isinstance(shape, list) and _are_sizes(shape) and len(shape) <= MOST_DIMENSIONS, "a shape that is none")
    _require(math.prod(max(length, 1) for length in shape) < SIZE_LIMIT, "a shape that no tensor can have")


def _are_sizes(values: Iterable[Any]) -> bool:
    return all(_is_size(value) for value in values)


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < SIZE_LIMIT


def decoded(data: str) -> bytes:
    """The bytes of a text in base 64.

    Raises:
        UnsoundDescriptionError: it is none.
    """
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise UnsoundDescriptionError("bytes that are none") from error


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise UnsoundDescriptionError(what)
