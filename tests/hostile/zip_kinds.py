"""Zip archives in which one record contradicts another, by field and value."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Mapping

from tests.hostile.forge import FLOATS, Reference, pickled, tensor
from tests.hostile.kinds import around, kind
from tests.hostile.zip_forge import END, ENTRY, LOCAL, LOCATOR, WIDE_END, Entry, archive

_PICKLE = pickled({"w": tensor()})
_FIELDS_THAT_NOBODY_READS = {"version", "made_by", "time", "date", "inside"}
_MEMBERS = (
    Entry(b"net/data.pkl", _PICKLE),
    Entry(b"net/byteorder", b"little"),
    Entry(b"net/data/0", FLOATS),
    Entry(b"net/version", b"3\n"),
)


def _bits(code: str) -> int:
    return 8 * struct.calcsize(code)


def _changed(index: int, **changes: object) -> bytes:
    member = Entry(**{**vars(_MEMBERS[index]), **changes})  # type: ignore[arg-type]  # the names say the types
    return archive([*_MEMBERS[:index], member, *_MEMBERS[index + 1 :]])


def _true(index: int, field: str) -> int:
    """What a field of a member says when it is true."""
    member = _MEMBERS[index]
    known = {
        "crc32": zlib.crc32(member.data),
        "packed": len(member.data),
        "size": len(member.data),
        "name_length": len(member.name),
        "begin": archive(_MEMBERS).index(member.name) - 30,
        "version": 20,
        "made_by": 20,
        "date": 0x21,
    }
    return known.get(field, 0)


# each field of each record, with each value that means something
for where, fields in (("local", LOCAL), ("entry", ENTRY)):
    for (index, member), (field, (_position, code)) in itertools.product(enumerate(_MEMBERS), fields.items()):
        for value in around(_true(index, field), _bits(code)):
            harmless = field in _FIELDS_THAT_NOBODY_READS | {"flags"} or (
                where == "local" and field in {"size", "packed"} and value == 2**32 - 1
            )
            name = f"{where} {field} of {member.name.decode()} is {value:#x}"
            kind("zip", name, _changed(index, **{where: {field: value}}), harmless=harmless)
for (index, member), field in itertools.product(enumerate(_MEMBERS), ("flags", "method", "crc32", "size", "packed")):
    for value in around(_true(index, field), _bits(LOCAL[field][1])):
        name = f"both {field} of {member.name.decode()} are {value:#x}"
        both = {field: value}
        kind("zip", name, _changed(index, local=both, entry=both), harmless=field == "flags")
_SIZE = sum(46 + len(member.name) for member in _MEMBERS)
_BEGIN = sum(30 + len(member.name) + len(member.data) for member in _MEMBERS)
_STATED: Mapping[str, int] = {"members": 4, "members_here": 4, "size": _SIZE, "begin": _BEGIN}
for field, (_position, code) in END.items():
    for value in around(_STATED.get(field, 0), _bits(code)):
        kind("zip", f"end {field} is {value:#x}", archive(_MEMBERS, {field: value}))
        harmless = field in {"disk", "first_disk", "members_here"} or value == 2 ** _bits(code) - 1
        kind(
            "zip",
            f"end {field} is {value:#x} before a wide end",
            archive(_MEMBERS, {field: value}, {}),
            harmless=harmless,
        )
for field, (_position, code) in WIDE_END.items():
    for value in around({**_STATED, "length": 44}.get(field, 45), _bits(code)):
        harmless = field not in _STATED
        kind("zip", f"wide end {field} is {value:#x}", archive(_MEMBERS, {}, {field: value}), harmless=harmless)
for field, (_position, code) in LOCATOR.items():
    for value in around({"position": _SIZE + _BEGIN, "disks": 1}.get(field, 0), _bits(code)):
        harmless = field != "position"
        kind("zip", f"locator {field} is {value:#x}", archive(_MEMBERS, {}, {}, {field: value}), harmless=harmless)

# extra fields: second names, wide sizes, times, padding, halves
_SECOND_NAME = struct.pack("<BI", 1, zlib.crc32(b"net/data/0")) + b"net/data/9"
for number, length, where in itertools.product(
    (0x7075, 0x6375, 0x0001, 0x5455, 0x000A, 0x9901, 0x4246), (0, 1, 7, 8, 16, 24, 28, 32), ("local", "entry")
):
    content = (_SECOND_NAME if number == 0x7075 else b"\0" * 40)[:length].ljust(length, b"\0")
    extra = struct.pack("<2H", number, length) + content
    harmless = number == 0x0001 or (where == "local" and number == 0x4246)
    kind("zip", f"{where} extra {number:#x} of {length}", _changed(2, **{f"{where}_extra": extra}), harmless=harmless)
for number, stated, where in itertools.product((0x0001, 0x4246), (1, 8, 0xFFFF), ("local", "entry")):
    extra = struct.pack("<2H", number, stated)
    kind("zip", f"{where} extra {number:#x} without its {stated}", _changed(2, **{f"{where}_extra": extra}))
for fields in itertools.chain.from_iterable(itertools.combinations(("size", "packed", "begin"), n) for n in (1, 2, 3)):
    said = dict.fromkeys(fields, 2**32 - 1)
    true = {field: _true(2, field) for field in fields}
    for name, numbers in (("true", true), ("false", {field: value + 1 for field, value in true.items()}), ("none", {})):
        wide = struct.pack(f"<2H{len(numbers)}Q", 1, 8 * len(numbers), *numbers.values())
        content = _changed(2, entry=said, entry_extra=wide)
        kind("zip", f"wide {'+'.join(fields)}: {name}", content, harmless=name == "true")

# names
for first, second in itertools.product((b"net/data/0", b"net/data.pkl", b"net/byteorder"), (bytes.upper, bytes.title)):
    kind("zip", f"{second(first)!r} beside {first!r}", archive([*_MEMBERS, Entry(second(first), b"")]))
for name in (
    b"net/data/0",
    b"net//x",
    b"net/./x",
    b"net/../x",
    b"/net/x",
    b"net/x/",
    b"net\\x",
    b"net/x\\y",
    b"net",
    b"Net/x",
    b"net/\0",
    b"net/data.pkl\0x",
    b"net/\n",
    b"net/\x1b[2J",
    b"net/\x7f",
    b"net/data/\xc3\xa9",
    b"net/data/\x82",
    b"net/\xe2\x80\xae",
    b"\xff\xfe/x",
    b"",
):
    kind("zip", f"a member called {name!r}", archive([*_MEMBERS, Entry(name, b"x")]))
_E_ACUTE = [Entry(b"net/data.pkl", pickled({"w": tensor(Reference(key="\xe9"))})), *_MEMBERS[1:2]]
_IN_TWO_ENCODINGS = [Entry(b"net/data/\x82", FLOATS), Entry(b"net/data/\xc3\xa9", FLOATS[::-1])]
for order in (1, -1):
    content = archive([*_E_ACUTE, *_IN_TWO_ENCODINGS[::order]])
    kind("zip", f"a storage whose name is another in another encoding, {order}", content)
for name in ("constants.pkl", "code/x.py", "attributes.pkl", "tensors/0", "serialized_exported_program.json"):
    kind("zip", f"a program's {name}", archive([*_MEMBERS, Entry(f"net/{name}".encode(), b"x")]), harmless=True)

# members inside others, one member twice, bytes between them, orders
for index, twin in itertools.permutations(range(4), 2):
    kind("zip", f"member {index} is member {twin}", _changed(index, twin=twin))
for twin in range(4):
    kind("zip", f"another name for {twin}", archive([*_MEMBERS, Entry(b"net/other", _MEMBERS[twin].data, twin=twin)]))
for index, length in itertools.product(range(4), (1, 30, 64)):
    kind("zip", f"{length} bytes behind member {index}", _changed(index, behind=b"\0" * length), harmless=True)
for order in itertools.permutations(range(4)):
    kind("zip", f"order {order}", archive([_MEMBERS[index] for index in order]), harmless=True)
for missing in range(4):
    content = archive([*_MEMBERS[:missing], *_MEMBERS[missing + 1 :]])
    kind("zip", f"no {_MEMBERS[missing].name.decode()}", content, harmless=missing in {1, 3})

# bytes
_WHOLE = archive(_MEMBERS)
for end in range(0, len(_WHOLE), 7):
    kind("zip", f"cut at {end}", _WHOLE[:end])
for begin in range(1, 60, 3):
    kind("zip", f"begins at {begin}", _WHOLE[begin:])
for name, before, behind in (
    ("before", b"x", b""),
    ("behind", b"", b"\0"),
    ("twice", b"", _WHOLE),
    ("a comment", b"", b"PK\5\6"),
):
    kind("zip", f"bytes {name}", before + _WHOLE + behind)
for name, before in (
    ("a header without a member", b"PK\3\4" + bytes(26)),
    ("the length of a safetensors header", b"PK\3\4\0\0\0\0{}"),
    ("a pickle", pickled({"w": tensor()})),
):
    kind("zip", f"{name} before the first member", archive(_MEMBERS, before=before))
for order in (b"", b"big", b"little\n", b"Little", b"middle", b"big\0", b"littlebig"):
    kind("zip", f"byte order {order!r}", _changed(1, data=order), harmless=order in {b"", b"big"})

# checksums of zero, which torch writes when it is told to compute none
_NONE = {"crc32": 0}
for index in range(4):
    kind("zip", f"no checksum of {index}", _changed(index, local=_NONE, entry=_NONE))
kind("zip", "no checksums", archive([Entry(one.name, one.data, _NONE, _NONE) for one in _MEMBERS]), harmless=True)
