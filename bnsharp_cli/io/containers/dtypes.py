"""The element types that are read, and the names that the formats give them: one table.

Quantised types and types of less than a byte are not in it, so a file that holds them is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class DType(NamedTuple):
    """The type of a tensor's elements.

    Attributes:
        name: torch's, such as ``float32``.
        size: bytes of one element.
        storage: what torch's typed storage of it is called, ``Float`` for ``FloatStorage``; empty if there is none.
        safetensors: its name in a safetensors header; empty if there is none.
        numpy: its code in a NumPy dtype; empty if there is none.
        struct: its code in :mod:`struct`; empty if there is none.
    """

    name: str
    size: int
    storage: str = ""
    safetensors: str = ""
    numpy: str = ""
    struct: str = ""


_TABLE = (
    DType("bool", 1, "Bool", "BOOL", "b1", "?"),
    DType("uint8", 1, "Byte", "U8", "u1", "B"),
    DType("int8", 1, "Char", "I8", "i1", "b"),
    DType("int16", 2, "Short", "I16", "i2", "h"),
    DType("int32", 4, "Int", "I32", "i4", "i"),
    DType("int64", 8, "Long", "I64", "i8", "q"),
    DType("uint16", 2, "", "U16", "u2", "H"),
    DType("uint32", 4, "", "U32", "u4", "I"),
    DType("uint64", 8, "", "U64", "u8", "Q"),
    DType("float16", 2, "Half", "F16", "f2", "e"),
    DType("bfloat16", 2, "BFloat16", "BF16"),
    DType("float32", 4, "Float", "F32", "f4", "f"),
    DType("float64", 8, "Double", "F64", "f8", "d"),
    DType("complex64", 8, "ComplexFloat", "C64", "c8"),
    DType("complex128", 16, "ComplexDouble", "", "c16"),
    DType("float8_e4m3fn", 1, "", "F8_E4M3"),
    DType("float8_e5m2", 1, "", "F8_E5M2"),
    DType("float8_e4m3fnuz", 1, "", "F8_E4M3FNUZ"),
    DType("float8_e5m2fnuz", 1, "", "F8_E5M2FNUZ"),
    DType("float8_e8m0fnu", 1, "", "F8_E8M0"),
)

BY_NAME: Mapping[str, DType] = {dtype.name: dtype for dtype in _TABLE}
BY_STORAGE: Mapping[str, DType] = {dtype.storage: dtype for dtype in _TABLE if dtype.storage}
BY_SAFETENSORS: Mapping[str, DType] = {dtype.safetensors: dtype for dtype in _TABLE if dtype.safetensors}
BY_NUMPY: Mapping[str, DType] = {dtype.numpy: dtype for dtype in _TABLE if dtype.numpy}

UNTYPED = DType("untyped", 1)
"""The elements of an untyped storage, which are bytes."""
