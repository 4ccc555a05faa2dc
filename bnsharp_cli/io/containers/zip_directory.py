"""The central directory of a zip file, read to the byte: what the end, the wide end and the entries say.

Every reader of zip files believes something else where these contradict each other. Here they must agree.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from bnsharp_cli.io.containers.unsound_content import UnsoundContentError
from bnsharp_cli.io.files.printable_text import one_line
from bnsharp_cli.io.files.regular_files import RegularFile

_END = struct.Struct("<4s4H2IH")
"""The end of the file: signature, two disks, members on this disk, :class:`_Extent`, length of a comment."""

_LOCATOR = struct.Struct("<4sIQI")
"""What stands before it in a large archive: signature, a disk, where the wide end is, how many disks."""

_WIDE_END = struct.Struct("<4sQ2H2I4Q")
"""The wide end: signature, its length, two versions, two disks, members on this disk, :class:`_Extent`."""

_ENTRY = struct.Struct("<4s6H3I5H2I")
"""An entry of the directory: signature, two versions, flags, method, time, date, checksum, packed size, size, the
lengths of name, extra fields and comment, disk, internal attributes, external attributes, where the member begins."""

_LOCAL = struct.Struct("<4s5H3I2H")
"""The header before a member: signature, version, flags, method, time, date, checksum, packed size, size, the lengths
of its name and of its extra fields."""

ENCRYPTED, _SIZES_BEHIND = 0x1, 0x8
UTF8_FLAG = 0x800
MOST_MEMBERS = 2**16
_LARGEST_DIRECTORY = 8 * 2**20
_LONGEST_EXTRA, _WIDE_FIELD = 1024, 1
_UNKNOWN = 0xFFFFFFFF
_ALL_BITS = (0xFFFF, _UNKNOWN)
"""What a field holds whose value is too large for it and stands elsewhere."""


class Member(NamedTuple):
    """What the directory says of a member.

    Attributes:
        name: as text; ``raw_name`` as bytes, which the local header repeats.
        flags, method: of the zip format.
        crc32: of its bytes.
        packed, size: its bytes in the file, and after unpacking.
        begin: where its local header is.
        attributes: of a file system.
        extra: fields of its own, without the one for large sizes.
    """

    name: str
    raw_name: bytes
    flags: int
    method: int
    crc32: int
    packed: int
    size: int
    begin: int
    attributes: int
    extra: bytes


class Directory(NamedTuple):
    """The members in the order of the directory, where it begins, and its bytes."""

    members: list[Member]
    begin: int
    packed: bytes


class BrokenZipError(Exception):
    """A file whose end, directory and entries are not those of one zip archive."""


class LocalHeader(NamedTuple):
    """What stands before a member's bytes beside what the directory says as well.

    Attributes:
        extra: its own extra fields.
        end: where it ends in the file, and the member's bytes begin.
    """

    extra: bytes
    end: int


class _Extent(NamedTuple):
    members: int
    size: int
    begin: int


def read_directory(file: RegularFile) -> Directory:
    """The directory, which must reach to the end of the file.

    Raises:
        BrokenZipError: it does not, or contradicts itself.
        UnsoundContentError: it lists more members than any checkpoint has.
    """
    extent = _extent(file)
    packed = file.read(extent.begin, extent.size)
    members, position = [], 0
    while position < len(packed):
        member, position = _entry(packed, position)
        members.append(member)
    if len(members) != extent.members:
        raise BrokenZipError(f"its end counts {extent.members} members, its directory has {len(members)}")
    return Directory(members, extent.begin, packed)


def local_header(file: RegularFile, member: Member) -> LocalHeader:
    """The header before a member, which must say what the directory says; sizes and checksum may follow the bytes.

    Raises:
        BrokenZipError: it is not there, or says something else.
    """
    fixed = file.read(member.begin, _LOCAL.size)
    if len(fixed) < _LOCAL.size or fixed[:4] != b"PK\x03\x04":
        raise BrokenZipError(f"{one_line(member.name)} is not where its directory says")
    _, _, flags, method, _, _, checksum, packed, size, name_length, extra_length = _LOCAL.unpack(fixed)
    behind = file.read(member.begin + _LOCAL.size, name_length + extra_length)
    unknown = {0} if flags & _SIZES_BEHIND else set()
    agree = (
        behind[:name_length] == member.raw_name
        and not (flags ^ member.flags) & (ENCRYPTED | _SIZES_BEHIND)
        and method == member.method
        and packed in {member.packed, _UNKNOWN, *unknown}
        and size in {member.size, _UNKNOWN, *unknown}
        and checksum in {member.crc32, *unknown}
    )
    if not agree:
        raise BrokenZipError(f"the header of {one_line(member.name)} contradicts its directory")
    return LocalHeader(behind[name_length:], member.begin + _LOCAL.size + name_length + extra_length)


def _extent(file: RegularFile) -> _Extent:
    tail = file.read(max(0, file.size - _END.size), _END.size)
    if len(tail) < _END.size or tail[:4] != b"PK\x05\x06" or tail[-2:] != b"\0\0":
        raise BrokenZipError("it does not end as a zip file does")
    _, disk, first_disk, members_here, *numbers = _END.unpack(tail)[:7]
    extent = _Extent(*numbers)
    end = file.size - _END.size
    locator = file.read(max(0, end - _LOCATOR.size), _LOCATOR.size)
    if locator[:4] == b"PK\x06\x07" and end >= _LOCATOR.size + _WIDE_END.size:
        end -= _LOCATOR.size + _WIDE_END.size
        extent = _wide_extent(file, end, locator, extent)
    elif members_here != extent.members:
        raise BrokenZipError("its end counts two numbers of members")
    if disk or first_disk:
        raise BrokenZipError("its directory is spread over several disks")
    if extent.begin + extent.size != end:
        raise BrokenZipError("its directory is not where it should be")
    if extent.members > MOST_MEMBERS or extent.size > _LARGEST_DIRECTORY:
        raise UnsoundContentError(f"has more than {MOST_MEMBERS} members")
    return extent


def _wide_extent(file: RegularFile, position: int, locator: bytes, narrow: _Extent) -> _Extent:
    """What the wide end at ``position`` says of the directory; the narrow end says the same or nothing."""
    signature, *_, disk, first_disk, members_here, count, size, begin = _WIDE_END.unpack(
        file.read(position, _WIDE_END.size)
    )
    wide = _Extent(count, size, begin)
    agree = all(short in {value, *_ALL_BITS} for short, value in zip(narrow, wide, strict=True))
    _, its_disk, its_position, disks = _LOCATOR.unpack(locator)
    if disk or first_disk or its_disk or disks not in {0, 1}:
        raise BrokenZipError("its directory is spread over several disks")
    located = its_position == position
    if signature != b"PK\x06\x06" or not located or members_here != count or not agree:
        raise BrokenZipError("its two ends contradict each other")
    return wide


def _entry(directory: bytes, position: int) -> tuple[Member, int]:
    """The entry at a position, and the position of the next."""
    head = directory[position : position + _ENTRY.size]
    if len(head) < _ENTRY.size or head[:4] != b"PK\x01\x02":
        raise BrokenZipError("its directory is no list of members")
    fields = _ENTRY.unpack(head)
    _, _, _, flags, method, _, _, crc32, packed, size, *lengths, disk, _, attributes, begin = fields
    parts, position = [], position + _ENTRY.size
    for length in lengths:
        parts.append(directory[position : position + length])
        position += length
    raw_name, extra, comment = parts
    if position > len(directory) or disk or comment:
        raise BrokenZipError("an entry of its directory is damaged, has a comment or is on another disk")
    name = _name(raw_name, flags)
    (size, packed, begin), extra = _wide_numbers(extra, (size, packed, begin), name)
    return Member(name, raw_name, flags, method, crc32, packed, size, begin, attributes, extra), position


def _name(raw: bytes, flags: int) -> str:
    try:
        return raw.decode("utf-8" if flags & UTF8_FLAG else "cp437")
    except UnicodeDecodeError as error:
        raise BrokenZipError("the name of a member is no text") from error


def _wide_numbers(extra: bytes, numbers: tuple[int, int, int], name: str) -> tuple[list[int], bytes]:
    """Size, packed size and begin with those that are too large replaced from the extra field, and the other fields."""
    others, wide = b"", b""
    if len(extra) > _LONGEST_EXTRA:
        raise BrokenZipError(f"the extra fields of {name!r} have {len(extra)} bytes, more than {_LONGEST_EXTRA}")
    while extra:
        kind, length = struct.unpack("<2H", extra[:4]) if len(extra) >= 4 else (0, 0)
        field, extra = extra[: 4 + length], extra[4 + length :]
        if len(field) < 4 + length:
            raise BrokenZipError(f"an extra field of {name!r} is cut off")
        if kind == _WIDE_FIELD and not wide:
            wide = field[4:]
        else:
            others += field
    needed = sum(number == _UNKNOWN for number in numbers)
    if len(wide) != 8 * needed and not (needed == 0 and len(wide) <= 24):
        raise BrokenZipError(f"the large sizes of {name!r} are missing")
    stated = iter(struct.unpack(f"<{needed}Q", wide[: 8 * needed]))
    return [next(stated) if number == _UNKNOWN else number for number in numbers], others
