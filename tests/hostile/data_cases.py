"""Archives that say two things of one array, and files under the names of torchvision's.

The archives join the table of ``archive_cases``; torchvision's files are here.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from tests.hostile.archive_cases import X, Y, archive, directory, header, npy, patched, shaped
from tests.hostile.archive_cases import case as archive_case


def shapes(name: str, says: str, x: str) -> None:
    """An archive whose images have a header of their own."""
    archive_case(says)(partial_named(name, lambda folder: archive(folder, x.encode("latin1") + X.tobytes())))


def partial_named(name: str, write: Callable[[Path], object]) -> Callable[[Path], object]:
    named = partial(write)
    named.__name__ = name  # type: ignore[attr-defined]  # the table asks for it
    return named


NO_HEADER = "x has a header that is not that of an array of numbers"
for _name, _text in {
    "a_shape_of_truth": "{'descr': '|u1', 'fortran_order': False, 'shape': (8, 1, 8, True), }",
    "a_shape_of_fractions": "{'descr': '|u1', 'fortran_order': False, 'shape': (8, 1, 8, 8.0), }",
    "a_shape_of_shapes": "{'descr': '|u1', 'fortran_order': False, 'shape': ((8,), 1, 8, 8), }",
    "a_power": "{'descr': '|u1', 'fortran_order': False, 'shape': (2**3, 1, 8, 8), }",
    "five_thousand_digits": f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({'9' * 3000}, 1, 8, 8), }}",
    "two_shapes": "{'descr': '|u1', 'fortran_order': False, 'shape': (8, 1, 8, 8), 'shape': (8, 1, 8, 8), }",
    "an_order_of_one": "{'descr': '|u1', 'fortran_order': 1, 'shape': (8, 1, 8, 8), }",
    "no_type": "{'fortran_order': False, 'shape': (8, 1, 8, 8), }",
    "more_than_a_header": "{'descr': '|u1', 'fortran_order': False, 'shape': (8, 1, 8, 8), 'more': 1, }",
    "fields_in_a_list": "{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (8, 1, 8, 8), }",
}.items():
    shapes(_name, NO_HEADER, header(_text).decode("latin1"))
shapes("an_unknown_type", "x is of no type of numbers", shaped("(8, 1, 8, 8)", "<q7").decode("latin1"))
shapes("a_header_of_pages", "x has a header of 5001 bytes, longer than", header(" " * 5000).decode("latin1"))


@archive_case("each label of y has 70000 numbers, more than 65536")
def labels_beyond_images(folder: Path) -> None:
    np.savez_compressed(folder / "data.npz", x=X, y=np.zeros((8, 70_000), np.uint8))


@archive_case("x has 8 rows, y 900000000")
def labels_are_counted_before_they_are_read(folder: Path) -> None:
    path = archive(folder, npy(X), y=shaped("(900000000,)") + bytes(8))
    size = len(shaped("(900000000,)")) + 900_000_000
    begin = path.read_bytes().rindex(b"PK\3\4")
    whole = path.read_bytes()
    end = whole.index(b"PK\1\2")
    tail = bytearray(whole[end:])
    second = tail.rindex(b"PK\1\2")
    struct.pack_into("<2I", tail, second + 20, size, size)
    struct.pack_into("<I", tail, len(tail) - 6, end + 900_000_000 - 8)
    with path.open("r+b") as stream:
        stream.seek(begin + 18)
        stream.write(struct.pack("<2I", size, size))
        stream.truncate(end)
        stream.truncate(end + 900_000_000 - 8)
        stream.seek(0, os.SEEK_END)
        stream.write(tail)


@archive_case("the header before x is not what the directory says")
def another_local_name(folder: Path) -> None:
    patched(archive(folder, npy(X)), 30, b"z")


@archive_case("it has a member of two names")
def a_second_name_in_an_extra_field(folder: Path) -> None:
    with zipfile.ZipFile(folder / "data.npz", "w") as target:
        for name, array in (("evil.npy", X), ("y.npy", Y)):
            entry = zipfile.ZipInfo(name)
            unicode_name = struct.pack("<BI", 1, zlib.crc32(name.encode())) + b"x.npy"
            entry.extra = struct.pack("<HH", 0x7075, len(unicode_name)) + unicode_name if array is X else b""
            target.writestr(entry, npy(array))


@archive_case("its end counts 3 members, its directory has 2")
def a_member_too_few(folder: Path) -> None:
    path = archive(folder, npy(X))
    patched(path, path.stat().st_size - 14, struct.pack("<2H", 3, 3))


@archive_case("it is no zip archive of arrays: its directory is not where it should be")
def a_comment_at_the_end(folder: Path) -> None:
    with zipfile.ZipFile(archive(folder, npy(X)), "a") as target:
        target.comment = b"PK\5\6" + bytes(18)


@archive_case("x declares two sizes")
def stored_in_two_sizes(folder: Path) -> None:
    path = archive(folder, npy(X))
    patched(path, directory(path) + 24, struct.pack("<I", 2**20))


@archive_case("it is no zip archive of arrays: its directory is not where it should be")
def bytes_before_the_archive(folder: Path) -> None:
    path = archive(folder, npy(X))
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())


@archive_case("x ends early")
def fewer_bytes_than_declared(folder: Path) -> None:
    path = archive(folder, shaped("(8, 1, 8, 8)") + X[:7].tobytes(), zipfile.ZIP_DEFLATED)
    size = struct.pack("<I", len(shaped("(8, 1, 8, 8)")) + X.nbytes)
    patched(path, directory(path) + 24, size)
    patched(path, 22, size)


@archive_case("x unpacks to more than")
def more_bytes_than_declared(folder: Path) -> None:
    path = archive(folder, shaped("(8, 1, 8, 8)") + bytes(64 * 2**20), zipfile.ZIP_DEFLATED)
    size = struct.pack("<I", len(shaped("(8, 1, 8, 8)")) + X.nbytes)
    patched(path, directory(path) + 24, size)
    patched(path, 22, size)


TORCHVISION: dict[str, tuple[str, Callable[[Path], object], str]] = {}
"""By name: which data set, what writes it into a folder, and a part of the line that the command must print."""


def numbers(path: Path, *shape: int, size: int) -> None:
    """A file of MNIST's format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack(f">I{len(shape)}I", 2048 + len(shape), *shape) + bytes(size))


