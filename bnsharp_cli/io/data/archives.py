"""NumPy archives, read with care: nothing in them runs, nothing is larger than it says, and most stays on the disk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bnsharp_cli.io.data.naming import NamedDataError
from bnsharp_cli.io.data.npy_headers import ArrayHeader, UnsoundArchiveError
from bnsharp_cli.io.data.npz_members import ArrayMember, array_members, array_names, numbers_of
from bnsharp_cli.io.data.splits import ArraySplit
from bnsharp_cli.io.files.printable_text import escaped
from bnsharp_cli.io.files.regular_files import FileIdentity, RegularFile, open_regular, reason_of

IN_MEMORY = 2**30
"""Bytes of an array that is read whole: to check its sum, or because it is compressed or in Fortran's order."""

_IMAGES = 4
_LARGEST_EXAMPLE = 2**25
"""Numbers of an image."""

_LABELS_OF_ANY, _LABELS_FOR_EACH = 2**16, 64
"""Numbers of an example's label: so many for an image of any size, or so many for each of its numbers."""

_REMEDY = (
    "Save it with numpy.savez(FILE, x=images, y=labels): x images (N, C, H, W), uint8 or floating, or tokens (N, …), "
    "int64; y (N, …); no objects."
)


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
class LoadedRows:
    """The rows of an array in memory, in the precision of the file; those that are wanted are converted.

    Attributes:
        array: all of them.
    """

    array: np.ndarray[Any, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the whole array."""
        return tuple(self.array.shape)

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, indices: Tensor) -> Tensor:
        """The rows at ``indices``."""
        return _tensor(self.array[indices.numpy()])


def open_archive(path: Path, split: str) -> ArraySplit:
    """Arrays ``x`` (N, C, H, W), or integers (N, …), and ``y`` (N, …); ``x_test``, ``y_test`` for the test split.

    Uncompressed arrays stay in the file, however large, and are read row by row. Their sum is checked up to 1 GiB.
    What the headers say is checked before any number is read.

    Raises:
        NamedDataError: no such file or arrays, wrong shapes, Python objects, or sizes that are not what they say.
    """
    names = ("x", "y") if split == "train" else ("x_test", "y_test")
    try:
        with open_regular(path) as file:
            arrays = array_members(file, names)
            _require_plausible(arrays)
            x, y = (_rows(file, array) for array in arrays)
            if not file.is_unchanged():
                raise UnsoundArchiveError("it changed while it was read")
    except (OSError, ValueError, UnsoundArchiveError) as error:
        reason = f"Cannot read {', '.join(names)} from {escaped(path)}: {reason_of(error)}."
        raise NamedDataError(reason, _REMEDY) from error
    return ArraySplit(x, y, f"npz:{escaped(path)}")


def is_undivided_archive(path: Path) -> bool:
    """Whether an archive has examples, and none for testing."""
    try:
        with open_regular(path) as file:
            names = array_names(file)
    except (OSError, ValueError, UnsoundArchiveError):  # whoever opens it says what is wrong
        return False
    return "x" in names and not names & {"x_test", "y_test"}


def _require_plausible(arrays: Sequence[ArrayMember]) -> None:
    """Refuse images and labels by their headers alone."""
    for array in arrays:
        _require_layout(array.name, array.header)
        _require_size(array)
    (x, images), (y, labels) = ((array.name, array.header) for array in arrays)
    if images.shape[0] != labels.shape[0]:
        raise UnsoundArchiveError(f"{x} has {images.shape[0]} rows, {y} {labels.shape[0]}")
    if images.row > _LARGEST_EXAMPLE:
        raise UnsoundArchiveError(f"each image of {x} has {images.row} numbers, more than {_LARGEST_EXAMPLE}")
    most = max(_LABELS_OF_ANY, _LABELS_FOR_EACH * images.row)
    if labels.row > most:
        raise UnsoundArchiveError(f"each label of {y} has {labels.row} numbers, more than {most} for such images")


def _require_layout(name: str, header: ArrayHeader) -> None:
    images, kind, shape = name.startswith("x"), header.dtype.kind, header.shape
    wanted = "uint8 or floating (N, C, H, W), or int64 (N, …)" if images else "integers or floating (N, …)"
    pixels = kind == "f" or header.dtype == np.uint8
    typed = pixels or (kind == "i" if images else kind in "iu")
    shaped = len(shape) == _IMAGES if images and pixels else len(shape) > (1 if images else 0)
    if not (typed and shaped and min(shape) >= 0):
        found = escaped(f"{header.dtype} of shape {shape}")
        raise UnsoundArchiveError(f"{name} is {found}, expected {wanted}")
    if min(shape) == 0:
        raise UnsoundArchiveError(f"{name} is empty, of shape {shape}")


def _require_size(array: ArrayMember) -> None:
    """Refuse a shape that claims more than there is."""
    name, header, there = array.name, array.header, array.member.size - array.skipped
    if header.size != there:
        raise UnsoundArchiveError(f"{name} declares {header.size} bytes and has {there}")
    if header.size > IN_MEMORY and (array.packed or header.fortran):
        raise UnsoundArchiveError(f"{name} is larger than 1 GiB and compressed or in Fortran's order")


def _rows(file: RegularFile, array: ArrayMember) -> LoadedRows | StoredRows:
    """The rows of an array, where possible left where they are."""
    header = array.header
    if array.packed or header.fortran:
        return LoadedRows(_in_memory(file, array))
    if header.size <= IN_MEMORY:
        for _ in numbers_of(file, array):  # to its end, where the sums are compared
            pass
    return StoredRows(file.path, file.identity, array.begin + array.skipped, header.shape, header.dtype)


def _in_memory(file: RegularFile, array: ArrayMember) -> np.ndarray[Any, Any]:
    header, filled = array.header, 0
    content = np.empty(header.size, np.uint8)
    for piece in numbers_of(file, array):
        content[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
        filled += len(piece)
    return content.view(header.dtype).reshape(header.shape, order="F" if header.fortran else "C")


def _tensor(array: np.ndarray[Any, Any]) -> Tensor:
    """uint8 as it is, other integers as int64, float64 and what is wider as float64, other floats as float32."""
    if array.dtype.kind in "iu" and array.dtype != np.uint8:
        if array.dtype.kind == "u" and array.size and int(array.max()) > np.iinfo(np.int64).max:
            raise NamedDataError(
                f"The archive holds {int(array.max())}, more than a label or a token can be.",
                "Store labels and tokens as int64.",
            )
        array = array.astype(np.int64)
    elif array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what is too large for float64 becomes infinite, which is refused later
            array = array.astype(np.float64 if array.dtype.itemsize >= 8 else np.float32)
    return torch.from_numpy(np.ascontiguousarray(array))
