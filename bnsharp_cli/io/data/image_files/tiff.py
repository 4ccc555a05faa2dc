"""TIFF: its first directory, of which a new one is made that has the entries that pixels need, and no next one."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import NamedTuple

from bnsharp_cli.io.data.image_files.outline import (
    LARGEST_SAMPLE,
    MOST_PARTS,
    ImageOutline,
    UnsoundImageError,
    damaged_image,
)

TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
WIDTH, HEIGHT, BITS, COMPRESSION, SAMPLES = 256, 257, 258, 259, 277
_STRIPS, _STRIP_LINES, _STRIP_BYTES = 273, 278, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 322, 323, 324, 325
_TABLES = 347
_LISTS = {_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES}
_KEPT = frozenset(
    {
        *{WIDTH, HEIGHT, BITS, COMPRESSION, SAMPLES, _TABLES, _STRIP_LINES, _TILE_WIDTH, _TILE_HEIGHT, *_LISTS},
        *{262, 266, 274, 284, 292, 293, 317, 320, 338, 339},  # what the numbers are, and in which order they come
        *{529, 530, 531, 532},  # how colours are made of brightness and two differences
    }
)
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value, by its type."""

_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_UNPACKED = 1
_PACKINGS = {_UNPACKED, 2, 3, 4, 5, 7, 8, 32773, 32946}
"""None, those of faxes, LZW, JPEG, deflate, runs, and the old number of deflate: those that need little memory."""

_MOST_ENTRIES = 1024
_MOST_VALUES = 2**12
_LARGEST_TILE = 2**24
_MOST_SAMPLES = 6


class _Entry(NamedTuple):
    """An entry: its bytes as they stand, its type, how many values it has, and the bytes of these."""

    raw: bytes
    kind: int
    number: int
    values: bytes


class _Layout(NamedTuple):
    """How numbers are written: their order, and those of the directory."""

    order: str
    wide: bool

    def number(self, content: bytes, position: int, code: str) -> int:
        """The number at a position.

        Raises:
            UnsoundImageError: the file ends before it.
        """
        try:
            return int(struct.unpack_from(self.order + code, content, position)[0])
        except struct.error:
            raise damaged_image("its directory is not in the file") from None

    @property
    def offset(self) -> str:
        """How an offset is written."""
        return "Q" if self.wide else "I"


def outline_of_tiff(content: bytes) -> ImageOutline:
    """The outline of the first image of a TIFF file.

    Raises:
        UnsoundImageError: values or pixels that are not in the file, a packing that needs much memory, or more strips
            or tiles than any image has.
    """
    layout = _Layout("<" if content[:1] == b"I" else ">", content[2:4] in {b"+\0", b"\0+"})
    entries = _directory(content, layout)
    width, height = (_one(entries, tag, layout, 0) for tag in (WIDTH, HEIGHT))
    if not (width and height):
        raise damaged_image("it has no size")
    packing = _one(entries, COMPRESSION, layout, 1)
    if packing not in _PACKINGS:
        raise UnsoundImageError("is packed in a way that is not read: save it with deflate, LZW or JPEG")
    bits = entries[BITS].values if BITS in entries else b"\1\0"
    samples = _one(entries, SAMPLES, layout, 1)
    depth = max(struct.unpack_from(f"{layout.order}{len(bits) // 2}H", bits), default=1)
    if not 0 < samples <= _MOST_SAMPLES or depth > 64:
        raise UnsoundImageError(f"has {samples} channels of {depth} bits")
    part = _part(entries, layout, (width, height), samples)
    rewritten = _rewritten(content, entries, layout)
    held = part * max(LARGEST_SAMPLE, samples * depth // 8) + len(rewritten) if packing != _UNPACKED else 0
    return ImageOutline("TIFF", width, height, LARGEST_SAMPLE, rewritten, max(len(content), held))


def _directory(content: bytes, layout: _Layout) -> dict[int, _Entry]:
    """The entries that are kept, by their tags."""
    position = layout.number(content, 8 if layout.wide else 4, layout.offset)
    count = layout.number(content, position, "Q" if layout.wide else "H")
    if count > _MOST_ENTRIES:
        raise UnsoundImageError(f"has more than {_MOST_ENTRIES} entries")
    position += 8 if layout.wide else 2
    step, inside = (20, 8) if layout.wide else (12, 4)
    entries: dict[int, _Entry] = {}
    for start in range(position, position + step * count, step):
        tag, kind = (layout.number(content, start + shift, "H") for shift in (0, 2))
        if tag not in _KEPT:
            continue
        values = layout.number(content, start + 4, layout.offset)
        size = values * _SIZES.get(kind, 1)
        if values > (MOST_PARTS if tag in _LISTS else _MOST_VALUES) or tag in entries:
            raise UnsoundImageError(f"has more values for its entry {tag} than an image needs")
        field = start + step - inside
        place = field if size <= inside else layout.number(content, field, layout.offset)
        if place + size > len(content):
            raise damaged_image("a value is not in the file")
        raw = content[start : start + step]
        entries[tag] = _Entry(raw, kind, values, content[place : place + size])
    return entries


def _one(entries: Mapping[int, _Entry], tag: int, layout: _Layout, default: int) -> int:
    """The one number of an entry."""
    entry = entries.get(tag)
    if entry is None:
        return default
    if entry.kind not in _NUMBERS or not entry.number:
        raise damaged_image(f"its entry {tag} is no number")
    return layout.number(entry.values, 0, _NUMBERS[entry.kind])


def _part(entries: Mapping[int, _Entry], layout: _Layout, size: tuple[int, int], samples: int) -> int:
    """The pixels of a strip or tile, of which libtiff unpacks one at a time.

    Raises:
        UnsoundImageError: they are larger or more than the image needs.
    """
    width, height = size
    across, down = width, min(height, _one(entries, _STRIP_LINES, layout, height))
    if _TILE_WIDTH in entries or _TILE_HEIGHT in entries:
        across, down = (_one(entries, tag, layout, 0) for tag in (_TILE_WIDTH, _TILE_HEIGHT))
    if across * down > max(width * height, _LARGEST_TILE):
        raise UnsoundImageError(f"has tiles of {across} × {down} pixels")
    if not (across and down):
        raise damaged_image("its tiles have no size")
    wanted = math.ceil(width / across) * math.ceil(height / down) * samples
    if wanted > MOST_PARTS * samples or any(entries[tag].number > wanted for tag in _LISTS & {*entries}):
        raise UnsoundImageError("has more strips or tiles than an image needs")
    return across * down


def _rewritten(content: bytes, entries: Mapping[int, _Entry], layout: _Layout) -> bytes:
    """The file with a directory of its own behind it, which is the only one that its head knows."""
    begin, padding = len(content) + len(content) % 2, b"\0" * (len(content) % 2)
    if not layout.wide and begin >= 2**32:
        raise UnsoundImageError("is too large")
    count = struct.pack(layout.order + ("Q" if layout.wide else "H"), len(entries))
    directory = count + b"".join(entry.raw for _, entry in sorted(entries.items())) + bytes(8 if layout.wide else 4)
    head = content[: 8 if layout.wide else 4] + struct.pack(layout.order + layout.offset, begin)
    return b"".join([head, memoryview(content)[len(head) :], padding, directory])
