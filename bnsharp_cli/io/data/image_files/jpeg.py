"""JPEG: the segments before the first scan, and how often all pixels are passed over."""

from __future__ import annotations

from bnsharp_cli.io.data.image_files.outline import LARGEST_SAMPLE, ImageOutline, UnsoundImageError, damaged_image

JPEG_SIGNATURE = b"\xff\xd8\xff"
_SCAN = b"\xff\xda"
_START_OF_SCAN = 0xDA
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
"""Baseline, extended and progressive frames, which are what libjpeg decodes; with Huffman or arithmetic coding."""

_OTHER_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF}
_PROGRESSIVE = {0xC2, 0xCA}
_NO_PIXELS = {*range(0xE1, 0xEE), 0xEF, 0xFE}
"""Exif, colour profiles, previews and comments; not JFIF's and Adobe's segments, which say what the colours are."""

_MOST_SEGMENTS = 2**10
_MOST_FILL_BYTES = 64
_MOST_WORK = 2**28
"""Pixels times scans: each scan of a few bytes is a pass over all pixels."""

_COEFFICIENT = 2
"""Bytes of a coefficient, all of which are held where the scans are more than one."""


def outline_of_jpeg(content: bytes) -> ImageOutline:
    """The outline of a JPEG.

    Raises:
        UnsoundImageError: it is not one that libjpeg decodes in bounded time.
    """
    frame, kind, first_scan, kept = _segments(content)
    height, width, layers = int.from_bytes(frame[1:3]), int.from_bytes(frame[3:5]), frame[5]
    if frame[0] != 8 or layers not in {1, 3, 4} or len(frame) != 6 + 3 * layers or not width or not height:
        raise UnsoundImageError("is no JPEG of 8 bits a channel and 1, 3 or 4 channels")
    scans = content.count(_SCAN)
    if scans * width * height > _MOST_WORK:
        raise UnsoundImageError("has too many scans")
    memory = float(LARGEST_SAMPLE)
    if kind in _PROGRESSIVE or scans > 1 or first_scan[0] < layers:
        memory += _COEFFICIENT * _coefficients(frame)
    return ImageOutline("JPEG", width, height, memory, kept)


def _coefficients(frame: bytes) -> float:
    """How many there are for a pixel."""
    factors = [(byte >> 4, byte & 15) for byte in frame[7::3]]
    if any(not (1 <= down <= 4 and 1 <= across <= 4) for down, across in factors):
        raise damaged_image("its sampling factors are none")
    most = max(down for down, _ in factors) * max(across for _, across in factors)
    return sum(down * across for down, across in factors) / most


def _behind_fill_bytes(content: bytes, position: int) -> int:
    """The beginning of a segment that has more 0xff before it than one."""
    fill = content[position : position + _MOST_FILL_BYTES]
    return position + len(fill) - len(fill.lstrip(b"\xff")) - 1


def _segments(content: bytes) -> tuple[bytes, int, bytes, bytes]:
    """The frame, which kind it is, the head of the first scan, and the file without what holds no pixels."""
    view, kept, begin = memoryview(content), [], 0
    frame, kind, position = b"", 0, 2
    for _ in range(_MOST_SEGMENTS):
        head = content[position : position + 4]
        if head[:2] == b"\xff\xff":
            kept.append(view[begin:position])
            begin = position = _behind_fill_bytes(content, position)
            head = content[position : position + 4]
        if head[:1] != b"\xff" or len(head) < 4:
            raise damaged_image("between two segments are other bytes, or it ends before its first scan")
        code, length = head[1], int.from_bytes(head[2:])
        end = position + 2 + length
        if length < 2 or end > len(content):
            raise damaged_image("a segment is longer than the file")
        if code in _NO_PIXELS:
            kept.append(view[begin:position])
            begin = end
        elif code in _FRAMES or code in _OTHER_FRAMES:
            if frame or code in _OTHER_FRAMES:
                raise UnsoundImageError("has two frames, or one of a kind that libjpeg does not decode")
            frame, kind = content[position + 4 : end], code
        elif code == _START_OF_SCAN:
            if len(frame) < 6 or length < 3:
                break
            whole = content if begin == 0 else b"".join([*kept, view[begin:]])
            return frame, kind, content[position + 4 : end], whole
        position = end
    raise damaged_image("no frame and scan among its first segments")
