"""The bytes of tensors, read once: what is put into memory is what the digest and the checksums are taken of."""

from __future__ import annotations

import hashlib
import zlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor

from bnsharp_cli.io.containers.description import Checksum, StoredBytes
from bnsharp_cli.io.containers.unsound_content import UnsoundContentError, damaged
from bnsharp_cli.io.files.printable_text import one_line
from bnsharp_cli.io.files.regular_files import RegularFile

_PIECE = 8 * 2**20
_MOST_WAITING = 4
"""Pieces that are read ahead of the digest."""

_WORTH_A_THREAD = 2**18
"""Bytes of a piece whose digest takes longer than handing them to a thread."""


class FileBytes(NamedTuple):
    """What was read of a file.

    Attributes:
        sha256: of all its bytes, in hexadecimal digits.
        tensors: of the bytes that were asked for, by their first byte and their number.
    """

    sha256: str
    tensors: Mapping[tuple[int, int], Tensor]


def read_bytes(file: RegularFile, wanted: Sequence[StoredBytes], checksums: Sequence[Checksum]) -> FileBytes:
    """Read a file from end to end, and keep the bytes that tensors are made of.

    Args:
        file: the one that the description is of.
        wanted: which bytes are kept; none overlap unless they are the same.
        checksums: of bytes that do not overlap.

    Raises:
        UnsoundContentError: a checksum is wrong, or the file became shorter.
    """
    kept = {(part.begin, part.length): torch.empty(part.length, dtype=torch.uint8) for part in wanted}
    sums = _Checksums(checksums)
    with ThreadPoolExecutor(1) as pool:
        digest = _Digest(pool)
        for begin, piece in _pieces(file, kept):
            digest.update(piece)
            sums.update(begin, piece)
        sha256 = digest.hexdigest()
    sums.finish()
    return FileBytes(sha256, kept)


class _Digest:
    """A SHA-256 that is taken beside the reading, where that pays and a thread can be started."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._sha256, self._waiting = hashlib.sha256(), deque[Future[None]]()
        self._pool: ThreadPoolExecutor | None = pool

    def update(self, piece: memoryview) -> None:
        """Take the next bytes into account."""
        if self._pool is not None and len(piece) >= _WORTH_A_THREAD:
            try:
                self._waiting.append(self._pool.submit(self._sha256.update, piece))
                self._wait(_MOST_WAITING)
                return
            except RuntimeError:  # no thread can be started
                self._pool = None
        self._wait(0)
        self._sha256.update(piece)

    def hexdigest(self) -> str:
        """The digest in hexadecimal digits."""
        self._wait(0)
        return self._sha256.hexdigest()

    def _wait(self, most: int) -> None:
        while len(self._waiting) > most:
            self._waiting.popleft().result()


class _Checksums:
    """The checksums of a file, compared while its pieces pass by in their order."""

    def __init__(self, checksums: Sequence[Checksum]) -> None:
        self._waiting = deque(sorted(checksums, key=lambda checksum: checksum.begin))
        self._crc32 = 0

    def update(self, begin: int, piece: memoryview) -> None:
        """Take the bytes from ``begin`` on into account."""
        end = begin + len(piece)
        while self._waiting and self._waiting[0].begin < end:
            checksum = self._waiting[0]
            stop = checksum.begin + checksum.length
            self._crc32 = zlib.crc32(piece[max(checksum.begin - begin, 0) : max(stop - begin, 0)], self._crc32)
            if stop > end:
                return
            self._compare(checksum)

    def finish(self) -> None:
        """Compare what is left, which is about no bytes at the end of the file."""
        while self._waiting:
            self._compare(self._waiting[0])

    def _compare(self, checksum: Checksum) -> None:
        if self._crc32 != checksum.crc32:
            raise damaged(f"the checksum of {one_line(checksum.name)} is wrong")
        self._waiting.popleft()
        self._crc32 = 0


def _pieces(file: RegularFile, kept: Mapping[tuple[int, int], Tensor]) -> Iterator[tuple[int, memoryview]]:
    """The file in pieces, with the position of each; those that are kept lie in their tensors."""
    position = 0
    for (begin, length), tensor in sorted(kept.items(), key=lambda item: item[0]):
        if begin < position:
            raise UnsoundContentError("describes tensors whose bytes overlap")
        yield from _between(file, position, begin)
        whole = tensor.numpy().data
        for start in range(0, length, _PIECE):
            yield _filled(file, begin + start, whole[start : start + _PIECE])
        position = begin + length
    yield from _between(file, position, file.size)


def _between(file: RegularFile, begin: int, end: int) -> Iterator[tuple[int, memoryview]]:
    for start in range(begin, end, _PIECE):
        yield _filled(file, start, memoryview(bytearray(min(_PIECE, end - start))))


def _filled(file: RegularFile, begin: int, buffer: memoryview) -> tuple[int, memoryview]:
    """A buffer, filled with the bytes from ``begin`` on."""
    done = 0
    while done < len(buffer):
        count = file.read_into(buffer[done:], begin + done)
        if count == 0:
            raise damaged("it became shorter while it was read")
        done += count
    return begin, buffer
