"""Zip files exactly as ``torch.save`` writes them, so that every reader sees the same members in them.

The reader in torch looks members up regardless of case, ignores checksums and trusts the local headers. Python's trusts
the directory. Where all of these agree, there is one reading only.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.containers.other_formats import other_zip
from bnsharp_cli.io.containers.pickle_reader import LARGEST_PICKLE
from bnsharp_cli.io.containers.remedies import COPY_AGAIN, SAVE_WEIGHTS
from bnsharp_cli.io.files.printable_text import one_line, shown_path
from bnsharp_cli.io.files.regular_files import RegularFile

_LOCAL = struct.Struct("<4s5H3I2H")
"""The header before a member's bytes, :class:`_LocalHeader`."""

_END = struct.Struct("<4s4H2IH")
"""The end of the file: signature, two disks, members on this disk, :class:`_Directory`, length of a comment."""

_LOCATOR = struct.Struct("<4sIQI")
"""What stands before it in a large archive: signature, a disk, where the wide end is, how many disks."""

_WIDE_END = struct.Struct("<4sQ2H2I4Q")
"""The wide end: signature, its length, two versions, two disks, members on this disk, :class:`_Directory`."""

_ENCRYPTED, _SIZES_BEHIND, _UTF8 = 0x1, 0x8, 0x800
_MOST_MEMBERS = 2**16
_LARGEST_DIRECTORY = 8 * 2**20
_LARGEST_RECORD = 2**20
_WIDE_FIELD = b"\1\0"
_ALL_BITS = (0xFFFF, 0xFFFFFFFF)
"""What a field holds whose value is too large for it and stands in the wide end."""

_UNREADABLE = (zipfile.BadZipFile, struct.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)
"""What zipfile raises over bytes that are no zip archive."""


class _Directory(NamedTuple):
    """How many members the central directory has, how many bytes it takes, and where it begins."""

    members: int
    size: int
    start: int


class _LocalHeader(NamedTuple):
    """What stands before a member's bytes and says once more what the directory says."""

    signature: bytes
    version: int
    flags: int
    method: int
    time: int
    date: int
    checksum: int
    packed: int
    size: int
    name_length: int
    extra_length: int


@dataclass(frozen=True)
class ZipMembers:
    """Where the members of a sound archive lie.

    Attributes:
        places: (offset, size) in the file, by the members' names inside the archive's one folder.
    """

    places: Mapping[str, tuple[int, int]]

    def storage_size(self, key: str) -> int | None:
        """How many bytes the storage of a key has; ``None`` if there is none."""
        return self.places[f"data/{key}"][1] if f"data/{key}" in self.places else None


def sound_members(file: RegularFile) -> ZipMembers:
    """The members of a zip file that is as ``torch.save`` writes it, checksums included.

    Raises:
        CheckpointRefusedError: no PyTorch weights, damaged, or written by something else.
    """
    directory = _directory(file)
    members = _members(file, directory.members)
    known = other_zip([member.orig_filename for member in members])
    if known is not None:
        raise CheckpointRefusedError(f"{shown_path(file.path)} is {known.kind}.", known.remedy, found=known.kind)
    problem = _problem_of_names(members) or _problem_of_sizes(members) or _problem_of_entries(members)
    if problem:
        raise CheckpointRefusedError(f"{shown_path(file.path)} {problem}.", SAVE_WEIGHTS, found=problem)
    members.sort(key=lambda member: member.header_offset)
    ends = [*(member.header_offset for member in members[1:]), directory.start]
    return ZipMembers(
        {
            member.orig_filename.partition("/")[2]: (_checked_start(file, member, end), member.file_size)
            for member, end in zip(members, ends, strict=True)
        }
    )


def _directory(file: RegularFile) -> _Directory:
    """The central directory, which must reach to the end of the file."""
    tail = file.read(max(0, file.size - _END.size), _END.size)
    if len(tail) < _END.size or tail[:4] != b"PK\x05\x06" or tail[-2:] != b"\0\0":
        raise _damaged(file, "it does not end as a zip file does")
    directory = _Directory(*_END.unpack(tail)[4:7])
    end = file.size - _END.size
    locator = file.read(max(0, end - _LOCATOR.size), _LOCATOR.size)
    if locator[:4] == b"PK\x06\x07" and end >= _LOCATOR.size + _WIDE_END.size:
        end -= _LOCATOR.size + _WIDE_END.size
        directory = _wide_directory(file, end, locator, directory)
    if directory.start + directory.size != end:
        raise _damaged(file, "its directory is not where it should be")
    if directory.members > _MOST_MEMBERS or directory.size > _LARGEST_DIRECTORY:
        raise CheckpointRefusedError(
            f"{shown_path(file.path)} has more than {_MOST_MEMBERS} members.",
            SAVE_WEIGHTS,
            expected=f"at most {_MOST_MEMBERS} members",
            found=f"{directory.members} members in {directory.size} bytes",
        )
    return directory


