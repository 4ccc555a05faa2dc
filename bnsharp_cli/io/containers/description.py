"""What is found in checkpoint files: plain content, and where in the files the bytes of its tensors lie.

A description holds no tensor and no byte of one. It is made where nothing of torch is loaded, handed over as JSON, and
held against the files once more before a byte of a tensor is read: see ``checked_description.py``.

Values are written as JSON: atoms as themselves, everything else as ``[n]``, the n-th of ``nodes``. A node refers only
to nodes before it, so there are no cycles, and what was shared stays shared.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

LARGEST_DESCRIPTION = 32 * 2**20
"""Bytes of a description that is handed over."""

LIST, TUPLE, SET = "list", "tuple", "set"
"""Nodes that consist of their members."""

DICT = "dict"
"""A node of keys and values in turn."""

CONTAINERS = (LIST, TUPLE, SET, DICT)
"""Nodes whose parts are values."""

BYTES, COMPLEX = "bytes", "complex"
"""Nodes of a text in base 64, and of two numbers."""

TENSOR = "tensor"
"""A node of the number of a tensor."""

ARRAY = "array"
"""A node of a dtype, a shape, whether the first index varies fastest, and the elements in base 64, little-endian."""

ASSEMBLED = "assembled"
"""A node of a dtype, a shape, and ``[value, offsets]`` of the tensors that fill it, each a part."""

UNREAD = "unread"
"""A node of whether tensors are in it, and the name of its class: an object that is not read."""

LONGEST_NAME = 256
"""Characters of the name in such a node."""

Node = list[Any]


class StoredBytes(NamedTuple):
    """Bytes of a file that tensors are made of.

    Attributes:
        file: the number of the file.
        begin: the position of the first byte.
        length: how many there are.
        order: ``little`` or ``big``, in which elements of ``dtype`` are written.
        dtype: the type of the elements; ``untyped`` if the tensors alone say it.
    """

    file: int
    begin: int
    length: int
    order: str
    dtype: str


class StoredTensor(NamedTuple):
    """A dense tensor: elements of the stored bytes with a number, at an offset and with strides counted in elements."""

    stored: int
    dtype: str
    offset: int
    shape: Sequence[int]
    stride: Sequence[int]


class Checksum(NamedTuple):
    """The CRC-32 that a file states for some of its bytes, which it gives a name."""

    file: int
    begin: int
    length: int
    crc32: int
    name: str


class Root(NamedTuple):
    """The content of one file: its kind, the value of its content, and its metadata where these stand apart."""

    kind: str
    content: Any
    metadata: Any


class Description(NamedTuple):
    """The content of several files.

    Attributes:
        roots: one for each file, or one for all files of a folder.
        nodes: what the values in it refer to.
        stored: what the tensors refer to.
        tensors: what the nodes refer to.
        checksums: to be compared when the bytes are read.
        notes: what the user should know about the reading, a line each.
    """

    roots: Sequence[Root]
    nodes: Sequence[Node]
    stored: Sequence[StoredBytes]
    tensors: Sequence[StoredTensor]
    checksums: Sequence[Checksum]
    notes: Sequence[str] = ()

    def to_bytes(self) -> bytes:
        """The description as JSON."""
        return json.dumps(self, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
