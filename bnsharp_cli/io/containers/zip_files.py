"""Zip files exactly as ``torch.save`` writes them, so that every reader sees the same members in them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.containers.other_formats import other_zip
from bnsharp_cli.io.containers.pickle_reader import LARGEST_PICKLE
from bnsharp_cli.io.containers.remedies import COPY_AGAIN
from bnsharp_cli.io.containers.unsound_content import UnsoundContentError
from bnsharp_cli.io.containers.zip_directory import ENCRYPTED, BrokenZipError, Member, local_header, read_directory
from bnsharp_cli.io.files.printable_text import one_line, shown_path
from bnsharp_cli.io.files.regular_files import RegularFile

_STORED = 0
_LARGEST_RECORD = 2**20
_PADDING = b"FB"
"""The extra field by which ``torch.save`` lets the bytes of a member begin at a multiple of 64."""


@dataclass(frozen=True)
class ZipMembers:
    """The places of a sound archive's members in its file.

    Attributes:
        places: (offset, size) in the file, by the members' names inside the archive's one folder.
        checksums: (offset, size, CRC-32, name) of the storages, as far as it is stated, and of the directory.
    """

    places: Mapping[str, tuple[int, int]]
    checksums: Sequence[tuple[int, int, int, str]]

    def storage(self, key: str) -> tuple[int, int] | None:
        """The first byte and the length in bytes of a key's storage; ``None`` if there is none."""
        return self.places.get(f"data/{key}")


def sound_members(file: RegularFile) -> ZipMembers:
    """The members of a zip file that is as ``torch.save`` writes it; the checksums of storages are left to the caller.

    After ``torch.serialization.set_crc32_options(False)`` torch states zero for every checksum, and is not checked.

    Raises:
        CheckpointRefusedError: no PyTorch weights, damaged, or written by something else.
        UnsoundContentError: as many members as no checkpoint has.
    """
    try:
        directory = read_directory(file)
        members = directory.members
        _require_weights(file, members)
        members.sort(key=lambda member: member.begin)
        ends = [*(member.begin for member in members[1:]), directory.begin]
        if members[0].begin != 0:  # other formats are known by the first bytes of a file
            raise BrokenZipError("its first member is not at its beginning")
        begins = [_begin(file, member, end) for member, end in zip(members, ends, strict=True)]
        stated = any(member.crc32 for member in members)
        if stated:
            _require_checksums(file, members, begins)
    except BrokenZipError as error:
        raise CheckpointRefusedError(
            f"{shown_path(file.path)} is a damaged or truncated zip file: {one_line(error)}.",
            COPY_AGAIN,
            expected="a zip file as torch.save writes it",
            found=one_line(error),
            subject=file.path,
        ) from error
    inside = [member.name.partition("/")[2] for member in members]
    return ZipMembers(
        {name: (begin, member.size) for name, begin, member in zip(inside, begins, members, strict=True)},
        [
            (directory.begin, len(directory.packed), zlib.crc32(directory.packed), "its directory"),
            *(
                (begin, member.size, member.crc32, one_line(member.name))
                for name, begin, member in zip(inside, begins, members, strict=True)
                if stated and _is_storage(name)
            ),
        ],
    )


def _require_weights(file: RegularFile, members: list[Member]) -> None:
    known = other_zip([member.name for member in members])
    if known is not None:
        raise CheckpointRefusedError(
            f"{shown_path(file.path)} is {known.kind}.", known.remedy, found=known.kind, subject=file.path
        )
    problem = _problem_of_names(members) or _problem_of_sizes(members) or _problem_of_entries(members)
    if problem:
        raise UnsoundContentError(problem)


def _problem_of_names(members: list[Member]) -> str:
    """What is wrong with the names of the members, as a predicate; empty if nothing is."""
    names = [member.name for member in members]
    folders = {name.partition("/")[0] for name in names}
    if len({name.casefold() for name in names}) != len(names):
        return "has two members of one name"
    if any(not name.isprintable() or "\\" in name or name.startswith("/") for name in names) or any(
        part in {"", ".", ".."} for name in names for part in name.split("/")
    ):
        return "has members whose names lead out of it"
    if not all(name.partition("/")[2].isascii() for name in names):  # other readers compare them in another encoding
        return "has members whose names torch.save never writes"
    if len(folders) != 1 or f"{folders.pop()}/data.pkl" not in names or not all("/" in name for name in names):
        return "has no data.pkl in the one folder that torch.save writes"
    return ""


def _problem_of_sizes(members: list[Member]) -> str:
    """What is wrong with how the members are stored, and how large they are."""
    for member in members:
        name = member.name.partition("/")[2]
        if member.flags & ENCRYPTED:
            return "has encrypted members"
        if member.method != _STORED:
            return "has compressed members, which torch.save never writes"
        if member.packed != member.size:
            return "declares more bytes than it has"
        if name == "data.pkl" and member.size > LARGEST_PICKLE:
            return f"has a pickle of more than {LARGEST_PICKLE // 2**20} MiB"
        if name != "data.pkl" and not _is_storage(name) and member.size > _LARGEST_RECORD:
            return f"has a large '{one_line(name)}', which torch.save never writes"
    return ""


def _problem_of_entries(members: list[Member]) -> str:
    """What is wrong with the rest of the directory: other readers do not read a member that is marked as a folder."""
    for member in members:
        shown = one_line(member.name)
        if member.attributes:
            return f"gives '{shown}' the attributes {member.attributes:#x}, where torch.save writes none"
        if member.extra:
            return f"describes '{shown}' by an extra field, such as a second name, which torch.save never writes"
    return ""


def _begin(file: RegularFile, member: Member, end: int) -> int:
    """The first byte of a member whose local header agrees with the directory."""
    shown = one_line(member.name)
    header = local_header(file, member)
    if not _is_padding(header.extra):
        raise UnsoundContentError(f"describes '{shown}' by an extra field, which torch.save never writes")
    if header.end + member.size > end:
        raise BrokenZipError(f"{shown} declares more bytes than there are")
    return header.end


def _require_checksums(file: RegularFile, members: Sequence[Member], begins: Sequence[int]) -> None:
    """Compare the checksums of everything but storages."""
    for member, begin in zip(members, begins, strict=True):
        is_read = not _is_storage(member.name.partition("/")[2])
        if is_read and zlib.crc32(file.read(begin, member.size)) != member.crc32:
            raise BrokenZipError(f"the checksum of {one_line(member.name)} is wrong")


def _is_padding(extra: bytes) -> bool:
    """Whether the extra fields before a member are only ``torch.save``'s padding, and large sizes."""
    while len(extra) >= 4:
        kind, length = extra[:2], int.from_bytes(extra[2:4], "little")
        if kind not in {_PADDING, b"\1\0"} or length > len(extra) - 4:
            return False
        extra = extra[4 + length :]
    return not extra


def _is_storage(name: str) -> bool:
    return name.startswith("data/")