def mnist(folder: Path, images: tuple[int, ...] = (8, 8, 8), labels: int = 8, size: int = 512) -> Path:
    raw = folder / "MNIST" / "raw"
    numbers(raw / "train-images-idx3-ubyte", *images, size=size)
    numbers(raw / "train-labels-idx1-ubyte", labels, size=labels)
    return raw


def replaced(path: Path, make: Callable[[Path], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    make(path)


def huge(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(2**40)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


BATCH = Path("cifar-10-batches-py", "data_batch_1")
TORCHVISION |= {
    "a_pipe": ("cifar10", lambda folder: replaced(folder / BATCH, os.mkfifo), "not a regular file"),
    "a_device": ("cifar10", lambda folder: replaced(folder / BATCH, device), "not a regular file"),
    "a_terabyte": ("cifar10", lambda folder: replaced(folder / BATCH, huge), "takes 1048576 MiB"),
    "a_matrix_pipe": ("svhn", lambda folder: replaced(folder / "train_32x32.mat", os.mkfifo), "not a regular file"),
    "digits_pipe": (
        "mnist",
        lambda folder: replaced(mnist(folder) / "train-images-idx3-ubyte", os.mkfifo),
        "not a regular file",
    ),
    "digits_device": (
        "mnist",
        lambda folder: replaced(mnist(folder) / "train-labels-idx1-ubyte", device),
        "not a regular file",
    ),
    "digits_terabyte": (
        "mnist",
        lambda folder: replaced(mnist(folder) / "train-images-idx3-ubyte", huge),
        "takes 1048576 MiB",
    ),
    "too_many_digits": (
        "mnist",
        lambda folder: mnist(folder, (2**31, 2**31, 2**31)),
        "its size is not what its first numbers say",
    ),
    "fewer_labels": ("mnist", lambda folder: mnist(folder, labels=3), "it has not as many images as labels"),
}
