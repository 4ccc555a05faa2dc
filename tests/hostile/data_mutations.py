"""Sound images and archives, and ways to spoil them: bytes, and fields with lengths and checksums put right again."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import cache

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from tests.hostile.spoiled_bytes import spoiled_bytes

_INTERESTING = (0, 1, 2, 3, 4, 8, 127, 255, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**64 - 1)
_KINDS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"zTXt", b"iTXt", b"iCCP", b"acTL", b"fcTL", b"fdAT", b"eXIf")
_SHAPES = (
    "(8, 1, 8, 8)",
    "(8,)",
    "(8, 1)",
    "()",
    "(True,)",
    "(8L,)",
    "(-8,)",
    "(2**9,)",
    "(1e3,)",
    "((8,),)",
    "(8, 0)",
)
_TYPES = (
    "'|u1'",
    "'<f4'",
    "'|O'",
    "'<i8'",
    "'<f2'",
    "'<U3'",
    "'<M8[ns]'",
    "[('a', '<f4')]",
    "'<V0'",
    "''",
    "'?'",
    "'<f16'",
)
_WORDS = (b"P1", b"P3", b"P6", b"#", b"\n", b" ", b"65535", b"100", b"99999", b"-1", b"0")


@cache
def images() -> tuple[bytes, ...]:
    """Small images in every format that is read, in several layouts."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    colour = Image.fromarray(pixels)
    saved = [
        (colour, "JPEG", {}),
        (colour, "JPEG", {"progressive": True, "exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"}),
        (colour.convert("CMYK"), "JPEG", {"comment": b"a comment"}),
        (colour, "PNG", {}),
        (colour.convert("P"), "PNG", {"transparency": 3}),
        (colour.convert("RGBA"), "PNG", {"icc_profile": b"profile"}),
        (colour, "PNG", {"save_all": True, "append_images": [colour.rotate(90)]}),
        (colour, "BMP", {}),
        (colour.convert("P"), "BMP", {}),
        (colour, "PPM", {}),
        (colour.convert("1"), "PPM", {}),
        *((colour, "TIFF", {"compression": name}) for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg")),
        (colour, "TIFF", {"big_tiff": True, "description": "a picture"}),
        (colour.convert("1"), "TIFF", {"compression": "group4"}),
        (colour.convert("P"), "TIFF", {"compression": "packbits"}),
        (colour, "WEBP", {}),
        (colour.convert("RGBA"), "WEBP", {"lossless": True}),
        (colour, "WEBP", {"save_all": True, "append_images": [colour.rotate(90)]}),
    ]
    return (*(_saved(*how) for how in saved), b"P3\n2 1\n255\n1 2 3\n4 5 6\n", b"P5 # c\n4 1 15\n\1\2\3\4")


def _saved(image: Image.Image, name: str, options: dict[str, object]) -> bytes:
    stream = io.BytesIO()
    image.save(stream, name, **options)  # type: ignore[arg-type]  # as many kinds as formats have
    return stream.getvalue()


@cache
def archives() -> tuple[bytes, ...]:
    """Small archives as numpy writes them."""
    x, made = np.random.default_rng(0).integers(0, 256, (8, 1, 8, 8), dtype=np.uint8), []
    for images_, labels in ((x, np.arange(8)), (np.asfortranarray(x / 2), np.eye(8)), (x, np.arange(8, dtype=">i2"))):
        for save in (np.savez, np.savez_compressed):
            stream = io.BytesIO()
            save(stream, x=images_, y=labels)
            made.append(stream.getvalue())
    return tuple(made)


def _spoiled(originals: Callable[[], tuple[bytes, ...]]) -> st.SearchStrategy[bytes]:
    """Files that are spoiled without knowing what their bytes mean."""
    return spoiled_bytes(originals, _INTERESTING, ("<H", "<I", ">H", ">I", "<Q"), _WORDS, most=3, beginning=80)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a sound PNG."""
    found, position = [], 8
    while position < len(content):
        (length,) = struct.unpack_from(">I", content, position)
        found.append((content[position + 4 : position + 8], content[position + 8 : position + 8 + length]))
        position += 12 + length
    return found


@st.composite
def spoiled_png(draw: st.DrawFn) -> bytes:
    """Chunks changed, moved, doubled and invented, their lengths and checksums right."""
    chunks = _chunks(draw(st.sampled_from([image for image in images() if image[1:4] == b"PNG"])))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(chunks) - 1))
        kind, data = chunks[at]
        match draw(st.sampled_from(("number", "kind", "double", "remove", "invent", "repack"))):
            case "number" if data:
                offset = draw(st.integers(0, min(len(data), 13)))
                value = draw(st.sampled_from(_INTERESTING)) % 2**32
                chunks[at] = kind, data[:offset] + struct.pack(">I", value) + data[offset + 4 :]
            case "kind":
                chunks[at] = draw(st.sampled_from(_KINDS)), data
            case "double":
                chunks.insert(at, (kind, data))
            case "remove" if len(chunks) > 1:
                del chunks[at]
            case "invent":
                size = draw(st.sampled_from((0, 10, 2**16, 2**22)))
                chunks.insert(at, (draw(st.sampled_from(_KINDS)), b"key\0\0" + zlib.compress(bytes(size), 1)))
            case "repack":
                size = draw(st.sampled_from((0, 1, 1752, 2**20)))
                chunks[at] = b"IDAT", zlib.compress(bytes(size), 1)
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


@st.composite
def spoiled_arrays(draw: st.DrawFn) -> bytes:
    """An archive whose sums and sizes are right, of arrays with headers of one's own."""
    stream = io.BytesIO()
    method = draw(st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, kind, shape in (("x", "'|u1'", "(8, 1, 8, 8)"), ("y", "'<i8'", "(8,)")):
            kind = draw(st.sampled_from((kind, kind, *_TYPES)))
            shape = draw(st.sampled_from((shape, shape, *_SHAPES)))
            order = draw(st.sampled_from(("False", "False", "True", "1", "None")))
            text = f"{{'descr': {kind}, 'fortran_order': {order}, 'shape': {shape}, }}"
            at = draw(st.integers(0, len(text)))
            text = text[:at] + draw(st.sampled_from(("", "", "", "(", "}", "'", ",", "9" * 30, " " * 300))) + text[at:]
            version = draw(st.sampled_from((1, 1, 1, 2, 3)))
            length = struct.pack("<H" if version == 1 else "<I", len(text) + 1)
            size = draw(st.sampled_from((512, 64, 8, 0, 2048)))
            content = b"\x93NUMPY" + bytes([version, 0]) + length + text.encode() + b"\n" + bytes(size)
            archive.writestr(f"{name}.npy", content)
    return stream.getvalue()


@st.composite
def spoiled_directory(draw: st.DrawFn) -> bytes:
    """A zip archive with one number of a header, of the directory or of the end changed."""
    content = bytearray(draw(st.sampled_from(archives())))
    signature = draw(st.sampled_from((b"PK\3\4", b"PK\1\2", b"PK\5\6")))
    at = content.find(signature, draw(st.integers(0, len(content) // 2)))
    offset = max(at, 0) + draw(st.integers(4, 46))
    code = draw(st.sampled_from(("<H", "<I")))
    value = draw(st.sampled_from(_INTERESTING)) % 2 ** (8 * struct.calcsize(code))
    content[offset : offset + struct.calcsize(code)] = struct.pack(code, value)
    return bytes(content)


SPOILED_IMAGES = st.one_of(_spoiled(images), spoiled_png())
SPOILED_ARCHIVES = st.one_of(_spoiled(archives), spoiled_arrays(), spoiled_directory())
