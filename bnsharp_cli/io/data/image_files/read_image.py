"""Opening one image file: its outline by our own code first, then Pillow."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from bnsharp_cli.errors import DataRefusedError
from bnsharp_cli.io.data.image_files import bmp, jpeg, png, ppm, tiff, webp
from bnsharp_cli.io.data.image_files.outline import (
    ImageOutline,
    LargeImageError,
    UnsoundImageError,
    require_bearable_decoding,
)
from bnsharp_cli.io.data.image_files.silence import silent_standard_error
from bnsharp_cli.io.data.naming import NamedDataError
from bnsharp_cli.io.files.printable_text import escaped, kind_and_line, one_line
from bnsharp_cli.io.files.regular_files import RegularFile, open_regular, reason_of

IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "PPM", "TIFF", "WEBP")
"""By content, whatever the name says: plain rasters, no animations, no documents, nothing that is a program."""

LARGEST_FILE = 80 * 2**20
"""Bytes of an image file, all of which are read at once, and copied at most once."""

_OUTLINES: Mapping[bytes, Callable[[bytes], ImageOutline]] = {
    jpeg.JPEG_SIGNATURE: jpeg.outline_of_jpeg,
    png.PNG_SIGNATURE: png.outline_of_png,
    bmp.BMP_SIGNATURE: bmp.outline_of_bmp,
    webp.WEBP_SIGNATURE: webp.outline_of_webp,
    **dict.fromkeys(ppm.PPM_SIGNATURES, ppm.outline_of_ppm),
    **dict.fromkeys(tiff.TIFF_SIGNATURES, tiff.outline_of_tiff),
}
_SIGNATURES = tuple(_OUTLINES)
_LONGEST_SIGNATURE = max(map(len, _SIGNATURES))
_DEEP = {"I", "F", "I;16", "I;16B", "I;16L", "I;16N"}


@contextmanager
def opened_image(path: Path) -> Iterator[Image.Image]:
    """The image in a file: its size is known and bearable, and nothing of it is decoded yet.

    Raises:
        NamedDataError: no regular file, no image of the formats that are read, or one whose decoding would take much
            time or memory; the same for whatever Pillow raises inside the ``with`` block.
    """
    try:
        outline = _outline(path)
        with _silence_of(outline), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow warns of is refused here, or harmless
            with Image.open(io.BytesIO(outline.content), formats=(outline.format,)) as image:
                _require_outlined(image, outline)
                yield image
    except DataRefusedError:
        raise
    except Exception as error:  # Pillow's readers raise whatever they stumble over
        why = _reason(error)
        remedy = error.remedy if isinstance(error, UnsoundImageError) else UnsoundImageError.remedy
        raise NamedDataError(f"Cannot read {escaped(path)}: {one_line(why)}.", remedy) from error


def _silence_of(outline: ImageOutline) -> AbstractContextManager[None]:
    return silent_standard_error() if outline.format == "TIFF" else nullcontext()


def _reason(error: Exception) -> str:
    if isinstance(error, UnsoundImageError):
        return f"it {error}"
    if isinstance(error, UnidentifiedImageError):
        return "it is damaged"
    return reason_of(error) if isinstance(error, OSError) else kind_and_line(error)


def _outline(path: Path) -> ImageOutline:
    """The outline of the image in a file, which is read once."""
    with open_regular(path) as file:
        if file.size > LARGEST_FILE:
            raise LargeImageError(f"takes {file.size / 2**20:.0f} MiB, more than {LARGEST_FILE / 2**20:.0f}")
        head = _bytes(file, min(file.size, _LONGEST_SIGNATURE))
        signature = next((known for known in _SIGNATURES if head.startswith(known)), None)
        if signature is None:
            raise UnsoundImageError(f"is no {', '.join(IMAGE_FORMATS[:-1])} or {IMAGE_FORMATS[-1]} image")
        content = _bytes(file, file.size)
    outline = _OUTLINES[signature](content)
    require_bearable_decoding(outline)
    return outline


def _bytes(file: RegularFile, count: int) -> bytes:
    """The first bytes of a file, in one call to the system: thousands of small images are read so."""
    content = os.pread(file.stream.fileno(), count, 0)
    if len(content) < count:
        raise UnsoundImageError("became shorter while it was read")
    return content


def _require_outlined(image: Image.Image, outline: ImageOutline) -> None:
    """Refuse an image in which Pillow sees another size than we do, or more than 8 bits."""
    if sorted(image.size) != sorted((outline.width, outline.height)):  # a TIFF may lie on its side
        raise UnsoundImageError("contradicts itself about its size")
    if image.mode in _DEEP:
        raise UnsoundImageError(
            f"has more than 8 bits a channel (mode {image.mode}); npz:FILE takes them as floating numbers"
        )
