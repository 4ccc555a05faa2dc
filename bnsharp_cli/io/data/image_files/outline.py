"""What is known of an image before it is decoded."""

from __future__ import annotations

from typing import NamedTuple

LARGEST_DECODING = 176 * 2**20
"""Bytes that a file, its decoder and the pixels may take together."""

LARGEST_SAMPLE = 4
"""Bytes of a pixel in Pillow's memory."""

_LINE = 16
"""Bytes that Pillow and the decoders hold for each line and each column beside the pixels."""

MOST_PARTS = 2**16
"""Chunks, segments, strips or tiles of an image: more only keep a reader busy."""


class UnsoundImageError(Exception):
    """Why an image is not decoded, as the predicate of "it …"."""

    remedy = "Replace or remove it."


class LargeImageError(UnsoundImageError):
    """Decoding the image would take too much memory."""

    remedy = "Scale it down, or remove it."


class ImageOutline(NamedTuple):
    """What the headers of an image say.

    Attributes:
        format: as Pillow names it.
        width, height: in pixels, at least 1.
        bytes_per_pixel: what decoding takes at its largest.
        content: the image, with all that Pillow needs and nothing else.
        beside: bytes that decoding takes beside those and the pixels: copies of the file, and a part of the image.
    """

    format: str
    width: int
    height: int
    bytes_per_pixel: float
    content: bytes
    beside: int = 0

    @property
    def memory(self) -> float:
        """Bytes that decoding takes, those of the file included."""
        return (
            len(self.content)
            + self.beside
            + self.width * self.height * self.bytes_per_pixel
            + _LINE * (self.width + self.height)
        )


def require_bearable_decoding(outline: ImageOutline) -> None:
    """Refuse an image of more pixels than a decoder of its format can hold.

    Raises:
        LargeImageError: it is too large.
    """
    if outline.memory <= LARGEST_DECODING:
        return
    pixels, left = outline.width * outline.height, LARGEST_DECODING - len(outline.content) - outline.beside
    if pixels > left / outline.bytes_per_pixel > 0:
        most = left / outline.bytes_per_pixel / 1e6
        raise LargeImageError(
            f"has {outline.width} × {outline.height} pixels, more than the {most:.0f} million of such an image"
        )
    needed, most = (round(size / 2**20) for size in (outline.memory, LARGEST_DECODING))
    raise LargeImageError(f"takes {needed} MiB to decode, more than {most}")


def damaged_image(problem: str) -> UnsoundImageError:
    """The error of an image that must have been another one when it was written."""
    return UnsoundImageError(f"is damaged ({problem})")
