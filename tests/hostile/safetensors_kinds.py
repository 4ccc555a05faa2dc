"""Headers of safetensors, every field of which holds what it may not."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping

from bnsharp_cli.io.containers.dtypes import BY_SAFETENSORS
from tests.hostile.forge import safetensors
from tests.hostile.kinds import kind

_ENTRY = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
_DATA = b"\0" * 16
_WRONG = (
    None,
    True,
    False,
    -1,
    0,
    1.0,
    1.5,
    2**31,
    2**48,
    2**63,
    2**64,
    "4",
    "",
    [],
    [4.0],
    [True],
    [-4],
    [[4]],
    {},
    "F31",
)


def _file(header: object, data: bytes = _DATA, length: int | None = None) -> bytes:
    return safetensors(header if isinstance(header, str | bytes) else json.dumps(header), data, length)


for field, value in itertools.product(_ENTRY, _WRONG):
    kind("field", f"{field} is {value!r}", _file({"w": {**_ENTRY, field: value}}))
    kind("field of nothing", f"{field} is {value!r}", _file({"w": _ENTRY, "x": {**_ENTRY, "shape": [0], field: value}}))
for value in (*_WRONG, _ENTRY):
    kind("header", repr(value), _file([value] if value == _ENTRY else value))
    kind("entry", repr(value), _file({"w": value}), harmless=value == _ENTRY)
    kind("metadata", repr(value), _file({"w": _ENTRY, "__metadata__": value}), harmless=value == {})
    kind(
        "value of metadata",
        repr(value),
        _file({"w": _ENTRY, "__metadata__": {"a": value}}),
        harmless=isinstance(value, str),
    )
for missing, added in itertools.product((*_ENTRY, None), ("more", None)):
    entry: Mapping[str, object] = {**_ENTRY, **({added: 1} if added else {})}
    entry = {name: value for name, value in entry.items() if name != missing}
    kind("fields", f"without {missing}, with {added}", _file({"w": entry}), harmless=missing is None and added is None)
for first, second in itertools.product(range(0, 20, 2), repeat=2):
    kind(
        "offsets",
        f"{first}-{second}",
        _file({"w": {**_ENTRY, "data_offsets": [first, second]}}),
        harmless=(first, second) == (0, 16),
    )
for (a, b), (c, d) in itertools.product(itertools.combinations(range(0, 20, 4), 2), repeat=2):
    pair = {"a": (a, b), "b": (c, d)}
    header = {
        name: {"dtype": "F32", "shape": [(end - begin) // 4], "data_offsets": [begin, end]}
        for name, (begin, end) in pair.items()
    }
    kind(
        "two tensors",
        f"{a}-{b} and {c}-{d}",
        _file(header),
        harmless=sorted([(a, b), (c, d)]) in [[(0, n), (n, 16)] for n in (4, 8, 12)],
    )
for dtype in (*BY_SAFETENSORS, "F4", "F6_E2M3", "F6_E3M2", "I4", "f32", "float32", "C128", "", "F32 "):
    size = BY_SAFETENSORS[dtype].size if dtype in BY_SAFETENSORS else 4
    for count in (0, 16 // size, 16 // size + 1, 2 * 16 // size):
        entry = {"dtype": dtype, "shape": [count], "data_offsets": [0, count * size]}
        kind(
            "type",
            f"{dtype!r} × {count}",
            _file({"w": entry}, b"\0" * min(count * size, 16)),
            harmless=dtype in BY_SAFETENSORS,
        )
for shape in (
    [],
    [2, 2],
    [4, 1],
    [1] * 63 + [4],
    [1] * 64 + [4],
    [0],
    [0, 2**47],
    [0, 2**47, 2**47],
    [2**62, 0],
    [4, 0],
):
    product = 0 if 0 in shape else 4 if shape else 1
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 * product]}
    kind("shape", repr(shape)[:40] + f" of {len(shape)}", _file({"w": entry}, _DATA[: 4 * product]), harmless=True)
for length in (0, 1, 2, 7, 2**24, 2**24 + 1, 2**31, 2**32, 2**63, 2**64 - 1, 60, 61, 200):
    kind("length", length, _file({"w": _ENTRY}, length=length))
_SOUND = json.dumps({"w": _ENTRY})
for name, text in {
    "spaces before": f" {_SOUND}",
    "spaces behind": f"{_SOUND}       ",
    "zeros behind": f"{_SOUND}\0",
    "a line behind": f"{_SOUND}\n",
    "two objects": f"{_SOUND}{{}}",
    "a comment": f"{_SOUND[:-1]}/* */}}",
    "a comma": f"{_SOUND[:-1]},}}",
    "single quotes": _SOUND.replace('"', "'"),
    "infinity": _SOUND.replace("4]", "Infinity]"),
    "a fraction": _SOUND.replace("16", "16.0"),
    "an exponent": _SOUND.replace("16", "1.6e1"),
    "minus zero": _SOUND.replace("[0,", "[-0,"),
    "a leading zero": _SOUND.replace("16", "016"),
    "hexadecimal": _SOUND.replace("16", "0x10"),
    "a mark": "\ufeff" + _SOUND,
    "a surrogate": _SOUND.replace('"w"', '"\\ud800"'),
    "a null": _SOUND.replace('"w"', '"\\u0000"'),
    "an escape": _SOUND.replace('"w"', '"\\u001b[2J"'),
    "the metadata twice": '{"__metadata__":{},"__metadata__":{},' + _SOUND[1:],
    "a name twice": _SOUND[:-1] + "," + _SOUND[1:],
    "a name twice in metadata": '{"__metadata__":{"a":"1","a":"2"},' + _SOUND[1:],
    "an escaped name twice": _SOUND[:-1] + ',"\\u0077":' + json.dumps(_ENTRY) + "}",
}.items():
    harmless = name in {"spaces behind", "a line behind", "a surrogate", "a null", "an escape", "minus zero"}
    kind("text", name, _file(text), harmless=harmless)
for count in (1000, 33_000):
    many = {str(i): {"dtype": "F32", "shape": [1], "data_offsets": [4 * i, 4 * i + 4]} for i in range(count)}
    kind(
        "many tensors of safetensors",
        count,
        lambda many=many: _file(many, bytes(4 * len(many))),
        harmless=count == 1000,
    )
for count in (1000, 100_000, 1_100_000):
    kind(
        "many metadata",
        count,
        lambda count=count: _file({"__metadata__": {str(i): "" for i in range(count)}, "w": _ENTRY}),
        harmless=count < 10**6,
    )
for mark, count in itertools.product(("[]", "{}", "[[]]", "1", '""'), (100_000, 300_000, 1_100_000)):
    kind(
        "many parts",
        f"{count} × {mark}",
        lambda mark=mark, count=count: _file('{"w":[' + ",".join([mark] * count) + "]}"),
    )
for depth, mark in itertools.product((50, 900, 1100, 100_000), ("[", '{"a":')):
    kind(
        "depth of a header",
        f"{depth} × {mark}",
        _file('{"w":' + mark * depth + ("]" if mark == "[" else "1}") * depth + "}"),
    )
