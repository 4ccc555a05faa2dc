"""A zip file as ``torch.save`` writes it and in no other way, so that every reader sees the same members in it."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.containers.other_formats import other_zip
from bnsharp_cli.io.containers.pickles import LARGEST_PICKLE
from bnsharp_cli.io.containers.remedies import COPY_AGAIN, SAVE_WEIGHTS
from bnsharp_cli.io.files.printable_text import one_line, shown_path
from bnsharp_cli.io.files.regular_files import RegularFile

_LOCAL = struct.Struct("<4s5H3I2H")
_END = struct.Struct("<4s4H2IH")
_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQ2H2I4Q")
_ENCRYPTED, _SIZES_BEHIND, _UTF8 = 0x1, 0x8, 0x800
_MOST_MEMBERS = 2**16
_LARGEST_DIRECTORY = 8 * 2**20
_LARGEST_RECORD = 2**20
_WIDE = b"\1\0"
_ALL_BITS = (0xFFFF, 0xFFFFFFFF)


@dataclass(frozen=True)
class ZipRecords:
    """The records of an archive by their names without its own, as (offset, size) in the file."""

    records: Mapping[str, tuple[int, int]]

    def storage_size(self, key: str) -> int | None:
        """The bytes of a storage, ``None`` where there is none of that name."""
        return self.records[f"data/{key}"][1] if f"data/{key}" in self.records else None


def check_zip(file: RegularFile) -> ZipRecords:
    """Hold a zip file against what ``torch.save`` writes, checksums included.

    Raises:
        CheckpointRefusedError: no PyTorch weights, damaged, or written by something else.
    """
    directory, count = _directory(file)
    members = _members(file, count)
    known = other_zip([member.orig_filename for member in members])
    if known is not None:
        raise CheckpointRefusedError(f"{shown_path(file.path)} is {known.kind}.", known.remedy)
    problem = _odd_names(members) or _odd_members(members) or _odd_entries(members)
    if problem:
        raise CheckpointRefusedError(f"{shown_path(file.path)} {problem}.", SAVE_WEIGHTS)
    members.sort(key=lambda member: member.header_offset)
    ends = [*(member.header_offset for member in members[1:]), directory]
    return ZipRecords(
        {
            member.orig_filename.partition("/")[2]: (_checked_start(file, member, end), member.file_size)
            for member, end in zip(members, ends, strict=True)
        }
    )


def _directory(file: RegularFile) -> tuple[int, int]:
    """Where the central directory begins, and how many members it has, if the file ends right after it as it must."""
    tail = file.read(max(0, file.size - _END.size), _END.size)
    if len(tail) < _END.size or tail[:4] != b"PK\x05\x06" or tail[-2:] != b"\0\0":
        raise _damaged(file, "it does not end as a zip file does")
    _, _, _, _, count, size, start, _ = _END.unpack(tail)
    end = file.size - _END.size
    locator = file.read(max(0, end - _LOCATOR.size), _LOCATOR.size)
    if locator[:4] == b"PK\x06\x07" and end >= _LOCATOR.size + _END64.size:
        end -= _LOCATOR.size + _END64.size
        record = _END64.unpack(file.read(end, _END64.size))
        wide = (record[7], record[8], record[9])
        agree = all(short in {value, *_ALL_BITS} for short, value in zip((count, size, start), wide, strict=True))
        if record[0] != b"PK\x06\x06" or _LOCATOR.unpack(locator)[2] != end or record[6] != wide[0] or not agree:
            raise _damaged(file, "its two ends contradict each other")
        count, size, start = wide
    if start + size != end:
        raise _damaged(file, "its directory is not where it should be")
    if count > _MOST_MEMBERS or size > _LARGEST_DIRECTORY:
        raise CheckpointRefusedError(f"{shown_path(file.path)} has more than {_MOST_MEMBERS} members.", SAVE_WEIGHTS)
    return int(start), int(count)


def _members(file: RegularFile, count: int) -> list[zipfile.ZipInfo]:
    """What the directory lists; some readers go by its length, others by the ``count`` at the end."""
    try:
        with zipfile.ZipFile(file.window()) as archive:
            members = archive.infolist()
    except (
        zipfile.BadZipFile,
        struct.error,
        EOFError,
        OSError,
        NotImplementedError,
        RuntimeError,
        ValueError,
    ) as error:
        raise _damaged(file, one_line(error)) from error
    if len(members) != count:
        raise _damaged(file, f"its end counts {count} members, its directory has {len(members)}")
    return members


def _odd_names(members: list[zipfile.ZipInfo]) -> str:
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


def _odd_members(members: list[zipfile.ZipInfo]) -> str:
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


def _odd_entries(members: list[zipfile.ZipInfo]) -> str:
    """What the directory says of a member beside its bytes: torch leaves one that is called a folder unread."""
    for member in members:
        shown = one_line(member.orig_filename)
        if member.external_attr:
            return f"gives '{shown}' the attributes {member.external_attr:#x}, where torch.save writes none"
        wide = member.extra[:2] == _WIDE and len(member.extra) == 4 + int.from_bytes(member.extra[2:4], "little")
        if member.extra and not wide:
            return f"describes '{shown}' by an extra field, such as a second name, which torch.save never writes"
    return ""


def _checked_start(file: RegularFile, member: zipfile.ZipInfo, end: int) -> int:
    """Where the bytes of a member begin; its local header and its checksum agree with the directory."""
    shown = one_line(member.orig_filename)
    header = file.read(member.header_offset, _LOCAL.size)
    if len(header) < _LOCAL.size or header[:4] != b"PK\x03\x04":
        raise _damaged(file, f"{shown} is not where its directory says")
    _, _, flags, method, _, _, checksum, packed, size, name_length, extra_length = _LOCAL.unpack(header)
    name = file.read(member.header_offset + _LOCAL.size, name_length)
    start: int = member.header_offset + _LOCAL.size + name_length + extra_length
    behind = flags & _SIZES_BEHIND
    sizes = {member.file_size, 0xFFFFFFFF, *([0] if behind else [])}
    if (
        name != member.orig_filename.encode("utf-8" if member.flag_bits & _UTF8 else "cp437")
        or (flags ^ member.flag_bits) & (_ENCRYPTED | _SIZES_BEHIND)
        or method != member.compress_type
        or not {packed, size} <= sizes
        or checksum not in {member.CRC, *([0] if behind else [])}
    ):
        raise _damaged(file, f"the header of {shown} contradicts its directory")
    if start + member.file_size > end:
        raise _damaged(file, f"{shown} declares more bytes than there are")
    found = 0
    for chunk in file.chunks(start, member.file_size):
        found = zlib.crc32(chunk, found)
    if found != member.CRC:
        raise _damaged(file, f"the checksum of {shown} is wrong")
    return start


def data_pickle(file: RegularFile, records: ZipRecords) -> io.BytesIO:
    """The bytes of ``data.pkl``."""
    return io.BytesIO(file.read(*records.records["data.pkl"]))


def _damaged(file: RegularFile, what: str) -> CheckpointRefusedError:
    return CheckpointRefusedError(f"{shown_path(file.path)} is a damaged or truncated zip file: {what}.", COPY_AGAIN)
