"""WebP: its chunks, and the size of its canvas."""

from __future__ import annotations

from bnsharp_cli.io.data.image_files.outline import ImageOutline, UnsoundImageError, damaged_image

WEBP_SIGNATURE = b"RIFF"
_MOST_CHUNKS = 2**10
_DECODING = 18
"""Bytes for a pixel: libwebp's two canvases, its frame, the copy in Python and Pillow's."""


def outline_of_webp(content: bytes) -> ImageOutline:
    """The outline of a WebP image; of an animation, that of its canvas.

    Raises:
        UnsoundImageError: it is no sequence of chunks, or one of more than any image has.
    """
    head = content[:30]
    if head[8:12] != b"WEBP" or len(head) < 30:
        raise damaged_image("it has no header")
    width, height = _size(head)
    position = 12
    for _ in range(_MOST_CHUNKS):
        if position + 8 > len(content):
            return ImageOutline("WEBP", width, height, _DECODING, content)
        length = int.from_bytes(content[position + 4 : position + 8], "little")
        position += 8 + length + length % 2
    raise UnsoundImageError(f"has more than {_MOST_CHUNKS} chunks")


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
