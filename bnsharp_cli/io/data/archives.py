"""NumPy archives, read with care: nothing in them runs, nothing is larger than it says, and most stays on the disk."""

from __future__ import annotations

import io
import math
import os
import struct
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from bnsharp_cli.io.data.naming import NamedDataError
from bnsharp_cli.io.data.splits import ArraySplit
from bnsharp_cli.io.files.printable_text import escaped, kind_and_line
from bnsharp_cli.io.files.regular_files import FileIdentity, RegularFile, open_regular, reason_of

IN_MEMORY = 2**30
"""Bytes of an array that is read whole: to check its sum, or because it is compressed or in Fortran's order."""

_BOMB = 64 * 2**20
_RATIO = 100
"""Arrays of more than ``_BOMB`` bytes that shrink by more than this are no data."""

_IMAGES = 4
_LARGEST_READ = 4 * 2**20
_CHUNK = 2**20
_LOCAL_HEADER = struct.Struct("<26xHH")
_REMEDY = "Save it with numpy.savez(FILE, x=images, y=labels): x (N, C, H, W) uint8 or floating, y (N, …), no objects."


class _UnsoundError(Exception):
    """What is wrong with an archive."""


class _BoundedReader(io.BufferedReader):
    """A zip file of which no part is read at once that is larger than the directory of any set of arrays."""

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = os.fstat(self.fileno()).st_size - self.tell() if size is None or size < 0 else size
        if wanted > _LARGEST_READ:
            raise _UnsoundError("its directory is larger than that of any set of arrays")
        return super().read(size)


@dataclass(frozen=True)
class StoredRows:
    """The rows of an array that lies uncompressed in a file, each read when it is wanted.

    Attributes:
        path: the file.
        known: which file it was when it was opened.
        offset: of the first row, in bytes.
        shape: of the array.
        dtype: of the array.
    """

    path: Path
    known: FileIdentity
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, indices: Tensor) -> Tensor:
        """The rows at ``indices``.

        Raises:
            NamedDataError: the file is no longer what it was.
        """
        size = math.prod(self.shape[1:]) * self.dtype.itemsize
        rows = np.empty((len(indices), size), np.uint8)
        try:
            with open_regular(self.path) as file:
                sound = file.identity == self.known
                for row, index in zip(rows, indices.tolist(), strict=True):
                    sound = sound and file.read_into(row.data, self.offset + index * size) == size
        except OSError as error:
            raise NamedDataError(f"Cannot read {escaped(self.path)}: {reason_of(error)}.", "Check the file.") from error
        if not sound:
            raise NamedDataError(f"{escaped(self.path)} changed while it was read.", "Measure a copy of it.")
        return _tensor(rows.view(self.dtype).reshape(len(indices), *self.shape[1:]))


