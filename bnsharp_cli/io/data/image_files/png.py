"""PNG: its chunks, of which only the header, the palette, the transparent colour and the pixels are passed on."""

from __future__ import annotations

import struct

from bnsharp_cli.io.data.image_files.outline import (
    LARGEST_SAMPLE,
    MOST_PARTS,
    ImageOutline,
    UnsoundImageError,
    damaged_image,
)

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">2I5B")
_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")
_LARGEST_BEFORE = 2**12
"""Bytes of any chunk that is passed on other than pixels: a palette has 768."""

_END = b"\0\0\0\0IEND\xaeB`\x82"


def outline_of_png(content: bytes) -> ImageOutline:
    """The outline of a PNG; of an animated one, that of the image that readers without animations show.

    Raises:
        UnsoundImageError: it is no sequence of chunks, or of more than any image has.
    """
    if content[8:16] != b"\0\0\0\rIHDR" or len(content) < 33:
        raise damaged_image("it does not begin with its header")
    width, height, *_ = _HEADER.unpack_from(content, 16)
    if not (width and height):
        raise damaged_image("it has no pixels")
    return ImageOutline("PNG", width, height, LARGEST_SAMPLE, _pixels(content))


def _pixels(content: bytes) -> bytes:
    """The chunks that pixels are made of, in a PNG of their own."""
    view, position = memoryview(content), len(PNG_SIGNATURE)
    parts, begin = [view[:0]], 0  # the parts, and where the next one begins
    for _ in range(MOST_PARTS):
        if len(content) - position < 8:
            raise UnsoundImageError("is damaged (image file is truncated)")
        length, kind = int.from_bytes(content[position : position + 4]), content[position + 4 : position + 8]
        end = position + 12 + length
        if kind == b"IEND":
            return b"".join([*parts, view[begin:position], _END]) if begin else content
        if kind not in _KEPT:
            parts.append(view[begin:position])
            begin = end
        elif kind != b"IDAT" and length > _LARGEST_BEFORE:
            raise damaged_image("a chunk is larger than it can be")
        if end > len(content):
            raise UnsoundImageError("is damaged (image file is truncated)")
        position = end
    raise UnsoundImageError(f"has more than {MOST_PARTS} chunks")
