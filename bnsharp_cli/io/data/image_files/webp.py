"""WebP: its chunks, of which only the canvas and the pixels are passed on, and the size of the canvas."""

from __future__ import annotations

from bnsharp_cli.io.data.image_files.outline import ImageOutline, UnsoundImageError, damaged_image

WEBP_SIGNATURE = b"RIFF"
_MOST_CHUNKS = 2**10
_DECODING = 18
"""Bytes for a pixel: libwebp's two canvases, its frame, the copy in Python and Pillow's."""

_COPIES = 2
"""Of the file, beside the one that is passed on: Pillow's and libwebp's."""

_KEPT = {b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"}
_OF_OTHERS = 0x20 | 0x08 | 0x04
"""The marks in the first byte of ``VP8X`` for a colour profile and two kinds of notes, which are not passed on."""


def outline_of_webp(content: bytes) -> ImageOutline:
    """The outline of a WebP image; of an animation, that of its canvas.

    Raises:
        UnsoundImageError: it is no sequence of chunks, or one of more than any image has.
    """
    head = content[:30]
    if head[8:12] != b"WEBP" or len(head) < 30:
        raise damaged_image("it has no header")
    width, height = _size(head)
    pixels = _pixels(content)
    return ImageOutline("WEBP", width, height, _DECODING, pixels, max(len(content), _COPIES * len(pixels)))


def _pixels(content: bytes) -> bytes:
    """The chunks that pixels are made of, in a file of their own."""
    view, position, parts = memoryview(content), 12, [b""]
    stop = min(len(content), 8 + int.from_bytes(content[4:8], "little"))
    for _ in range(_MOST_CHUNKS):
        if position + 8 > stop:
            body = b"".join(parts)
            return b"RIFF" + (4 + len(body)).to_bytes(4, "little") + b"WEBP" + body
        kind, length = content[position : position + 4], int.from_bytes(content[position + 4 : position + 8], "little")
        end = position + 8 + length + length % 2
        if kind == b"VP8X" and length:
            parts.append(_without_notes(content[position:end]))
        elif kind in _KEPT:
            parts.append(bytes(view[position : min(end, stop)]))
        position = end
    raise UnsoundImageError(f"has more than {_MOST_CHUNKS} chunks")


def _without_notes(chunk: bytes) -> bytes:
    return chunk[:8] + bytes([chunk[8] & ~_OF_OTHERS]) + chunk[9:] if len(chunk) > 8 else chunk


def _size(head: bytes) -> tuple[int, int]:
    kind = head[12:16]
    if kind == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if kind == b"VP8L" and head[20] == 0x2F:
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        width, height = (int.from_bytes(head[at : at + 2], "little") & 0x3FFF for at in (26, 28))
        if width and height:
            return width, height
    raise damaged_image("it has no size")
