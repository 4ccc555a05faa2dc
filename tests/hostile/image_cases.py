"""Images that cost more than their pixels, or that two readers see differently; they join the table of folders."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from tests.hostile.folder_cases import LINES, content, png
from tests.hostile.folder_cases import case as folder_case

FIRST_JPEG = "cat/0.jpg"


def saved(size: tuple[int, int], name: str, **options: object) -> bytes:
    """A grey image as Pillow saves it."""
    stream = io.BytesIO()
    Image.new("RGB", size, "grey").save(stream, name, **options)
    return stream.getvalue()


def squares(side: int) -> bytes:
    """A sound black PNG."""
    packer = zlib.compressobj(9)
    line = LINES[: 1 + 3 * side]
    return png(side, side, b"".join(packer.compress(line) for _ in range(side)) + packer.flush())


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bitmap(width: int, height: int, packing: int, colours: int = 0, size: int = 40, data: bytes = b"") -> bytes:
    head = struct.pack("<2sIIIIiiHHIIIIII", b"BM", 54, 0, 54, size, width, height, 1, 8, packing, 0, 0, 0, colours, 0)
    return head + data


def tiff(*entries: tuple[int, int, int, int], data: bytes = b"", first: int = 8, following: int = 0) -> bytes:
    """A TIFF of 8 × 8 grey pixels, with entries (tag, type, count, value) instead of or beside the usual ones."""
    tags = {tag: (tag, 4, 1, value) for tag, value in ((256, 8), (257, 8), (258, 8), (259, 1), (262, 1), (277, 1))}
    tags |= {273: (273, 4, 1, 0), 279: (279, 4, 1, 64)}
    tags |= {entry[0]: entry for entry in entries}
    listed = b"".join(struct.pack("<HHII", *entry) for _, entry in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", first, len(tags)) + listed + struct.pack("<I", following) + data


def webp(kind: bytes, data: bytes, further: bytes = b"") -> bytes:
    length = len(data) + 12 + len(further)
    return b"RIFF" + struct.pack("<I", length) + b"WEBP" + kind + struct.pack("<I", len(data)) + data + further


def canvas(side: int, further: bytes = b"") -> bytes:
    """A WebP file that declares a canvas and has nothing on it."""
    size = (side - 1).to_bytes(3, "little")
    return webp(b"VP8X", bytes(4) + size + size + bytes(100), further)


def segment(code: int, data: bytes) -> bytes:
    return bytes([0xFF, code]) + struct.pack(">H", len(data) + 2) + data


def frame(code: int = 0xC0, size: tuple[int, int] = (8, 8), factors: int = 0x11, layers: int = 1) -> bytes:
    parts = b"".join(bytes([number, factors, 0]) for number in range(layers))
    return segment(code, struct.pack(">BHHB", 8, *size, layers) + parts)


SCAN = segment(0xDA, b"\1\0\0\0\x3f\0") + b"\0" * 20 + b"\xff\xd9"
START = b"\xff\xd8"
COMMENTS = b"#\n" * 8_000_000

content("comments_for_a_header", "it has no header within 1024 bytes", lambda: b"P6\n" + COMMENTS + b"8 8\n255\n")
content("one_long_comment", "it has no header within 1024 bytes", lambda: b"P5\n#" + bytes(2**24) + b"\n8 8\n255\n")
content("comments_among_pixels", "has comments among its pixels", b"P3\n9 9\n255\n" + b"# c\n1 2 3 " * 81)
content("spaces_among_pixels", "has its pixels in words, and more than are soon read", b"P3\n8 8\n255\n" + b" " * 10**6)
content("many_words", "has its pixels in words", lambda: b"P2\n2000 2000\n255\n" + b"1 " * 4_000_000)
content("bits_in_words", "has its pixels in words", lambda: b"P1\n6000 6000\n" + b"1" * 36_000_000)
content("pixels_up_to_100", "has 12000000 values up to 100", lambda: b"P6\n2000 2000\n100\n" + bytes(12_000_000))
content("a_largest_value_of_zero", "its header is that of no image", b"P5\n8 8\n0\n" + bytes(64))
content("a_picture_of_no_width", "its header is that of no image", b"P5\n0 8\n255\n" + bytes(64))
content("fewer_grey_pixels", "image file is truncated", b"P5\n6000 6000\n255\n" + bytes(64))
content("fewer_bits", "image file is truncated", b"P4\n6000 6000\n" + bytes(64))
content("floating_pixels", "it is no JPEG", b"Pf\n8 8\n-1.0\n" + bytes(256))
content("portable_anymap", "it is no JPEG", b"P7\nWIDTH 8\nHEIGHT 8\nDEPTH 1\nMAXVAL 255\nENDHDR\n" + bytes(64))

content("runs_of_pixels", "is a compressed bitmap", lambda: bitmap(6000, 6000, 1, data=b"\1\0" * 2**22))
content("short_runs", "is a compressed bitmap", lambda: bitmap(6000, 6000, 2, data=b"\1\0" * 2**20))
content("a_png_in_a_bitmap", "is a compressed bitmap", bitmap(8, 8, 5, data=bytes(64)))
content("a_palette_of_65536", "its header is that of no bitmap", bitmap(8, 8, 0, 65536, data=bytes(2**18)))
content("a_bitmap_header_of_gigabytes", "it has no header", lambda: bitmap(8, 8, 0, size=2**31, data=bytes(2**24)))
content("a_bitmap_without_pixels", "image file is truncated", bitmap(6000, 6000, 0))
content("a_bitmap_of_negative_width", "its header is that of no bitmap", bitmap(-8, 8, 0, data=bytes(64)))

content("a_value_of_a_gigabyte", "a value is not in the file", tiff((320, 3, 2**10, 2**20)))
content("a_list_of_a_gigabyte", "more values for its entry 273", tiff((273, 4, 2**28, 8)))
content("a_million_strips", "more strips or tiles", lambda: tiff((273, 4, 60_000, 200), data=bytes(2**18)))
content("strips_of_terabytes", "it has 4294967295 × 8 pixels, more than", tiff((256, 4, 1, 2**32 - 1)))
content("packed_by_lzma", "is packed in a way that is not read", tiff((259, 4, 1, 34925)))
content("packed_by_webp", "is packed in a way that is not read", tiff((259, 4, 1, 50001)))
content("an_old_photograph", "is packed in a way that is not read", tiff((259, 4, 1, 6)))
content("thousands_of_channels", "has 60000 channels", tiff((277, 4, 1, 60_000)))
content("no_directory", "its directory is not in the file", tiff(first=2**31))
content("a_width_in_words", "its entry 256 is no number", tiff((256, 2, 4, 8)))
content("no_height", "it has no size", tiff((257, 4, 1, 0)))
content("damaged_deflate", "cat/0.png", tiff((259, 4, 1, 8), data=bytes(64)))
content("damaged_tables", "cat/0.png", tiff((259, 4, 1, 7), (347, 7, 64, 0), data=bytes(64)))

content("a_square_of_8192", "has 8192 × 8192 pixels, more than the 46 million", lambda: squares(8192))
content("seventy_thousand_chunks", "more than 65536 chunks", lambda: png(8, 8, b"", chunk(b"tEXt") * 70_000))
content("a_palette_of_megabytes", "a chunk is larger", lambda: png(8, 8, b"", chunk(b"PLTE", bytes(2**22))))
content("no_png_header", "it does not begin with its header", b"\x89PNG\r\n\x1a\n" + chunk(b"IDAT", bytes(99)))
content("an_endless_chunk", "image file is truncated", png(8, 8, b"", struct.pack(">I", 2**31) + b"tEXt"))
content("pixels_that_are_no_deflate", "cat/0.png", png(8, 8, bytes(200)))

content("a_square_in_webp", "has 8192 × 8192 pixels, more than the 10 million", lambda: saved((8192, 8192), "WEBP"))
content("a_canvas_in_webp", "has 16000 × 16000 pixels, more than the 10 million", canvas(16_000))
content("an_empty_canvas", "cat/0.png", canvas(2000))
content("many_webp_chunks", "more than 1024 chunks", canvas(8, (b"JUNK" + bytes(4)) * 2000))
content("half_a_webp", "cat/0.png", lambda: saved((64, 64), "WEBP")[:60])
content("no_webp", "it has no size", webp(b"ABCD", bytes(64)))

JPEGS: dict[str, tuple[str, bytes | Callable[[], bytes]]] = {
    "many_segments": ("no frame and scan among", lambda: START + segment(0xFE, b"") * 10**6 + frame() + SCAN),
    "junk_between_segments": ("between two segments", lambda: START + segment(0xFE, b"") + bytes(2**24) + SCAN),
    "fill_bytes": (
        "is damaged (a segment is longer than the file)",
        lambda: START + b"\xff" * 2**24 + frame()[1:] + SCAN,
    ),
    "no_scan": ("it ends before its first scan", START + frame()),
    "two_frames": ("has two frames", START + frame() * 2 + SCAN),
    "a_lossless_frame": ("has two frames, or one of a kind", START + frame(0xC3) + SCAN),
    "twelve_bits": ("is no JPEG of 8 bits", START + segment(0xC1, b"\x0c\0\x08\0\x08\1\1\x11\0") + SCAN),
    "no_lines": ("is no JPEG of 8 bits", START + frame(size=(0, 8)) + SCAN),
    "no_sampling": ("its sampling factors are none", START + frame(0xC2, factors=0) + SCAN),
    "buffered_scans": ("has 6000 × 6000 pixels, more than the 18", START + frame(0xC2, (6000, 6000), layers=3) + SCAN),
    "one_scan_of_three": ("has 6000 × 6000 pixels", START + frame(0xC0, (6000, 6000), layers=3) + SCAN),
    "a_segment_beyond_the_end": ("a segment is longer than the file", START + b"\xff\xe1\xff\xff" + bytes(99)),
}
for _name, (_says, _data) in JPEGS.items():
    content(_name, _says, _data, FIRST_JPEG)


@folder_case("pixels, which a network would see all at once")
def squares_that_are_not_resized(root: Path) -> None:
    whole = squares(3600)
    for path in root.rglob("*.png"):
        path.write_bytes(whole)
