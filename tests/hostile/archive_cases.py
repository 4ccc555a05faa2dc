"""Hostile and broken NumPy archives: each writes ``data.npz`` into a folder."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.hostile.executed import Evil

Writer = Callable[[Path], object]
CASES: dict[str, tuple[Writer, str]] = {}
"""By name: what writes the archive, and a part of the one line that the command must print."""

X = np.zeros((8, 1, 8, 8), np.uint8)
Y = np.arange(8)
ROW = 64


def case(says: str) -> Callable[[Writer], Writer]:
    def add(write: Writer) -> Writer:
        assert write.__name__ not in CASES
        CASES[write.__name__] = (write, says)
        return write

    return add


def arrays(name: str, says: str, **entries: np.ndarray) -> None:
    """A sound archive of arrays that cannot be meant."""
    CASES[name] = (lambda folder: np.savez(folder / "data.npz", **entries), says)


def content(name: str, says: str, data: bytes) -> None:
    """A file that is no archive."""
    CASES[name] = (lambda folder: (folder / "data.npz").write_bytes(data), says)


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def header(text: str, version: int = 1) -> bytes:
    """An array's first bytes with a header of one's own."""
    length = struct.pack("<H" if version == 1 else "<I", len(text) + 1)
    return b"\x93NUMPY" + bytes([version, 0]) + length + text.encode() + b"\n"


def shaped(shape: str, kind: str = "|u1") -> bytes:
    return header(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}")


def archive(folder: Path, x: bytes, method: int = zipfile.ZIP_STORED, y: bytes = npy(Y)) -> Path:
    path = folder / "data.npz"
    with zipfile.ZipFile(path, "w", method) as target:
        target.writestr("x.npy", x)
        target.writestr("y.npy", y)
    return path


def patched(path: Path, offset: int, replacement: bytes) -> None:
    whole = bytearray(path.read_bytes())
    whole[offset : offset + len(replacement)] = replacement
    path.write_bytes(whole)


def directory(path: Path) -> int:
    """Where the first entry of the central directory begins."""
    return path.read_bytes().index(b"PK\x01\x02")


arrays("a_float_label", "labels are float64 of shape (N)", x=X, y=Y / 2)
arrays("complex_images", "x is complex128", x=X.astype(complex), y=Y)
arrays("text_labels", "y is <U3", x=X, y=np.array(["cat"] * 8))
arrays("sixteen_bits", "x is uint16 of shape (8, 1, 8, 8), expected uint8 or floating", x=X.astype(np.uint16), y=Y)
arrays("three_dimensions", "x is uint8 of shape (8, 8, 8), expected uint8 or floating (N, C, H, W)", x=X[:, 0], y=Y)
arrays("no_examples", "x is empty", x=X[:0], y=Y[:0])
arrays("more_labels", "x has 8 rows, y 9", x=X, y=np.arange(9))
arrays("no_x", "there is no x, only images, y", images=X, y=Y)
arrays("escapes", r"only im\x1b[2Jages, y", **{"im\x1b[2Jages": X, "y": Y})
arrays(
    "not_a_number",
    "example 5 of npz:data.npz has values that are NaN",
    x=np.where(Y == 5, np.nan, 0.0)[:, None, None, None] + X,
    y=Y,
)
arrays("infinite_label", "has values that are NaN or infinite", x=X, y=np.full((8, 10), np.inf))
arrays("label_out_of_range", "npz:data.npz: The labels lie in 0 … 12, the network has 10 classes", x=X, y=Y % 2 * 12)
arrays("negative_label", "npz:data.npz: The labels lie in -3 … 0", x=X, y=Y % 2 * -3)
arrays("many_channels", "npz:data.npz: The images have 3 channels, the preprocessing expects 1", x=X.repeat(3, 1), y=Y)
arrays(
    "another_size", "npz:data.npz: The network does not accept inputs of (1, 12, 12)", x=np.zeros((8, 1, 12, 12)), y=Y
)

content("nothing", "it is no zip archive of arrays", b"")
content("a_page", "it is no zip archive of arrays", b"<!DOCTYPE html><html>login</html>")
content("one_array", "it is no zip archive of arrays", npy(X))
content(
    "a_pointer", "it is no zip archive of arrays", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
)


@case("x holds Python objects, which would run code when read")
def objects(folder: Path) -> None:
    np.savez(folder / "data.npz", x=np.array([Evil(folder)], dtype=object), y=Y, allow_pickle=True)


@case("x has fields with names")
def fields(folder: Path) -> None:
    archive(folder, header("{'descr': [('数', '|u1')], 'fortran_order': False, 'shape': (8,), }", version=3) + bytes(8))


@case("x is no NumPy array")
def a_pickle_as_an_array(folder: Path) -> None:
    archive(folder, b"cos\nsystem\n(S'touch executed'\ntR.")


@case("x declares 70368744177664 bytes and has 512")
def a_shape_of_terabytes(folder: Path) -> None:
    archive(folder, shaped(f"({2**40}, 1, 8, 8)") + X.tobytes())


@case("x is uint8 of shape (-8, 1, 8, -8)")
def a_negative_shape(folder: Path) -> None:
    archive(folder, shaped("(-8, 1, 8, -8)") + X.tobytes())


@case("x declares")
def a_shape_beyond_64_bits(folder: Path) -> None:
    archive(folder, shaped(f"({2**62}, {2**62}, 8, 8)") + X.tobytes())


@case("x has a header that is not that of an array of numbers")
def a_shape_that_calls(folder: Path) -> None:
    archive(folder, shaped("__import__('os').system('touch executed')") + X.tobytes())


@case("Cannot read x, y from data.npz")
def a_header_of_parentheses(folder: Path) -> None:
    archive(folder, header("(" * 9000 + ")" * 900))


@case("Cannot read x, y from data.npz")
def a_header_of_minus_signs(folder: Path) -> None:
    archive(folder, header("-" * 9900 + "1"))


@case("Cannot read x, y from data.npz")
def a_header_of_megabytes(folder: Path) -> None:
    archive(folder, header(" " * 30_000_000, version=2), zipfile.ZIP_DEFLATED)


@case("x unpacks to")
def a_bomb(folder: Path) -> None:
    rows = 256 * 2**20 // ROW
    archive(folder, shaped(f"({rows}, 1, 8, 8)") + bytes(rows * ROW), zipfile.ZIP_DEFLATED)


@case("the header before x is not what the directory says")
def a_bomb_that_declares_little(folder: Path) -> None:
    path = archive(folder, shaped("(8, 1, 8, 8)") + bytes(64 * 2**20), zipfile.ZIP_DEFLATED)
    patched(path, directory(path) + 24, struct.pack("<I", len(shaped("(8, 1, 8, 8)")) + 8 * ROW))


@case("it has more than 65536 members")
def a_directory_of_a_gigabyte(folder: Path) -> None:
    with (folder / "data.npz").open("wb") as stream:
        stream.truncate(2**30)
        stream.seek(2**30)
        stream.write(b"PK\5\6" + struct.pack("<4H2IH", 0, 0, 1, 1, 2**30, 0, 0))


@case("Bad CRC-32")
def a_flipped_byte(folder: Path) -> None:
    path = archive(folder, npy(X))
    patched(path, path.read_bytes().index(b"\n", 60) + 30, b"\xff")


@case("x declares 1073741824 bytes in a file of")
def a_member_longer_than_the_file(folder: Path) -> None:
    path = archive(folder, npy(X))
    patched(path, directory(path) + 20, struct.pack("<2I", 2**30, 2**30))


@case("it is no zip archive of arrays")
def the_first_half(folder: Path) -> None:
    path = archive(folder, npy(X))
    path.write_bytes(path.read_bytes()[:500])


@case("x is encrypted")
def encrypted(folder: Path) -> None:
    path = archive(folder, npy(X))
    patched(path, directory(path) + 8, b"\1\0")


@case("packed in a way that numpy never uses")
def another_packing(folder: Path) -> None:
    archive(folder, npy(X), zipfile.ZIP_LZMA)


@case("there are 2 arrays x")
def two_of_a_name(folder: Path) -> None:
    other, path = npy(X + 1), archive(folder, npy(X))
    entry = zipfile.ZipInfo("z.npy")
    with zipfile.ZipFile(path, "a") as target:
        target.writestr(entry, other)
    path.write_bytes(path.read_bytes().replace(b"z.npy", b"x.npy"))


@case("there are 2 arrays y")
def a_bare_name_beside(folder: Path) -> None:
    """numpy takes the member y for the array y, not y.npy."""
    with zipfile.ZipFile(folder / "data.npz", "w") as target:
        for name, array in {"x.npy": X, "y.npy": Y, "y": Y[::-1].copy()}.items():
            target.writestr(name, npy(array))


@case("it has a member of two names")
def a_name_cut_off_by_nul(folder: Path) -> None:
    """Python's zipfile ends a name where a NUL stands, so that this member replaces y.npy."""
    path = archive(folder, npy(X))
    with zipfile.ZipFile(path, "a") as target:
        target.writestr("y.npyQ0", npy(Y[::-1].copy()))
    path.write_bytes(path.read_bytes().replace(b"y.npyQ0", b"y.npy\x000"))


