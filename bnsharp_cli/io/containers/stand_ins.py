"""Stand-ins for the classes that training scripts leave in a checkpoint beside its weights.

No class that a checkpoint names is imported or called. A stand-in of ours is called instead and makes plain data: a
namespace becomes a dict, a path a text, a NumPy scalar a number. Each takes exactly the arguments with which the real
class is pickled, and does with them what the real class does.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any

from bnsharp_cli.io.containers.dtypes import BY_NUMPY, DType
from bnsharp_cli.io.containers.pickle_reader import (
    Budget,
    ForeignObject,
    PickledDict,
    PickledList,
    PickledObject,
    PickledTuple,
    number_keys,
    require_key,
)
from bnsharp_cli.io.containers.tensor_layouts import MOST_DIMENSIONS, SIZE_LIMIT
from bnsharp_cli.io.containers.unsound_content import UnsoundContentError, damaged


class AttributeRecord(dict[str, Any], PickledObject):
    """An object that only holds attributes, as a dict of them."""

    depth = 1

    def __init__(self) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
            raise UnsoundContentError("holds a state that is no dict of attributes")
        self.update(state)


class PlainDict:
    """A subclass of dict that holds only entries, as a dict."""

    def __new__(cls) -> dict[Any, Any]:  # type: ignore[misc]  # it makes dicts, no objects of its own
        """Make an empty dict, which the pickle fills."""
        return {}


class PlainSet(PickledObject):
    """A set, as the list of its members; they are keys, so the same ones are equal."""

    def __init__(self, budget: Budget, members: object = None) -> None:
        if not isinstance(members, PickledList):
            raise UnsoundContentError("builds a set of something else than a list")
        budget.spend(number_keys=number_keys(members))
        for member in members:
            require_key(member)
        self.members = tuple(members)


def ordered_dict(budget: Budget, *given: object) -> dict[Any, Any]:
    """Make the dict of an ``OrderedDict``: empty, or of the list of pairs that older versions of Python wrote."""
    if not given:
        return {}
    (pairs,) = given
    if isinstance(pairs, PickledDict):
        budget.spend(number_keys=number_keys(pairs))
        return dict(pairs)
    if not isinstance(pairs, PickledList):
        raise UnsoundContentError("builds a dict of something else than pairs")
    budget.spend(objects=len(pairs))
    entries: dict[Any, Any] = {}
    for pair in pairs:
        if not isinstance(pair, PickledList | PickledTuple) or len(pair) != 2:
            raise UnsoundContentError("builds a dict of something else than pairs")
        require_key(pair[0])
        budget.spend(number_keys=number_keys(pair[:1]))
        entries[pair[0]] = pair[1]
    return entries


def counter(budget: Budget, given: object) -> dict[Any, Any]:
    """Make the dict of a ``Counter``, which is pickled with the dict of its counts."""
    if not isinstance(given, PickledDict):
        raise UnsoundContentError("counts something else than a dict of counts")
    budget.spend(number_keys=number_keys(given))
    return dict(given)


def default_dict(*default: object) -> dict[Any, Any]:
    """Make a dict of a defaultdict, without its default."""
    if len(default) > 1:
        raise UnsoundContentError("makes a defaultdict of more than its default")
    return {}


def plain_path(*parts: object) -> str:
    """Make a text of the parts of a pathlib path."""
    if not all(isinstance(part, str) for part in parts):
        raise UnsoundContentError("holds a path of something else than text")
    texts = [str(part) for part in parts]
    return "/" + "/".join(texts[1:]) if texts[:1] == ["/"] else "/".join(texts)


def no_bytes() -> bytes:
    """Make empty bytes, which protocol 2 writes as a call of ``bytes``."""
    return b""


def encoded(text: object, encoding: object) -> bytes:
    """Make the bytes that protocol 2 writes as a text in latin-1."""
    if not isinstance(text, str) or encoding not in {"latin1", "latin-1"}:
        raise UnsoundContentError("encodes a text as torch.save never does")
    return text.encode("latin-1")


def byte_array(data: object = b"", encoding: object = None) -> bytes:
    """Make the bytes of a bytearray."""
    if encoding is not None:
        return encoded(data, encoding)
    if not isinstance(data, bytes):
        raise UnsoundContentError("makes a bytearray of something else than bytes")
    return data


def plain_complex(real: object, imaginary: object) -> complex:
    """Make a complex number of its parts."""
    if type(real) is not float or type(imaginary) is not float:
        raise UnsoundContentError("makes a complex number of something else than two numbers")
    return complex(real, imaginary)


class NumpyType(PickledObject):
    """A dtype of NumPy, by its code such as ``f4``.

    Attributes:
        dtype: the same type in torch; ``None`` for what is no number in little-endian order: objects, texts, fields.
    """

    def __init__(self, code: object, _align: object = False, _copy: object = False) -> None:
        self.dtype = BY_NUMPY.get(code) if isinstance(code, str) else None

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in {"<", "|"}:
            self.dtype = None


class NumpyArray(PickledObject):
    """A NumPy array as the shape, type and bytes that the pickle states; they agree with each other.

    Attributes:
        unread: whether its elements are no numbers in little-endian order, so that nothing of it is kept.
    """

    def __init__(self) -> None:
        self.unread = False
        self.shape: tuple[int, ...] = ()
        self.dtype: DType | None = None
        self.data: bytes | None = None
        self.fortran = False

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise UnsoundContentError("holds a damaged NumPy array", damaged=True)
        _version, shape, kind, fortran, data = state
        if not isinstance(kind, NumpyType | ForeignObject):
            raise UnsoundContentError("holds a NumPy array of no type")
        self.dtype = kind.dtype if isinstance(kind, NumpyType) else None
        if self.dtype is None:
            self.unread = True
            return
        if (
            not isinstance(shape, tuple)
            or len(shape) > MOST_DIMENSIONS
            or not all(type(size) is int and 0 <= size < SIZE_LIMIT for size in shape)
            or math.prod(max(size, 1) for size in shape) >= SIZE_LIMIT
            or not isinstance(data, bytes)
            or math.prod(shape) * self.dtype.size != len(data)
        ):
            raise UnsoundContentError("holds a NumPy array of another size than its shape says")
        self.shape, self.data, self.fortran = tuple(shape), data, bool(fortran)

    def complete(self) -> tuple[DType, bytes]:
        """The type and the bytes of its elements.

        Raises:
            UnsoundContentError: the pickle never stated them.
        """
        if self.dtype is None or self.data is None:
            raise damaged("a NumPy array without values")
        return self.dtype, self.data


def empty_array(kind: object, _shape: object, _code: object) -> NumpyArray | ForeignObject:
    """Make the array whose state follows; one of a class of somebody's own is not read."""
    return ForeignObject(kind.name) if isinstance(kind, ForeignObject) else NumpyArray()


