"""Checkpoints spoiled as somebody would who knows the formats: all that refers to a change is changed with it."""

from __future__ import annotations

import json
import pickle
import pickletools
import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

import torch
from hypothesis import strategies as st
from torch.distributed.checkpoint import metadata
from torch.distributed.checkpoint.filesystem import _StorageInfo

from tests.hostile.forge import START, named, number, saved, text
from tests.hostile.mutations import BLIND, INTERESTING, NAMES, originals, parts_of, separate
from tests.hostile.zip_forge import END, ENTRY, LOCAL, LOCATOR, WIDE_END, Entry, archive

_COPIES = ("flags", "method", "crc32", "packed", "size", "name_length", "extra_length", "time", "date", "version")
"""Fields that the local header and the directory both state."""

_EXTRAS = (
    b"",
    b"FB\x04\0ZZZZ",
    b"FB\x00\0",
    b"\1\0\x10\0" + bytes(16),
    b"\1\0\x08\0" + bytes(8),
    b"up\x06\0\1abcdx",
    b"UT\x05\0\1abcd",
    b"FB",
    b"\0",
)
_MEMBERS = (b"net/data/1", b"net/DATA/0", b"net/version", b"net/.data/serialization_id", b"net/data/\x82", b"other/x")


@st.composite
def spoiled_archives(draw: st.DrawFn) -> bytes:
    """A zip checkpoint whose records say something else, in one place or wherever they say it."""
    opcodes, storages = parts_of(draw(st.sampled_from([one for one in originals() if one.startswith(b"PK")])))
    members = [Entry(b"net/data.pkl", b"".join(opcodes)), Entry(b"net/byteorder", b"little")]
    members += [Entry(f"net/data/{key}".encode(), data) for key, data in storages]
    end: dict[str, int] = {}
    wide: dict[str, int] | None = draw(st.sampled_from((None, {})))
    locator: dict[str, int] = {}
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(members) - 1))
        value = draw(st.sampled_from((*INTERESTING, 0x10, 0x20, 0x800, 0x2000, len(members[at].data), 2**32 - 2)))
        match draw(st.sampled_from(("member", "member", "end", "order", "add", "wide", "locator"))):
            case "member":
                members[at] = draw(_spoiled_members(members[at], value, len(members)))
            case "end":
                end[draw(st.sampled_from(sorted(END)))] = value
            case "order":
                members = draw(st.permutations(members))
            case "add":
                name = draw(st.sampled_from((*_MEMBERS, *(member.name for member in members))))
                members.insert(at, Entry(name, draw(st.sampled_from((b"", b"\0" * 24, members[at].data)))))
            case "wide" if wide is not None:
                wide = {**wide, draw(st.sampled_from(sorted(WIDE_END))): value}
            case "locator":
                locator[draw(st.sampled_from(sorted(LOCATOR)))] = value
    return archive(members, end, wide, locator)


@st.composite
def _spoiled_members(draw: st.DrawFn, member: Entry, value: int, members: int) -> Entry:
    """A member of which something else is said than is true."""
    match draw(st.sampled_from(("local", "entry", "both", "local_extra", "entry_extra", "twin", "gap"))):
        case "local":
            return replace(member, local={draw(st.sampled_from(sorted(LOCAL))): value})
        case "entry":
            return replace(member, entry={draw(st.sampled_from(sorted(ENTRY))): value})
        case "both":
            changed = {draw(st.sampled_from(_COPIES)): value}
            return replace(member, local=changed, entry=changed)
        case "local_extra":
            return replace(member, local_extra=draw(st.sampled_from(_EXTRAS)))
        case "entry_extra":
            return replace(member, entry_extra=draw(st.sampled_from(_EXTRAS)))
        case "twin":
            return replace(member, twin=draw(st.integers(0, members - 1)))
    return replace(member, behind=b"\0" * draw(st.integers(1, 40)))


_POPS = {
    "TUPLE1": 1,
    "TUPLE2": 2,
    "TUPLE3": 3,
    "REDUCE": 2,
    "NEWOBJ": 2,
    "BUILD": 2,
    "APPEND": 2,
    "SETITEM": 3,
    "BINPERSID": 1,
    "STACK_GLOBAL": 2,
}
_UP_TO_MARK = {"TUPLE": 0, "APPENDS": 1, "SETITEMS": 1, "ADDITEMS": 1}
"""Opcodes that take all since the last mark, and how many values below it."""


