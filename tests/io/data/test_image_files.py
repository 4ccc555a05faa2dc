"""What is handed to Pillow has the pixels of the whole file."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bnsharp_cli.errors import DataRefusedError
from bnsharp_cli.io.data.image_files.outline import LARGEST_DECODING, ImageOutline, require_bearable_decoding
from bnsharp_cli.io.data.image_files.read_image import opened_image
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
