"""Stand-ins for the classes that training scripts leave in a checkpoint beside its weights.

No class that a checkpoint names is imported or called. A stand-in of ours is called instead and makes plain data: a
namespace becomes a dict, a path a text, a NumPy scalar a number. First the pickle reader calls it, then torch.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bnsharp_cli.io.containers.pickle_reader import PickledObject
from bnsharp_cli.io.containers.unsound_content import UnsoundContentError

_TORCH_NAMES = {
    "b1": "bool",
    "u1": "uint8",
    "i1": "int8",
    "i2": "int16",
    "i4": "int32",
    "i8": "int64",
    "u2": "uint16",
    "u4": "uint32",
    "u8": "uint64",
    "f2": "float16",
    "f4": "float32",
    "f8": "float64",
    "c8": "complex64",
    "c16": "complex128",
}
_STRUCT_CODES = {
    "b1": "?",
    "u1": "B",
    "i1": "b",
    "i2": "h",
    "i4": "i",
    "i8": "q",
    "u2": "H",
    "u4": "I",
    "u8": "Q",
    "f2": "e",
    "f4": "f",
    "f8": "d",
}
_MOST_DIMENSIONS = 64


class AttributeRecord(dict[str, Any], PickledObject):
    """An object that only holds attributes, as a dict of them."""

    depth = 1

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
            raise UnsoundContentError("holds a state that is no dict of attributes")
        self.update(state)


class PlainDict:
    """A subclass of dict that holds only entries, as a dict."""

    def __new__(cls, *_: object) -> dict[Any, Any]:  # type: ignore[misc]  # it makes dicts, no objects of its own
        """Make an empty dict, which the pickle fills."""
        return {}


def plain_path(*parts: object) -> str:
    """Make a text of the parts of a pathlib path."""
    if not all(isinstance(part, str) for part in parts):
        raise UnsoundContentError("holds a path of something else than text")
    texts = [str(part) for part in parts]
    return "/" + "/".join(texts[1:]) if texts[:1] == ["/"] else "/".join(texts)


def default_dict(*_: object) -> dict[Any, Any]:
    """Make a dict of a defaultdict, without its default."""
    return {}


def no_bytes(*contents: object) -> bytes:
    """Make empty bytes, which protocol 2 writes as a call of ``bytes``."""
    if contents:
        raise UnsoundContentError("makes bytes of something else than a text")
    return b""


@dataclass
class NumpyType(PickledObject):
    """A dtype of NumPy, by its code such as ``f4``: numbers in little-endian order, no objects, texts or fields."""

    code: str
    align: object = False
    copy: object = False

    def __post_init__(self) -> None:
        if self.code not in _TORCH_NAMES:
            raise UnsoundContentError("holds a NumPy array of something else than numbers")

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in {"<", "|"}:
            raise UnsoundContentError("holds a NumPy array of another byte order")

    @property
    def size(self) -> int:
        """How many bytes one number takes."""
        return int(self.code[1:])

    @property
    def torch_name(self) -> str:
        """The name of the same type in torch, such as ``float32``."""
        return _TORCH_NAMES[self.code]


@dataclass
class NumpyArray(PickledObject):
    """A NumPy array as the shape, type and bytes that the pickle states; they agree with each other."""

    shape: tuple[int, ...] = ()
    type: NumpyType = field(default_factory=lambda: NumpyType("f8"))
    data: bytes = b""
    fortran: bool = False

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise UnsoundContentError("holds a damaged NumPy array", damaged=True)
        _version, shape, kind, fortran, data = state
        if (
            not isinstance(shape, tuple)
            or len(shape) > _MOST_DIMENSIONS
            or not all(type(size) is int and 0 <= size < 2**48 for size in shape)
            or not isinstance(kind, NumpyType)
            or not isinstance(data, bytes)
            or math.prod(shape) * kind.size != len(data)
        ):
            raise UnsoundContentError("holds a NumPy array of another size than its shape says")
        self.shape, self.type, self.data, self.fortran = tuple(shape), kind, data, bool(fortran)


def empty_array(*_: object) -> NumpyArray:
    """Make the array whose state follows."""
    return NumpyArray()


def plain_number(kind: object, data: object = b"") -> bool | int | float:
    """Make a Python number of the bytes of a NumPy scalar."""
    if not isinstance(kind, NumpyType) or kind.code not in _STRUCT_CODES or not isinstance(data, bytes):
        raise UnsoundContentError("holds a NumPy scalar that is no number")
    try:
        (number,) = struct.unpack("<" + _STRUCT_CODES[kind.code], data)
    except struct.error as error:
        raise UnsoundContentError("holds a NumPy scalar of another size than its type") from error
    return number if isinstance(number, bool | int) else float(number)


PLAIN_STAND_INS: Mapping[str, Any] = {
    "argparse.Namespace": AttributeRecord,
    "types.SimpleNamespace": AttributeRecord,
    "collections.defaultdict": default_dict,
    "builtins.bytes": no_bytes,
    "builtins.dict": "dict",
    "builtins.list": "list",
    "builtins.int": "int",
    "builtins.float": "float",
    "builtins.str": "str",
    **{
        f"{module}.{kind}": plain_path
        for module in ("pathlib", "pathlib._local")
        for kind in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
    },
    **dict.fromkeys(
        (
            "lightning.fabric.utilities.data.AttributeDict",
            "lightning_fabric.utilities.data.AttributeDict",
            "lightning.pytorch.utilities.parsing.AttributeDict",
            "pytorch_lightning.utilities.parsing.AttributeDict",
        ),
        PlainDict,
    ),
    "numpy.dtype": NumpyType,
    "numpy.ndarray": NumpyArray,
    **{
        f"numpy.{core}.multiarray.{name}": stand_in
        for core in ("core", "_core")
        for name, stand_in in (("scalar", plain_number), ("_reconstruct", empty_array))
    },
}
"""A class, function or value, by the full name of what it stands for."""
