"""Zip archives with every field in one's own hand: the fields of the local header, the directory and both ends."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

LOCAL = {
    "version": (4, "<H"),
    "flags": (6, "<H"),
    "method": (8, "<H"),
    "time": (10, "<H"),
    "date": (12, "<H"),
    "crc32": (14, "<I"),
    "packed": (18, "<I"),
    "size": (22, "<I"),
    "name_length": (26, "<H"),
    "extra_length": (28, "<H"),
}
"""Position and code of the fields of a local header."""

ENTRY = {
    "made_by": (4, "<H"),
    "version": (6, "<H"),
    "flags": (8, "<H"),
    "method": (10, "<H"),
    "time": (12, "<H"),
    "date": (14, "<H"),
    "crc32": (16, "<I"),
    "packed": (20, "<I"),
    "size": (24, "<I"),
    "name_length": (28, "<H"),
    "extra_length": (30, "<H"),
    "comment_length": (32, "<H"),
    "disk": (34, "<H"),
    "inside": (36, "<H"),
    "attributes": (38, "<I"),
    "begin": (42, "<I"),
}
"""The same of an entry of the directory."""

END = {
    "disk": (4, "<H"),
    "first_disk": (6, "<H"),
    "members_here": (8, "<H"),
    "members": (10, "<H"),
    "size": (12, "<I"),
    "begin": (16, "<I"),
    "comment_length": (20, "<H"),
}
"""The same of the end."""

WIDE_END = {
    "length": (4, "<Q"),
    "made_by": (12, "<H"),
    "version": (14, "<H"),
    "disk": (16, "<I"),
    "first_disk": (20, "<I"),
    "members_here": (24, "<Q"),
    "members": (32, "<Q"),
    "size": (40, "<Q"),
    "begin": (48, "<Q"),
}
"""The same of the wide end."""

LOCATOR = {"disk": (4, "<I"), "position": (8, "<Q"), "disks": (16, "<I")}
"""The same of what says where the wide end is."""


@dataclass(frozen=True)
class Entry:
    """A member, and what is said of it against the truth.

    Attributes:
        name: with its folder.
        data: its bytes.
        local: fields of the local header that say something else.
        entry: fields of the directory that say something else.
        local_extra: extra fields of the local header.
        entry_extra: extra fields of the directory.
        twin: the index of a member whose local header the directory names instead of this one's.
        behind: bytes after its own.
    """

    name: bytes
    data: bytes
    local: Mapping[str, int] = field(default_factory=dict)
    entry: Mapping[str, int] = field(default_factory=dict)
    local_extra: bytes = b""
    entry_extra: bytes = b""
    twin: int | None = None
    behind: bytes = b""


def packed(record: bytearray, fields: Mapping[str, tuple[int, str]], said: Mapping[str, int]) -> bytes:
    """A record with fields that say something else."""
    for name, value in said.items():
        position, code = fields[name]
        struct.pack_into(code, record, position, value % 2 ** (8 * struct.calcsize(code)))
    return bytes(record)


def archive(
    entries: Sequence[Entry],
    end: Mapping[str, int] = {},  # never changed
    wide: Mapping[str, int] | None = None,
    locator: Mapping[str, int] = {},  # nor this
    before: bytes = b"",
) -> bytes:
    """An archive of members in their order after other bytes; with ``wide`` it has the ends of large archives too."""
    content, begins = before, []
    for member in entries:
        begins.append(len(content))
        crc32, length = zlib.crc32(member.data), len(member.data)
        header = struct.pack(
            "<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 0x21, crc32, length, length, len(member.name), len(member.local_extra)
        )
        content += packed(bytearray(header), LOCAL, member.local)
        content += member.name + member.local_extra + member.data + member.behind
    directory = b"".join(
        _entry(member, begins[index if member.twin is None else member.twin]) for index, member in enumerate(entries)
    )
    size, begin = len(directory), len(content)
    content += directory
    if wide is not None:
        numbers = len(entries), len(entries), size, begin
        said = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, *numbers)
        where = struct.pack("<4sIQI", b"PK\6\7", 0, len(content), 1)
        content += packed(bytearray(said), WIDE_END, wide) + packed(bytearray(where), LOCATOR, locator)
    last = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, len(entries), len(entries), size, begin, 0)
    return content + packed(bytearray(last), END, end)


def _entry(member: Entry, begin: int) -> bytes:
    crc32, length = zlib.crc32(member.data), len(member.data)
    lengths = len(member.name), len(member.entry_extra), 0, 0, 0
    record = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 0, 0, 0x21, crc32, length, length, *lengths, 0, begin)
    return packed(bytearray(record), ENTRY, member.entry) + member.name + member.entry_extra