def plain_number(kind: object, data: object = None) -> bool | int | float | ForeignObject:
    """Make a Python number of the bytes of a NumPy scalar; texts, times and objects are not read."""
    if isinstance(kind, NumpyType) and (kind.dtype is None or not kind.dtype.struct):
        return ForeignObject("numpy.generic")
    if not isinstance(kind, NumpyType) or kind.dtype is None or not isinstance(data, bytes):
        raise UnsoundContentError("holds a NumPy scalar that is no number")
    try:
        (number,) = struct.unpack("<" + kind.dtype.struct, data)
    except struct.error as error:
        raise UnsoundContentError("holds a NumPy scalar of another size than its type") from error
    return number if isinstance(number, bool | int) else float(number)


PLAIN_STAND_INS: Mapping[str, Any] = {
    "argparse.Namespace": AttributeRecord,
    "types.SimpleNamespace": AttributeRecord,
    "collections.defaultdict": default_dict,
    "builtins.complex": plain_complex,
    "builtins.bytearray": byte_array,
    "_codecs.encode": encoded,
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
    "numpy.ndarray": "ndarray",
    **{
        f"numpy.{core}.multiarray.{name}": stand_in
        for core in ("core", "_core")
        for name, stand_in in (("scalar", plain_number), ("_reconstruct", empty_array))
    },
}
"""A class, function or value, by the full name of what it stands for."""