@case("it has a member of two names")
def a_second_name(folder: Path) -> None:
    """Info-ZIP's field for a name in UTF-8, which newer readers take instead of the name."""
    field = b"\1" + struct.pack("<I", zlib.crc32(b"w.npy")) + b"y.npy"
    entry = zipfile.ZipInfo("w.npy")
    entry.extra = struct.pack("<2H", 0x5455, 1) + b"\0" + struct.pack("<2H", 0x7075, len(field)) + field
    path = archive(folder, npy(X))
    with zipfile.ZipFile(path, "a") as target:
        target.writestr(entry, npy(Y[::-1].copy()))


@case("the extra fields of")
def long_extra_fields(folder: Path) -> None:
    """Sixteen thousand empty fields."""
    entry = zipfile.ZipInfo("z.npy")
    entry.extra = struct.pack("<2H", 0x5455, 0) * 16_000
    with zipfile.ZipFile(archive(folder, npy(X)), "a") as target:
        target.writestr(entry, npy(X))


@case("x unpacks to 2")
def mostly_zeros(folder: Path) -> None:
    """A hundred mebibytes that take four."""
    x = np.zeros((1_600_000, 64), np.uint8)
    x[:, 0] = np.random.default_rng(0).integers(0, 256, len(x), np.uint8)
    archive(folder, npy(x.reshape(-1, 1, 8, 8)), zipfile.ZIP_DEFLATED)


@case("not a regular file")
def a_pipe(folder: Path) -> None:
    os.mkfifo(folder / "data.npz")


@case("not a regular file")
def a_device(folder: Path) -> None:
    (folder / "data.npz").symlink_to("/dev/zero")


@case("Too many levels of symbolic links")
def a_loop(folder: Path) -> None:
    (folder / "data.npz").symlink_to("data.npz")


@case("No such file")
def none(folder: Path) -> None:
    (folder / "other.npz").touch()


@case("Error -3 while decompressing data")
def broken_compression(folder: Path) -> None:
    path = archive(folder, npy(np.random.default_rng(0).integers(0, 255, X.shape, np.uint8)), zipfile.ZIP_DEFLATED)
    packed = zlib.compress(b"\0" * 8)
    patched(path, 30 + len("x.npy"), b"\xff" * len(packed))
