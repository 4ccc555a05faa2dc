"""What is handed to Pillow has the pixels of the whole file."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bnsharp_cli.errors import DataRefusedError
from bnsharp_cli.io.data.image_files.outline import (
    LARGEST_DECODING,
    ImageOutline,
    LargeImageError,
    require_bearable_decoding,
)
from bnsharp_cli.io.data.image_files.read_image import opened_image
from bnsharp_cli.io.data.image_files.tiff import outline_of_tiff
from bnsharp_cli.io.data.image_files.webp import outline_of_webp
from bnsharp_cli.io.data.images import ImageFolder
from bnsharp_cli.io.data.preprocessing import Preprocessing
from tests.hostile.data_mutations import images


def read(path: Path) -> torch.Tensor:
    folder = ImageFolder(("a",), (str(path),), torch.zeros(1, dtype=torch.int64))
    return folder.load(torch.arange(1), Preprocessing())[0][0]


@pytest.mark.parametrize("number", range(len(images())))
def test_the_pixels_are_those_of_the_whole_file(tmp_path: Path, number: int) -> None:
    content = images()[number]
    (tmp_path / "image").write_bytes(content)
    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(image.convert("RGB")).transpose(2, 0, 1).astype(np.float32) / 255
    np.testing.assert_array_equal(read(tmp_path / "image").numpy(), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_that_lies_on_its_side_is_turned(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image", "TIFF", exif=exif, compression="tiff_lzw")
    with Image.open(tmp_path / "image") as image:
        expected = np.asarray(image.convert("RGB")).transpose(2, 0, 1).astype(np.float32) / 255
    np.testing.assert_array_equal(read(tmp_path / "image").numpy(), expected)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_of_either_byte_order(tmp_path: Path, order: str) -> None:
    entries = [(256, 4), (257, 2), (258, 8), (259, 1), (262, 1), (273, 200), (277, 1), (278, 2), (279, 8)]
    listed = b"".join(struct.pack(order + "HHIHH", tag, 3, 1, value, 0) for tag, value in entries)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(entries)) + listed + bytes(4)
    (tmp_path / "image").write_bytes(head.ljust(200, b"\0") + bytes(range(8)))
    assert (read(tmp_path / "image")[0] * 255).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_directory_that_follows_itself_is_read_once(tmp_path: Path) -> None:
    Image.new("L", (4, 4), 9).save(tmp_path / "image", "TIFF")
    content = bytearray((tmp_path / "image").read_bytes())
    (begin,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, begin)
    struct.pack_into("<I", content, begin + 2 + 12 * count, begin)
    (tmp_path / "image").write_bytes(content)
    assert (read(tmp_path / "image") * 255).unique().tolist() == [9]


def test_the_file_counts_towards_what_decoding_takes() -> None:
    require_bearable_decoding(ImageOutline("PNG", 1000, 1000, 4, b""))
    with pytest.raises(Exception, match="more than the 0 million of such an image"):
        require_bearable_decoding(ImageOutline("PNG", 1000, 1000, 4, bytes(LARGEST_DECODING - 2**20)))


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("frames", [1, 2])
def test_notes_in_a_webp_are_not_passed_on(tmp_path: Path, lossless: bool, frames: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (frames, 9, 7, 4), dtype=np.uint8)
    first, *others = map(Image.fromarray, pixels)
    said = {"exif": b"Exif\0\0" + bytes(50_000), "icc_profile": bytes(60_000), "xmp": b" " * 70_000}
    first.save(tmp_path / "image", "WEBP", lossless=lossless, save_all=frames > 1, append_images=others, **said)
    with Image.open(tmp_path / "image") as image:
        expected = np.asarray(image.convert("RGB")).transpose(2, 0, 1).astype(np.float32) / 255
    np.testing.assert_array_equal(read(tmp_path / "image").numpy(), expected)
    content = (tmp_path / "image").read_bytes()
    assert len(content) > 180_000
    assert len(outline_of_webp(content).content) < 5_000
    (tmp_path / "image").write_bytes(content + b"VP8 " + struct.pack("<I", 4) + b"junk")
    np.testing.assert_array_equal(read(tmp_path / "image").numpy(), expected)


@pytest.mark.parametrize(
    ("tile", "junk", "bearable"), [(16, 0, True), (4096, 0, True), (4096, 50, False), (16, 89, False)]
)
def test_the_tiles_and_the_copies_of_a_tiff_are_counted(tile: int, junk: int, bearable: bool) -> None:
    """Tiles of four channels of 16 bits."""
    data = zlib.compress(bytes(tile * tile * 8))
    values = {256: 8, 257: 8, 258: 0, 259: 8, 262: 2, 277: 4, 322: tile, 323: tile, 324: 0, 325: len(data)}
    behind = 8 + 2 + 12 * len(values) + 4
    values |= {258: behind, 324: behind + 8}
    entries = (struct.pack("<HHII", tag, *((3, 4) if tag == 258 else (4, 1)), value) for tag, value in values.items())
    head = b"II*\0" + struct.pack("<IH", 8, len(values)) + b"".join(entries) + bytes(4)
    outline = outline_of_tiff(head + struct.pack("<4H", *[16] * 4) + data + bytes(junk * 2**20))
    if bearable:
        require_bearable_decoding(outline)
        return
    with pytest.raises(LargeImageError, match=r"takes \d+ MiB to decode, more than 176"):
        require_bearable_decoding(outline)


@pytest.mark.parametrize("format_", ["WEBP", "PNG"])
def test_a_large_image_is_read_once_it_is_scaled_down(tmp_path: Path, format_: str) -> None:
    photo = Image.new("RGB", (8192, 8192), "white")
    photo.save(tmp_path / "image", format_)
    with pytest.raises(DataRefusedError, match=r"8192 × 8192 pixels.* Scale it down, or remove it\.$"):
        read(tmp_path / "image")
    photo.resize((1024, 1024)).save(tmp_path / "image", format_)
    assert read(tmp_path / "image").shape == (3, 1024, 1024)


def test_libtiff_writes_nothing_to_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image", "TIFF", compression="tiff_lzw")
    content = bytearray((tmp_path / "image").read_bytes())
    content[40:80] = b"\xff" * 40
    (tmp_path / "image").write_bytes(content)
    with pytest.raises(DataRefusedError, match="Cannot read"):
        read(tmp_path / "image")
    assert capfd.readouterr().err == ""


def test_the_limits_of_pillow_stay_as_they_are(tmp_path: Path) -> None:
    before = Image.MAX_IMAGE_PIXELS
    (tmp_path / "image").write_bytes(images()[0])
    with opened_image(tmp_path / "image") as image:
        image.load()
    assert before == Image.MAX_IMAGE_PIXELS
