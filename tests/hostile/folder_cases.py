"""Hostile and broken image folders: each starts from a sound one, ``images``, with the classes cat and dog."""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

Writer = Callable[[Path], object]
CASES: dict[str, tuple[Writer, str]] = {}
"""By name: what spoils the folder, and a part of the one line that the command must print."""

FIRST = "cat/0.png"
LINES = b"\0" * (1 + 3 * 9000)


def sound(folder: Path) -> Path:
    """Two classes of four images of 8 × 8 pixels."""
    root = folder / "images"
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 8), dtype=np.uint8)
    for index, image in enumerate(pixels):
        path = root / ("cat", "dog")[index // 4] / f"{index % 4}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return root


def case(says: str) -> Callable[[Writer], Writer]:
    def add(write: Writer) -> Writer:
        assert write.__name__ not in CASES
        CASES[write.__name__] = (write, says)
        return write

    return add


def content(name: str, says: str, data: Callable[[], bytes] | bytes, file: str = FIRST) -> None:
    """One image that is something else."""
    CASES[name] = (lambda root: (root / file).write_bytes(data() if callable(data) else data), says)


def png(width: int, height: int, lines: bytes = b"", extra: bytes = b"") -> bytes:
    """A PNG with a header of one's own and compressed lines of pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + (chunk(b"IDAT", lines) if lines else b"") + chunk(b"IEND", b"")


def text_chunk(kind: bytes, size: int) -> bytes:
    data = b"Comment\0\0" + zlib.compress(bytes(size), 9)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def solid() -> bytes:
    """9,000 × 9,000 black pixels in 240 kB: sound, and 243 MB when decoded."""
    packer = zlib.compressobj(9)
    return png(9000, 9000, b"".join(packer.compress(LINES) for _ in range(9000)) + packer.flush())


def frames() -> bytes:
    """A GIF of 100,000 frames."""
    frame = b",\0\0\0\0\x08\0\x08\0\0\x02\x02\x44\x01\0"
    return b"GIF89a\x08\0\x08\0\x80\0\0\0\0\0\xff\xff\xff" + frame * 100_000 + b";"


def tiled(side: int) -> bytes:
    """A TIFF of 16 × 16 pixels in one tile of ``side`` × ``side``."""
    data = zlib.compress(bytes(side * side // 64), 9)
    tags = [(256, 16), (257, 16), (258, 8), (259, 8), (262, 1), (277, 1), (322, side), (323, side), (324, 0)]
    tags.append((325, len(data)))
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, start if tag == 324 else value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data


content(
    "a_header_of_a_million_squared",
    "has 1000000 × 1000000 pixels, more than the 46 million of such an image",
    png(10**6, 10**6),
)
content("just_under_pillows_limit", "has 9000 × 9000 pixels, more than the 46 million", solid)
content("a_header_and_no_pixels", "cat/0.png", png(8000, 8000))
content("a_negative_size", "cat/0.png", png(2**32 - 1, 2**32 - 1))
content("an_animation", "it is no JPEG, PNG, BMP, PPM, TIFF or WEBP image", frames)
content("a_tile_larger_than_the_image", "has tiles of 20000 × 20000 pixels", tiled(20_000))
content(
    "a_drawing", "it is no JPEG", b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "/etc/passwd">]><svg>&b;</svg>'
)
content(
    "a_program", "it is no JPEG", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(executed) (w) file closefile\n"
)
content("a_page", "it is no JPEG", b"<!DOCTYPE html><html>login</html>")
content("nothing", "it is no JPEG", b"")
content("plain_text_pixels", "cat/0.png", b"P3\n8000 8000\n255\n0 0 0\n")
content(
    "an_unreadable_name",
    r"dog/\x1b]0;title\x07\x1b[2J\nbnsharp: fine.png",
    b"",
    "dog/\x1b]0;title\7\x1b[2J\nbnsharp: fine.png",
)
content("a_name_that_is_no_text", r"dog/\udcff.png", b"", os.fsdecode(b"dog/\xff.png"))
content("a_right_to_left_name", r"dog/\u202egnp.png", b"", "dog/\u202egnp.png")


@case("image file is truncated")
def half_an_image(root: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(root / FIRST)
    (root / FIRST).write_bytes((root / FIRST).read_bytes()[:4000])


@case("has too many scans")
def a_photograph_of_many_scans(root: Path) -> None:
    path = root / "cat" / "0.jpg"
    Image.new("L", (4000, 4000)).save(path, progressive=True)
    whole = path.read_bytes()
    last = whole[whole.rindex(b"\xff\xda") : -2]
    path.write_bytes(whole[:-2] + last * 100 + whole[-2:])


@case("has more than 8 bits a channel (mode I;16)")
def sixteen_bits(root: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(root / FIRST)


@case("takes 1024 MiB, more than 80")
def a_gigabyte(root: Path) -> None:
    with (root / FIRST).open("r+b") as stream:
        stream.truncate(2**30)


@case("cat/1.png is (1, 9, 9), the first image")
def another_size(root: Path) -> None:
    Image.new("L", (9, 9)).save(root / "cat" / "1.png")


@case("cat/0.png is not a regular file")
def a_pipe(root: Path) -> None:
    (root / FIRST).unlink()
    os.mkfifo(root / FIRST)


@case("cat/0.png is not a regular file")
def a_device(root: Path) -> None:
    (root / FIRST).unlink()
    (root / FIRST).symlink_to("/dev/zero")


@case("cat/9.png is a link that leads nowhere")
def a_broken_link(root: Path) -> None:
    (root / "cat" / "9.png").symlink_to("nowhere.png")


@case("cat/9.png: Too many levels of symbolic links")
def a_link_to_itself(root: Path) -> None:
    (root / "cat" / "9.png").symlink_to("9.png")


@case("The link images/elk leads back to a folder it lies in")
def a_class_that_is_everything(root: Path) -> None:
    (root / "elk").symlink_to("/")


@case("cat/again is a link to a folder")
def a_folder_within_itself(root: Path) -> None:
    (root / "cat" / "again").symlink_to("..")


@case("it is no JPEG")
def a_link_to_a_secret(root: Path) -> None:
    secret = root.parent / "secret.txt"
    secret.write_text("hunter2")
    (root / "cat" / "00.png").symlink_to(secret)


@case("The class folder images/elk has no images")
def an_empty_class(root: Path) -> None:
    (root / "elk").mkdir()


@case("images is not a folder of class folders with images: it has no folders")
def no_classes(root: Path) -> None:
    for name in ("cat", "dog"):
        shutil.rmtree(root / name)


@case("images is not a folder of class folders with images: none")
def no_folder(root: Path) -> None:
    shutil.rmtree(root)


@case("images has no 'train' folder with class folders: it has test")
def no_training_split(root: Path) -> None:
    shutil.copytree(root, root / "test")
    for name in ("cat", "dog"):
        shutil.rmtree(root / name)


@case("12 class folders for a network of 10 classes")
def too_many_classes(root: Path) -> None:
    for index in range(10):
        shutil.copytree(root / "cat", root / f"elk{index}")
