"""Files of safetensors: the header must describe the file to the last byte."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from typing import Any

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.containers.bounded_json import bounded_json
from bnsharp_cli.io.containers.content_writer import Found
from bnsharp_cli.io.containers.dtypes import BY_SAFETENSORS, DType
from bnsharp_cli.io.containers.remedies import COPY_AGAIN
from bnsharp_cli.io.containers.tensor_layouts import (
    MOST_DIMENSIONS,
    SIZE_LIMIT,
    StorageLayout,
    StoragePlan,
    TensorPlan,
)
from bnsharp_cli.io.files.printable_text import one_line, shown_path
from bnsharp_cli.io.files.regular_files import RegularFile

_HEADER_LENGTH = 8
_LARGEST_HEADER = 16 * 2**20
_METADATA = "__metadata__"


def read_safetensors(file: RegularFile) -> Found:
    """The tensors of a file by name, and its metadata.

    Raises:
        CheckpointRefusedError: a header that does not describe the file to the last byte.
    """
    try:
        length_bytes = file.read(0, _HEADER_LENGTH)
        length = int.from_bytes(length_bytes, "little")
        text = _header_text(file, length)
        header = _header(text)
        metadata = header.pop(_METADATA, {})
        _check_metadata(metadata)
        begin = _HEADER_LENGTH + length
        tensors = {name: _tensor(name, entry, begin) for name, entry in header.items()}
        _check_layout(tensors, begin, file.size)
        checksum = (0, begin, zlib.crc32(text, zlib.crc32(length_bytes)), "its header")
        return Found(tensors, metadata, checksums=[checksum])
    except (ValueError, RecursionError) as error:
        found = one_line(error)
        raise CheckpointRefusedError(
            f"{shown_path(file.path)} is a damaged safetensors file: {found}.",
            COPY_AGAIN,
            expected="a header that describes the file to the last byte",
            found=found,
            subject=file.path,
        ) from error


def _header_text(file: RegularFile, length: int) -> bytes:
    if length > _LARGEST_HEADER:
        raise ValueError(f"its header has {length} bytes, more than {_LARGEST_HEADER // 2**20} MiB")
    return file.read(_HEADER_LENGTH, length)


def _header(text: bytes) -> dict[str, Any]:
    try:
        header = bounded_json(text)
    except ValueError as error:
        raise ValueError(f"its header is not read: {one_line(error)}") from error
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    return header


def _check_metadata(metadata: object) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata are not texts by name")


def _check_layout(tensors: Mapping[str, TensorPlan], begin: int, size: int) -> None:
    """Refuse tensors that do not fill the file without gaps, or overlap."""
    end = begin
    for plan in sorted((plan.storage for plan in tensors.values()), key=lambda plan: (plan.begin, plan.size)):
        if plan.begin != end:
            raise ValueError(f"'{one_line(plan.key)}' begins at byte {plan.begin - begin}, expected {end - begin}")
        end += plan.size
    if end != size:
        raise ValueError(f"its header describes {end - begin} bytes of tensors, the file has {size - begin}")


def _tensor(name: str, entry: object, begin: int) -> TensorPlan:
    """A tensor that is as long as its type and shape say."""
    shown = f"'{name}'"
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{shown} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = _dtype(entry["dtype"], shown), entry["shape"], entry["data_offsets"]
    if not _are_sizes(shape) or len(shape) > MOST_DIMENSIONS:
        raise ValueError(f"{shown} has a shape that is no list of sizes")
    if math.prod(max(length, 1) for length in shape) >= SIZE_LIMIT:
        raise ValueError(f"{shown} has a shape that no tensor can have")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"{shown} has offsets that are no pair of numbers")
    first, stop = offsets
    count = math.prod(shape)
    if count * dtype.size != stop - first:
        raise ValueError(f"{shown} does not fit into its {stop - first} bytes")
    storage = StoragePlan(name, dtype, count, begin + first)
    return TensorPlan(storage, dtype, StorageLayout(0, tuple(shape), _contiguous(shape)))


def _dtype(name: object, shown: str) -> DType:
    if not isinstance(name, str) or name not in BY_SAFETENSORS:
        raise ValueError(f"{shown} has the unknown type {one_line(name, 40)}")
    return BY_SAFETENSORS[name]


def _contiguous(shape: list[int]) -> tuple[int, ...]:
    """The strides of a tensor whose last index varies fastest."""
    return tuple(math.prod(max(length, 1) for length in shape[axis + 1 :]) for axis in range(len(shape)))


def _are_sizes(values: object) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < SIZE_LIMIT for value in values)
