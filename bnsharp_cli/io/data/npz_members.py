"""The members of a NumPy archive: where each begins, and its bytes, unpacked in pieces and never beyond its size."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

from bnsharp_cli.io.containers.unsound_content import UnsoundContentError
from bnsharp_cli.io.containers.zip_directory import (
    ENCRYPTED,
    BrokenZipError,
    Directory,
    Member,
    local_header,
    read_directory,
)
from bnsharp_cli.io.data.npy_headers import (
    LONGEST_START,
    ArrayHeader,
    UnsoundArchiveError,
    header_bounds,
    header_of,
)
from bnsharp_cli.io.files.printable_text import escaped
from bnsharp_cli.io.files.regular_files import CHUNK, RegularFile

STORED, DEFLATED = 0, 8
_SECOND_NAME = 0x7075
"""The extra field that gives a member another name, which some readers take."""

_BOMB = 64 * 2**20
_RATIO = 20
"""Arrays of more than ``_BOMB`` bytes that shrink by more than this are no data."""


class ArrayMember(NamedTuple):
    """An array in an archive.

    Attributes:
        name: without ``.npy``.
        member: as the directory describes it.
        begin: where its bytes begin in the file, packed or not.
        skipped: bytes of the member before its numbers.
        header: what it says of itself.
    """

    name: str
    member: Member
    begin: int
    skipped: int
    header: ArrayHeader

    @property
    def packed(self) -> bool:
        """Whether it is compressed."""
        return self.member.method != STORED


def array_members(file: RegularFile, names: tuple[str, ...]) -> list[ArrayMember]:
    """The arrays of these names, of which no more than the headers were read.

    Raises:
        UnsoundArchiveError: the file is no zip archive, has no such array, or says two things of one.
    """
    directory = _directory(file)
    return [_array(file, _named(directory.members, name), name, directory.begin) for name in names]


def array_names(file: RegularFile) -> set[str]:
    """The names of all arrays.

    Raises:
        UnsoundArchiveError: the file is no zip archive.
    """
    return {member.name.removesuffix(".npy") for member in _directory(file).members}


def _directory(file: RegularFile) -> Directory:
    try:
        return read_directory(file)
    except BrokenZipError as error:
        raise UnsoundArchiveError(f"it is no zip archive of arrays: {error}") from error
    except UnsoundContentError as error:
        raise UnsoundArchiveError(f"it {error.finding}") from error


def numbers_of(file: RegularFile, array: ArrayMember) -> Iterator[bytes]:
    """The bytes of an array without its header; at their end the checksum was right.

    Raises:
        UnsoundArchiveError: they are not those that were written, or not as many.
    """
    skipped, checksum = array.skipped, 0
    for piece in _unpacked(file, array.member, array.begin, array.name):
        checksum = zlib.crc32(piece, checksum)
        if skipped < len(piece):
            yield piece[skipped:]
        skipped = max(0, skipped - len(piece))
    if checksum != array.member.crc32:
        raise UnsoundArchiveError(f"the checksum of {array.name} is wrong (Bad CRC-32)")


def _named(members: list[Member], name: str) -> Member:
    """The one member that every reader takes for the array: numpy also reads it under its bare name, or up to a NUL."""
    if any("\0" in member.name or _has_second_name(member.extra) for member in members):
        raise UnsoundArchiveError("it has a member of two names")
    found = [member for member in members if member.name in {name, f"{name}.npy"}]
    if len(found) > 1:
        raise UnsoundArchiveError(f"there are {len(found)} arrays {name}")
    if found and found[0].name != name:
        return found[0]
    there = ", ".join(member.name.removesuffix(".npy") for member in members[:100]) or "nothing"
    raise UnsoundArchiveError(f"there is no {name}, only {escaped(there)}")


def _has_second_name(extra: bytes) -> bool:
    while len(extra) >= 4:
        kind, length = int.from_bytes(extra[:2], "little"), int.from_bytes(extra[2:4], "little")
        if kind == _SECOND_NAME:
            return True
        extra = extra[4 + length :]
    return False


def _array(file: RegularFile, member: Member, name: str, end: int) -> ArrayMember:
    problem = _problem(member, file.size)
    if problem:
        raise UnsoundArchiveError(f"{name} {problem}")
    begin = _begin(file, member, name, end)
    pieces = _unpacked(file, member, begin, name)
    first = next(pieces, b"")
    begins, ends = header_bounds(first[:LONGEST_START], name)
    if ends > len(first):
        raise UnsoundArchiveError(f"{name} ends within its header")
    return ArrayMember(name, member, begin, ends, header_of(first[begins:ends], name))


def _problem(member: Member, most: int) -> str:
    """Why a member cannot be an array, as a predicate; empty if it can."""
    if member.flags & ENCRYPTED:
        return "is encrypted"
    if member.method not in {STORED, DEFLATED}:
        return "is packed in a way that numpy never uses"
    if member.packed > most:
        return f"declares {member.packed} bytes in a file of {most}"
    if member.method == STORED and member.packed != member.size:
        return "declares two sizes"
    ratio = member.size / max(1, member.packed)
    return f"unpacks to {ratio:.0f} times its size" if member.size > _BOMB and ratio > _RATIO else ""


def _begin(file: RegularFile, member: Member, name: str, end: int) -> int:
    """The first byte of a member; the header before it must say what the directory says."""
    try:
        begin = local_header(file, member).end
    except BrokenZipError as error:
        raise UnsoundArchiveError(f"the header before {name} is not what the directory says") from error
    if begin + member.packed > end:
        raise UnsoundArchiveError(f"{name} declares {member.packed} bytes and the archive ends early")
    return begin


def _unpacked(file: RegularFile, member: Member, begin: int, name: str) -> Iterator[bytes]:
    """The bytes of a member in pieces of at most ``CHUNK``, exactly as many as the directory says."""
    if member.method == STORED:
        yield from file.chunks(begin, member.size)
        return
    unpacker, left = zlib.decompressobj(-zlib.MAX_WBITS), member.size
    try:
        for packed in file.chunks(begin, member.packed):
            full = False
            while (packed or full) and not unpacker.eof:  # where a piece is full, more may wait inside
                piece = unpacker.decompress(packed, CHUNK)
                left, full = left - len(piece), len(piece) == CHUNK
                if left < 0:
                    raise UnsoundArchiveError(f"{name} unpacks to more than the {member.size} bytes it declares")
                packed = unpacker.unconsumed_tail
                yield piece
    except zlib.error as error:
        raise UnsoundArchiveError(f"{name} cannot be unpacked: {error}") from error
    if left or not unpacker.eof:
        raise UnsoundArchiveError(f"{name} ends early")
