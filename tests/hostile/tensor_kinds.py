"""Tensors and storages that contradict each other or the file, in both formats of torch.save."""

from __future__ import annotations

import itertools
import struct

import torch

from tests.hostile.forge import FLOATS, Rebuilt, Reference, legacy, pickled, tensor, zipped
from tests.hostile.kinds import kind

_SIZES = (0, 1, 2, 3, 4, 5, 2**31, 2**47, 2**48, 2**63, -1, True, 1.0, "4", None)
_KINDS = (torch.FloatStorage, torch.DoubleStorage, torch.ByteStorage, torch.ComplexFloatStorage, torch.UntypedStorage)
_FOUR = struct.pack("<q", 4) + FLOATS


def _both(mechanism: str, name: str, content: object, *, harmless: bool = True) -> None:
    kind(mechanism, name, lambda: zipped(pickled({"w": content})), harmless=harmless)
    kind(mechanism, f"{name}, legacy", lambda: legacy(pickled({"w": content}, legacy=True)), harmless=harmless)


# every number of a tensor, with every value
for value in _SIZES:
    fits = type(value) is int and 0 <= value <= 4
    _both("offset", repr(value), tensor(offset=value, size=(1,)), harmless=fits and value < 4)
    _both("offset of nothing", repr(value), tensor(offset=value, size=(0,)), harmless=fits)
    _both("size", repr(value), tensor(size=(value,)), harmless=fits)
    _both("size beside 0", repr(value), tensor(size=(0, value), stride=(1, 1)), harmless=type(value) is int)
    _both(
        "size between zeros", repr(value), tensor(size=(0, value, value), stride=(1, 1, 1)), harmless=fits or value == 5
    )
    _both("stride", repr(value), tensor(size=(2,), stride=(value,)), harmless=fits and value < 4)
    _both("stride of one", repr(value), tensor(size=(1,), stride=(value,)), harmless=type(value) is int)
    _both("count", repr(value), tensor(Reference(count=value), size=(0,)), harmless=value == 4)
    _both("gradient", repr(value), Rebuilt((Reference(), 0, (4,), (1,), value, {})), harmless=value is True)
for (size, stride), place in itertools.product(
    itertools.product(((), (4,), (2, 2), (0,), (1, 4)), ((), (1,), (2, 1), (1, 2), (0, 1), (4, 4))), (0, 1, 4)
):
    _both("layout", f"{size} by {stride} at {place}", tensor(offset=place, size=size, stride=stride))
for first, second in itertools.product(_KINDS, repeat=2):
    pair = [tensor(Reference(kind=first, count=2), size=(2,)), tensor(Reference(kind=second, count=2), size=(2,))]
    _both("types", f"{first.__name__} and {second.__name__}", pair)
for dtype in (
    torch.float32,
    torch.complex64,
    torch.float8_e4m3fn,
    torch.bool,
    torch.uint64,
    torch.quint8,
    torch.float64,
):
    untyped = Reference(kind=torch.storage.UntypedStorage, count=16)
    arguments = (untyped, 0, (1,), (1,), False, {}, dtype)
    _both("type of its own", str(dtype), Rebuilt(arguments, torch._utils._rebuild_tensor_v3))
for key in ("", "0", "1", "00", " 0", "0/", "../data.pkl", "data.pkl", "/0", "0\0", "é", 0, None, b"0"):
    _both("key", repr(key), tensor(Reference(key=key)), harmless=key == "0")
for location in ("cpu", "cuda:0", "meta", "", "\x1b", "nowhere", 0, None):
    _both("location", repr(location), tensor(Reference(location=location)), harmless=isinstance(location, str))

# views of the legacy format, under every relation of two of them
_VIEWS = (None, ("1", 0, 4), ("1", 0, 2), ("1", 2, 2), ("2", 1, 3), ("0", 0, 4), ("1", 4, 0), ("1", 3, 2), ("1", -1, 2))
for first, second in itertools.product(_VIEWS, repeat=2):
    pair = [tensor(Reference(extra=(view,)), size=(0,)) for view in (first, second)]
    kind("views", f"{first} and {second}", legacy(pickled({"w": pair}, legacy=True)), harmless=True)
    reused = [tensor(Reference(extra=(first,))), tensor(Reference(key="1", extra=(second,)))]
    content = legacy(pickled({"w": reused}, legacy=True), keys=("0", "1"), storages=_FOUR * 2)
    kind("views", f"{first}, then {second} of another storage", content, harmless=True)
for view in ((), ("1",), ("1", 0), ("1", 0, 4, 0), (1, 0, 4), ("1", 0.0, 4), ("1", 0, 2**63), [1, 0, 4], "104", 1):
    kind("views", repr(view), legacy(pickled({"w": tensor(Reference(extra=(view,)))}, legacy=True)))

# what follows the pickles of the legacy format
_CONTENT = pickled({"w": tensor()}, legacy=True)
for keys in ((), ("0", "0"), ("1",), ("0", "1"), "0", 0, None, ("\x1b",), (0,), {"0": 1}, [["0"]]):
    kind("legacy keys", repr(keys), legacy(_CONTENT, keys=keys), harmless=False)
for count in (0, 1, 3, 5, -1, 2**31, 2**60, -(2**63)):
    kind("legacy count", count, legacy(_CONTENT, storages=struct.pack("<q", count) + FLOATS))
for length in (*range(0, 24, 3), 25, 40):
    kind("legacy bytes", length, legacy(_CONTENT, storages=(_FOUR + b"\0" * 99)[:length]))
for system in ({}, {"little_endian": False}, {"little_endian": 1}, [], 7, {"little_endian": None}):
    kind("legacy system", repr(system), legacy(_CONTENT, system=system))
for size in (1000, 60_000, 66_000):
    many = {str(index): tensor(Reference(count=1), size=(1,), stride=(1,)) for index in range(size // 2)}
    kind("many tensors", size, lambda many=many: zipped(pickled(many), {"0": FLOATS[:4]}), harmless=size < 2 * 2**15)
