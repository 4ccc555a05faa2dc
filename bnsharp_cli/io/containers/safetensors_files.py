"""Files of safetensors: the header must describe the file to the last byte before the library opens it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from bnsharp_cli.errors import CheckpointRefusedError
from bnsharp_cli.io.containers.remedies import COPY_AGAIN
from bnsharp_cli.io.files.printable_text import one_line, shown_path
from bnsharp_cli.io.files.regular_files import RegularFile

_HEADER_LENGTH = 8
_LARGEST_HEADER = 16 * 2**20
_MOST_MARKS = {b"{": 2**17, b"[": 2**18, b",": 2**20}
"""How often each may occur in a header, counted before it is parsed."""

_LARGEST_SIZE = 2**48
_MOST_DIMENSIONS = 64
_METADATA = "__metadata__"
_ITEM_SIZES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 8),
}


def read_safetensors(file: RegularFile) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file by name, and its metadata.

    Raises:
        CheckpointRefusedError: a header that does not describe the file to the last byte.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        header = _header(file)
        metadata = header.pop(_METADATA, {})
        _check_metadata(metadata)
        _check_layout(header, file.size - _HEADER_LENGTH - _header_length(file))
        return dict(load_file(file.descriptor_path())), metadata
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError, OSError) as error:
        found = one_line(error)
        raise CheckpointRefusedError(
            f"{shown_path(file.path)} is a damaged safetensors file: {found}.",
            COPY_AGAIN,
            expected="a header that describes the file to the last byte",
            found=found,
        ) from error


def _header_length(file: RegularFile) -> int:
    return int.from_bytes(file.read(0, _HEADER_LENGTH), "little")


def _header(file: RegularFile) -> dict[str, Any]:
    length = _header_length(file)
    if length > _LARGEST_HEADER:
        raise ValueError(f"its header has {length} bytes, more than {_LARGEST_HEADER // 2**20} MiB")
    text = file.read(_HEADER_LENGTH, length)
    if any(text.count(mark) > most for mark, most in _MOST_MARKS.items()):
        raise ValueError("its header has more entries than any network")
    header = json.loads(text.decode("utf-8"), object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    return header


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("its header names something twice")
    return entries


def _no_constant(name: str) -> Any:
    raise ValueError(f"its header holds {name}")


def _check_metadata(metadata: object) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata are not texts by name")


def _check_layout(header: Mapping[str, Any], available: int) -> None:
    """Refuse tensors that do not fill the file without gaps, or overlap."""
    ranges = sorted(_byte_range(name, entry) for name, entry in header.items())
    end = 0
    for begin, stop, name in ranges:
        if begin != end:
            raise ValueError(f"'{one_line(name)}' begins at byte {begin}, expected {end}")
        end = stop
    if end != available:
        raise ValueError(f"its header describes {end} bytes of tensors, the file has {available}")


def _byte_range(name: str, entry: object) -> tuple[int, int, str]:
    """Where a tensor begins and stops, and its name; it is as long as its type and shape say."""
    shown = f"'{one_line(name)}'"
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{shown} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _ITEM_SIZES:
        raise ValueError(f"{shown} has the unknown type {one_line(dtype, 40)}")
    if not _are_sizes(shape) or len(shape) > _MOST_DIMENSIONS:
        raise ValueError(f"{shown} has a shape that is no list of sizes")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"{shown} has offsets that are no pair of numbers")
    begin, stop = offsets
    if math.prod(shape) * _ITEM_SIZES[dtype] != stop - begin:
        raise ValueError(f"{shown} does not fit into its {stop - begin} bytes")
    return begin, stop, name


def _are_sizes(values: object) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < _LARGEST_SIZE for value in values)