@cache
def spans(opcodes: Sequence[bytes]) -> tuple[tuple[int, int], ...]:
    """The stretches of a sound pickle's opcodes that push one value each, the smallest and the largest."""
    stack: list[int] = []
    marks: list[int] = []
    found = []
    for index, (opcode, _argument, _position) in enumerate(pickletools.genops(b"".join(opcodes))):
        name = opcode.name
        if name in {"PROTO", "STOP", "BINPUT", "LONG_BINPUT", "MEMOIZE", "FRAME"}:
            continue
        if name == "MARK":
            marks.append(len(stack))
            stack.append(index)
            continue
        start = index
        if name in _UP_TO_MARK:
            keep = marks.pop() - _UP_TO_MARK[name]
            start = stack[keep]
            del stack[keep:]
        elif name in _POPS:
            start = stack[-_POPS[name]]
            del stack[-_POPS[name] :]
        stack.append(start)
        found.append((start, index + 1))
    return tuple(found)


_ATOMS = (
    b"N",
    b"\x88",
    b"\x89",
    *(number(value) for value in (0, 1, 4, -1, 2**31, 2**48, 2**63, 2**64 - 1)),
    *(b"G" + struct.pack(">d", value) for value in (0.0, -0.0, 1.5, float("nan"), float("inf"), 2.0**40)),
    *(text(value) for value in ("", "0", "w", "storage", "cpu", "meta", "latin1", "f4", "<", "\U0001f600", "\x1b")),
    b"X\x03\0\0\0\xed\xa0\x80",
    b"}",
    b"]",
    b")",
)
_STORAGE = b"(" + text("storage") + named("torch.FloatStorage") + text("0") + text("cpu") + b"K\x04tQ"


@st.composite
def values(draw: st.DrawFn, depth: int = 3) -> bytes:
    """Opcodes that push one value: an atom, a container, a tensor, or what a function makes of such values."""
    kind = draw(st.integers(0, 9 if depth else 3))
    if kind < 4:
        return draw(st.sampled_from((*_ATOMS, _STORAGE, *(named(name) for name in NAMES[2:]))))
    inside = [draw(values(depth - 1)) for _ in range(draw(st.integers(0, 4)))]
    match kind:
        case 4:
            return b"](" + b"".join(inside) + b"e"
        case 5:
            return b"(" + b"".join(inside) + b"t"
        case 6:
            return b"}(" + b"".join(draw(st.sampled_from(_ATOMS)) + value for value in inside) + b"u"
        case 7:
            shape = draw(st.sampled_from((b"K\x04\x85K\x01\x85", b"))", b"K\x02K\x02\x86K\x02K\x01\x86")))
            tail = b"\x89" + named("collections.OrderedDict") + b")RtR"
            return named("torch._utils._rebuild_tensor_v2") + b"(" + _STORAGE + b"K\x00" + shape + tail
    called = named(draw(st.sampled_from(NAMES[2:]))) + b"(" + b"".join(inside) + b"tR"
    return called + (draw(values(depth - 1)) + b"b" if kind == 9 else b"")


@st.composite
def spoiled_values(draw: st.DrawFn) -> bytes:
    """A zip checkpoint in which whole values are exchanged, doubled, replaced or added, the stack kept in balance."""
    opcodes, storages = parts_of(draw(st.sampled_from([one for one in originals() if one.startswith(b"PK")])))
    changed = tuple(opcodes)
    for _ in range(draw(st.integers(1, 3))):
        known = spans(changed) if _is_balanced(changed) else ()
        if not known:
            break
        start, end = draw(st.sampled_from(known))
        if draw(st.booleans()):
            other_start, other_end = draw(st.sampled_from(known))
            new = changed[other_start:other_end]
        else:
            new = separate(START + draw(values()) + b".")[1:-1]
        if draw(st.integers(0, 3)) == 0:  # beside it, as an entry of the whole
            changed = (*changed[:-1], *separate(START + text("x") + b".")[1:-1], *new, b"s", b".")
        else:
            changed = (*changed[:start], *new, *changed[end:])
    members = [Entry(b"net/data.pkl", b"".join(changed)), Entry(b"net/byteorder", b"little")]
    return archive([*members, *(Entry(f"net/data/{key}".encode(), data) for key, data in storages)])


def _is_balanced(opcodes: Sequence[bytes]) -> bool:
    try:
        spans(tuple(opcodes))
    except (IndexError, ValueError):
        return False
    return True