def _wide_directory(file: RegularFile, position: int, locator: bytes, narrow: _Directory) -> _Directory:
    """What the wide end at ``position`` says of the directory; the narrow end says the same or nothing."""
    signature, *_, members_here, count, size, start = _WIDE_END.unpack(file.read(position, _WIDE_END.size))
    wide = _Directory(count, size, start)
    agree = all(short in {value, *_ALL_BITS} for short, value in zip(narrow, wide, strict=True))
    located = _LOCATOR.unpack(locator)[2] == position
    if signature != b"PK\x06\x06" or not located or members_here != count or not agree:
        raise _damaged(file, "its two ends contradict each other")
    return wide


def _members(file: RegularFile, count: int) -> list[zipfile.ZipInfo]:
    """What the directory lists. Some readers go by its length, others by the ``count`` at the end: both must agree."""
    try:
        with zipfile.ZipFile(file.window()) as archive:
            members = archive.infolist()
    except _UNREADABLE as error:
        raise _damaged(file, one_line(error)) from error
    if len(members) != count:
        raise _damaged(file, f"its end counts {count} members, its directory has {len(members)}")
    return members


def _problem_of_names(members: list[zipfile.ZipInfo]) -> str:
    """What is wrong with the names of the members, as a predicate; empty if nothing is."""
    names = [member.orig_filename for member in members]
    folders = {name.partition("/")[0] for name in names}
    if len({name.casefold() for name in names}) != len(names):
        return "has two members of one name"
    if any(not name.isprintable() or "\\" in name or name.startswith("/") for name in names) or any(
        part in {"", ".", ".."} for name in names for part in name.split("/")
    ):
        return "has members whose names lead out of it"
    if len(folders) != 1 or f"{folders.pop()}/data.pkl" not in names:
        return "has no data.pkl in the one folder that torch.save writes"
    return ""


def _problem_of_sizes(members: list[zipfile.ZipInfo]) -> str:
    """What is wrong with how the members are stored, and how large they are."""
    for member in members:
        name = member.orig_filename.partition("/")[2]
        if member.flag_bits & _ENCRYPTED:
            return "has encrypted members"
        if member.compress_type != zipfile.ZIP_STORED:
            return "has compressed members, which torch.save never writes"
        if member.compress_size != member.file_size:
            return "declares more bytes than it has"
        if name == "data.pkl" and member.file_size > LARGEST_PICKLE:
            return f"has a pickle of more than {LARGEST_PICKLE // 2**20} MiB"
        if name != "data.pkl" and not name.startswith("data/") and member.file_size > _LARGEST_RECORD:
            return f"has a large '{one_line(name)}', which torch.save never writes"
    return ""


def _problem_of_entries(members: list[zipfile.ZipInfo]) -> str:
    """What is wrong with the rest of the directory: torch does not read a member that is marked as a folder."""
    for member in members:
        shown = one_line(member.orig_filename)
        if member.external_attr:
            return f"gives '{shown}' the attributes {member.external_attr:#x}, where torch.save writes none"
        wide = member.extra[:2] == _WIDE_FIELD and len(member.extra) == 4 + int.from_bytes(member.extra[2:4], "little")
        if member.extra and not wide:
            return f"describes '{shown}' by an extra field, such as a second name, which torch.save never writes"
    return ""


def _checked_start(file: RegularFile, member: zipfile.ZipInfo, end: int) -> int:
    """Where the bytes of a member begin, if its local header and its checksum agree with the directory."""
    shown = one_line(member.orig_filename)
    packed = file.read(member.header_offset, _LOCAL.size)
    if len(packed) < _LOCAL.size or packed[:4] != b"PK\x03\x04":
        raise _damaged(file, f"{shown} is not where its directory says")
    header = _LocalHeader(*_LOCAL.unpack(packed))
    name = file.read(member.header_offset + _LOCAL.size, header.name_length)
    if not _agree(header, name, member):
        raise _damaged(file, f"the header of {shown} contradicts its directory")
    start: int = member.header_offset + _LOCAL.size + header.name_length + header.extra_length
    if start + member.file_size > end:
        raise _damaged(file, f"{shown} declares more bytes than there are")
    checksum = 0
    for chunk in file.chunks(start, member.file_size):
        checksum = zlib.crc32(chunk, checksum)
    if checksum != member.CRC:
        raise _damaged(file, f"the checksum of {shown} is wrong")
    return start


def _agree(header: _LocalHeader, name: bytes, member: zipfile.ZipInfo) -> bool:
    """Whether a local header says what the directory says; sizes and checksum may follow the bytes instead."""
    unknown = {0} if header.flags & _SIZES_BEHIND else set()
    return (
        name == member.orig_filename.encode("utf-8" if member.flag_bits & _UTF8 else "cp437")
        and not (header.flags ^ member.flag_bits) & (_ENCRYPTED | _SIZES_BEHIND)
        and header.method == member.compress_type
        and {header.packed, header.size} <= {member.file_size, 0xFFFFFFFF, *unknown}
        and header.checksum in {member.CRC, *unknown}
    )


def data_pickle(file: RegularFile, members: ZipMembers) -> io.BytesIO:
    """The bytes of ``data.pkl``."""
    return io.BytesIO(file.read(*members.places["data.pkl"]))


def _damaged(file: RegularFile, what: str) -> CheckpointRefusedError:
    return CheckpointRefusedError(
        f"{shown_path(file.path)} is a damaged or truncated zip file: {what}.",
        COPY_AGAIN,
        expected="a zip file as torch.save writes it",
        found=what,
    )