@dataclass(frozen=True)
class _Header:
    """What an array says of itself, and how many bytes it takes to say it."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    length: int

    @property
    def size(self) -> int:
        """Bytes of the array."""
        return math.prod(self.shape) * self.dtype.itemsize


def open_archive(path: Path, split: str) -> ArraySplit:
    """Arrays ``x`` (N, C, H, W) and ``y`` (N, …) of a NumPy archive; ``x_test``, ``y_test`` for the test split.

    Uncompressed arrays stay in the file, however large, and are read row by row. Their sum is checked up to 1 GiB.

    Raises:
        NamedDataError: no such file or arrays, wrong shapes, Python objects, or sizes that are not what they say.
    """
    names = ("x", "y") if split == "train" else ("x_test", "y_test")
    try:
        with open_regular(path) as file, _BoundedReader(file.stream) as raw, zipfile.ZipFile(raw) as archive:
            x, y = (_array(file, archive, name) for name in names)
            _require(len(x) == len(y), f"{names[0]} has {len(x)} rows, {names[1]} {len(y)}")
    except Exception as error:  # zipfile and numpy raise a dozen kinds over bytes that are no archive
        plain = isinstance(error, OSError | _UnsoundError)
        why = reason_of(error) if plain else kind_and_line(error)
        raise NamedDataError(f"Cannot read {', '.join(names)} from {escaped(path)}: {why}.", _REMEDY) from error
    return ArraySplit(x, y, f"npz:{escaped(path)}")


def _array(file: RegularFile, archive: zipfile.ZipFile, name: str) -> Tensor | StoredRows:
    """One array of the archive, checked, as far as possible left where it is."""
    member = _member(archive, name, file.size)
    with archive.open(member) as stream:
        header = _header(name, stream, member)
        if member.compress_type != zipfile.ZIP_STORED or header.fortran:
            _require(header.size <= IN_MEMORY, f"{name} is larger than 1 GiB and compressed or in Fortran's order")
            return _in_memory(stream, header)
        while header.size <= IN_MEMORY and stream.read(_CHUNK):  # to its end, where zipfile compares the sums
            pass
    return _in_place(file, member, header)


def _member(archive: zipfile.ZipFile, name: str, most: int) -> zipfile.ZipInfo:
    found = [member for member in archive.infolist() if member.filename == f"{name}.npy"]
    there = ", ".join(member.filename.removesuffix(".npy") for member in archive.infolist()) or "nothing"
    _require(bool(found), f"there is no {name}, only {escaped(there)}")
    _require(len(found) == 1, f"there are {len(found)} arrays {name}")
    member = found[0]
    _require(not member.flag_bits & 1, f"{name} is encrypted")
    known = member.compress_type in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
    _require(known, f"{name} is packed in a way that numpy never uses")
    ratio = member.file_size / max(1, member.compress_size)
    _require(member.file_size <= _BOMB or ratio <= _RATIO, f"{name} unpacks to {ratio:.0f} times its size")
    _require(member.compress_size <= most, f"{name} declares {member.compress_size} bytes in a file of {most}")
    return member


def _header(name: str, stream: Any, member: zipfile.ZipInfo) -> _Header:
    """Read, and compared with the size of the member: no shape can claim more than there is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's about headers of Python 2
        version = npy.read_magic(stream)
        _require(version in {(1, 0), (2, 0)}, f"{name} has fields with names")
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        header = _Header(*read(stream), stream.tell())
    _require(not header.dtype.hasobject, f"{name} holds Python objects, which would run code when read")
    images, kind, shape = name.startswith("x"), header.dtype.kind, header.shape
    wanted = "uint8 or floating (N, C, H, W)" if images else "integers or floating (N, …)"
    typed = kind == "f" or (header.dtype == np.uint8 if images else kind in "iu")
    shaped = len(shape) == _IMAGES if images else len(shape) > 0
    found = f"{header.dtype} of shape {shape}"
    _require(typed and shaped and min(shape) >= 0, f"{name} is {escaped(found)}, expected {wanted}")
    _require(min(shape) > 0, f"{name} is empty, of shape {shape}")
    size = member.file_size - header.length
    _require(header.size == size, f"{name} declares {header.size} bytes and has {size}")
    return header


def _in_place(file: RegularFile, member: zipfile.ZipInfo, header: _Header) -> StoredRows:
    local = file.read(member.header_offset, _LOCAL_HEADER.size)
    start = member.header_offset + _LOCAL_HEADER.size + sum(_LOCAL_HEADER.unpack(local)) + header.length
    _require(start + header.size <= file.size, "it ends early")
    return StoredRows(file.path, file.identity, start, header.shape, header.dtype)


def _in_memory(stream: Any, header: _Header) -> Tensor:
    content = np.empty(header.size, np.uint8)
    filled = 0
    while part := stream.read(_CHUNK):
        content[filled : filled + len(part)] = np.frombuffer(part, np.uint8)
        filled += len(part)
    _require(filled == header.size, "it ends early")
    array = content.view(header.dtype)
    return _tensor(array.reshape(header.shape, order="F" if header.fortran else "C"))


def _tensor(array: np.ndarray[Any, Any]) -> Tensor:
    """uint8 as it is, other integers as int64, float64 and what is wider as float64, other floats as float32."""
    if array.dtype.kind in "iu" and array.dtype != np.uint8:
        array = array.astype(np.int64)
    elif array.dtype.kind == "f":
        array = array.astype(np.float64 if array.dtype.itemsize >= 8 else np.float32)
    return torch.from_numpy(np.ascontiguousarray(array))


def _require(sound: bool, problem: str) -> None:
    if not sound:
        raise _UnsoundError(problem)