_SIZES = {"F64": 8, "F32": 4, "I32": 4, "BF16": 2, "F16": 2, "I8": 1, "BOOL": 1, "C64": 8, "U16": 2, "F8_E4M3": 1}


@st.composite
def written_headers(draw: st.DrawFn) -> bytes:
    """A safetensors file that is nearly sound: tensors one after the other, with one thing wrong, or nothing."""
    entries: list[tuple[str, object]] = []
    position = 0
    for index in range(draw(st.integers(1, 5))):
        dtype = draw(st.sampled_from(sorted(_SIZES)))
        shape = draw(st.lists(st.integers(0, 3), max_size=3))
        size = _SIZES[dtype]
        for length in shape:
            size *= length
        entry = {"dtype": dtype, "shape": shape, "data_offsets": [position, position + size]}
        entries.append((draw(st.sampled_from((f"t{index}", "t0", "\ud800", "é"))), entry))
        position += size
    if draw(st.booleans()):
        entries.append(("__metadata__", draw(st.sampled_from(({"a": "b"}, {}, {"a": 1}, None, [])))))
    entries = draw(st.permutations(entries))
    if draw(st.booleans()):
        entry = draw(st.sampled_from([entry for _name, entry in entries if isinstance(entry, dict)]))
        if entry:
            entry[draw(st.sampled_from(sorted(entry)))] = draw(
                st.sampled_from((0, -1, 1.0, True, None, "F32", "I32", [0, 0], [4], [2, 2], [], [0, 4, 8], {}, 2**63))
            )
    space = draw(st.sampled_from(("", " ", "   ", "\n")))
    inside = ",".join(f"{space}{json.dumps(name)}:{json.dumps(entry)}" for name, entry in entries)
    header = f"{{{inside}}}{draw(st.sampled_from(('', ' ', '       ', chr(0))))}".encode()
    data = bytes(position + draw(st.sampled_from((0, 0, 0, 1, -1))) if position else 0)
    return struct.pack("<Q", len(header)) + header + data


SPOILED = st.one_of(BLIND, spoiled_archives(), spoiled_values(), written_headers())
"""Files of every kind of spoiling."""


@st.composite
def divided_folders(draw: st.DrawFn) -> Mapping[str, bytes]:
    """A distributed checkpoint of one matrix in pieces, which nearly make the whole, under names that nearly fit."""
    rows, columns, cut = (draw(st.integers(1, 4)) for _ in range(3))
    boxes = [([0, 0], [min(cut, rows), columns]), ([cut, 0], [rows - cut, columns])]
    boxes = [box for box in boxes if box[1][0] > 0]
    kinds = [draw(st.sampled_from((torch.float32, torch.complex64, torch.bfloat16, torch.int64)))] * 2
    if draw(st.integers(0, 3)) == 0:
        kinds[1] = torch.float64
    pieces = [torch.arange(a * b).reshape(a, b).to(kind) for (_at, (a, b)), kind in zip(boxes, kinds, strict=False)]
    if draw(st.booleans()):
        numbers = draw(st.sampled_from(draw(st.sampled_from(boxes))))
        numbers[draw(st.integers(0, 1))] = draw(st.sampled_from((0, 1, 2, 3, 2**40)))
    if draw(st.integers(0, 3)) == 0:
        boxes.append(draw(st.sampled_from(boxes)))
    chunks = [metadata.ChunkStorageMetadata(torch.Size(at), torch.Size(length)) for at, length in boxes]
    size = torch.Size([rows + draw(st.sampled_from((0, 0, 0, 1))), columns])
    stated = metadata.TensorStorageMetadata(metadata.TensorProperties(dtype=kinds[0]), size, chunks)
    files, places, begin = [saved(piece) for piece in pieces], {}, 0
    for file, (at, _length) in zip(files, boxes, strict=False):
        shift = draw(st.sampled_from((0, 0, 0, 0, 1, -1, 2**48)))
        places[metadata.MetadataIndex("w", torch.Size(at))] = _StorageInfo("__0_0.distcp", begin + shift, len(file))
        begin += len(file)
    path = draw(st.sampled_from((("w",), ("a", "w"), ("a", 0, "w"), (), ("optim", "w"), ("w", 2.0**40), ("a",) * 200)))
    table = metadata.Metadata({"w": stated}, {"w": path} if draw(st.booleans()) else None, places)
    return {".metadata": pickle.dumps(table), "__0_0.distcp": b"".join(files)}
