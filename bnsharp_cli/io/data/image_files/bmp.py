"""BMP: an uncompressed bitmap, whose pixels must all be in the file."""

from __future__ import annotations

import struct

from bnsharp_cli.io.data.image_files.outline import LARGEST_SAMPLE, ImageOutline, UnsoundImageError, damaged_image

BMP_SIGNATURE = b"BM"
_SHORT, _LONG = struct.Struct("<HHHH"), struct.Struct("<iiHHIIIII")
_HEADERS = {12, 40, 52, 56, 64, 108, 124}
_RAW, _BIT_FIELDS = 0, 3
_DEPTHS = {1, 4, 8, 16, 24, 32}
_LARGEST_PALETTE = 256


def outline_of_bmp(content: bytes) -> ImageOutline:
    """The outline of a bitmap.

    Raises:
        UnsoundImageError: it is compressed, which no program does any more, or its pixels are not all there.
    """
    begin, size = struct.unpack_from("<II", content, 10) if len(content) >= 18 else (0, 0)
    if size not in _HEADERS or len(content) < 14 + size:
        raise damaged_image("it has no header")
    if size == 12:
        width, height, _, depth = _SHORT.unpack_from(content, 18)
        packing = colours = 0
    else:
        width, height, _, depth, packing, _, _, _, colours = _LONG.unpack_from(content, 18)
    if packing not in {_RAW, _BIT_FIELDS}:
        raise UnsoundImageError("is a compressed bitmap")
    if width <= 0 or not height or depth not in _DEPTHS or colours > _LARGEST_PALETTE:
        raise damaged_image("its header is that of no bitmap")
    line = (width * depth + 31) // 32 * 4
    if max(begin, 14 + size) + line * abs(height) > len(content):
        raise UnsoundImageError("is damaged (image file is truncated)")
    return ImageOutline("BMP", width, abs(height), LARGEST_SAMPLE, content)
