"""PBM, PGM and PPM: a header in words, then pixels, all of which must be in the file."""

from __future__ import annotations

import re

from bnsharp_cli.io.data.image_files.outline import LARGEST_SAMPLE, ImageOutline, UnsoundImageError, damaged_image

PPM_SIGNATURES = tuple(b"P%d" % number for number in range(1, 7))
_LONGEST_HEADER = 1024
_SPACE = rb"(?:[ \t\r\n\v\f]|#[^\r\n]*[\r\n])+"
_NUMBER = rb"(\d{1,9})"
_SIZE = re.compile(rb"P(\d)" + _SPACE + _NUMBER + _SPACE + _NUMBER)
_LARGEST_VALUE = re.compile(_SPACE + _NUMBER)
_MOST_SLOW = 2**20
"""Numbers that Pillow reads one by one in Python: those in words, and those that do not end at 255."""

_LONGEST_WORD = 16
"""Bytes of a number in words, on average, with the space around it."""


def outline_of_ppm(content: bytes) -> ImageOutline:
    """The outline of an image of these formats.

    Raises:
        UnsoundImageError: no such header within 1 KiB, missing pixels, or more in words than are soon read.
    """
    head = content[:_LONGEST_HEADER]
    found = _SIZE.match(head)
    if not found:
        raise damaged_image(f"it has no header within {_LONGEST_HEADER} bytes")
    kind, width, height = (int(group) for group in found.groups())
    numbers, most = width * height * (3 if kind in {3, 6} else 1), 1
    if kind not in {1, 4}:
        found = _LARGEST_VALUE.match(head, found.end())
        most = int(found[1]) if found else 0
    if not (found and numbers and 0 < most < 2**16):
        raise damaged_image("its header is that of no image")
    if kind < 4:
        _require_few_words(content, numbers, found.end())
    elif kind == 4:
        _require_bytes(content, found.end(), (width + 7) // 8 * height)
    else:
        _require_bytes(content, found.end(), numbers * (1 if most < 256 else 2))
        if most != 255 and numbers > _MOST_SLOW:
            raise UnsoundImageError(f"has {numbers} values up to {most}; Pillow reads more than {_MOST_SLOW} slowly")
    return ImageOutline("PPM", width, height, LARGEST_SAMPLE, content)


def _require_bytes(content: bytes, end: int, count: int) -> None:
    if end + 1 + count > len(content):
        raise UnsoundImageError("is damaged (image file is truncated)")


def _require_few_words(content: bytes, numbers: int, end: int) -> None:
    if numbers > _MOST_SLOW or len(content) > _LONGEST_HEADER + _LONGEST_WORD * numbers:
        raise UnsoundImageError("has its pixels in words, and more than are soon read")
    if content.find(b"#", end) >= 0:
        raise UnsoundImageError("has comments among its pixels")
