"""A checked description and the bytes of its files, made into plain containers and dense tensors."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bnsharp_cli.io.containers.checked_description import decoded
from bnsharp_cli.io.containers.description import (
    ARRAY,
    BYTES,
    COMPLEX,
    DICT,
    LIST,
    SET,
    TENSOR,
    TUPLE,
    UNREAD,
    Description,
    Node,
    StoredBytes,
    StoredTensor,
)
from bnsharp_cli.io.containers.dtypes import UNTYPED
from bnsharp_cli.io.containers.stored_bytes import FileBytes
from bnsharp_cli.io.containers.unsound_content import UnsoundContentError, damaged


@dataclass(frozen=True, eq=False)
class UnreadObject:
    """An object of a class that is not read: neither the class nor the object was made, and nothing of it was kept.

    Attributes:
        holds_tensors: whether tensors are in it, at any depth.
        name: of the class, or of the function that would make the object; a stranger's text.
    """

    holds_tensors: bool
    name: str


_SEQUENCES: Mapping[str, Callable[..., Any]] = {LIST: list, TUPLE: tuple, SET: set}


def built_nodes(description: Description, files: Mapping[int, FileBytes] | None) -> list[Any]:
    """What each node of a description stands for; what was shared stays shared.

    Args:
        description: a checked one.
        files: what was read of each, by its number; the tensors of the result share the bytes. ``None`` for an outline,
            whose tensors are on the meta device.

    Raises:
        UnsoundContentError: tensors in pieces that do not fit together.
    """
    for part in description.stored:
        if part.order != sys.byteorder and part.dtype == UNTYPED.name:
            raise UnsoundContentError("was written on a machine of another byte order")
    if files is None:
        tensors = [_outline(tensor) for tensor in description.tensors]
    else:
        read = (files[part.file].tensors[part.begin, part.length] for part in description.stored)
        stored = [_in_machine_order(part, tensor) for part, tensor in zip(description.stored, read, strict=True)]
        tensors = [_dense(tensor, stored[tensor.stored]) for tensor in description.tensors]
    made: list[Any] = []
    for node in description.nodes:
        made.append(_built(node, made, tensors))
    return made


def built_value(value: Any, made: Sequence[Any]) -> Any:
    """What a value of a description stands for."""
    return made[value[0]] if isinstance(value, list) else value


def _built(node: Node, made: Sequence[Any], tensors: Sequence[Tensor]) -> Any:
    kind, *parts = node
    if kind == TENSOR:
        return tensors[parts[0]]
    if kind == DICT:
        values = [built_value(part, made) for part in parts]
        return dict(zip(values[::2], values[1::2], strict=True))
    if kind in _SEQUENCES:
        return _SEQUENCES[kind](built_value(part, made) for part in parts)
    if kind == BYTES:
        return decoded(parts[0])
    if kind == COMPLEX:
        return complex(*parts)
    if kind == ARRAY:
        return _from_array(*parts)
    if kind == UNREAD:
        return UnreadObject(*parts)
    dtype, shape, *pieces = parts
    return _assembled(dtype, shape, [(built_value(value, made), at) for value, at in pieces])


def _in_machine_order(part: StoredBytes, stored: Tensor) -> Tensor:
    """The bytes in the order of this machine."""
    if part.order != sys.byteorder:
        _swap(stored, getattr(torch, part.dtype))
    return stored


def _swap(tensor: Tensor, dtype: torch.dtype) -> None:
    tensor.untyped_storage().byteswap(dtype)  # type: ignore[no-untyped-call]  # torch states no types here


def _dense(tensor: StoredTensor, stored: Tensor) -> Tensor:
    empty = torch.empty(0, dtype=getattr(torch, tensor.dtype))
    return empty.set_(stored.untyped_storage(), tensor.offset, tensor.shape, tensor.stride)


def _outline(tensor: StoredTensor) -> Tensor:
    """Its type and shape, without a byte of it."""
    return torch.empty_strided(tensor.shape, tensor.stride, dtype=getattr(torch, tensor.dtype), device="meta")


def _from_array(dtype: str, shape: list[int], fortran: bool, data: str) -> Tensor:
    """The tensor of a NumPy array, whose bytes stand in the pickle."""
    kind: torch.dtype = getattr(torch, dtype)
    content = bytearray(decoded(data))
    flat = torch.frombuffer(content, dtype=kind) if content else torch.empty(0, dtype=kind)
    if sys.byteorder == "big":
        _swap(flat, kind)
    if not fortran:
        return flat.reshape(shape)
    tensor = flat.reshape(shape[::-1])
    return tensor.permute(*range(tensor.ndim)[::-1]).contiguous()


def _assembled(dtype: str, shape: list[int], pieces: Sequence[tuple[Any, list[int]]]) -> Tensor:
    """The whole of which each piece fills a box."""
    kind = getattr(torch, dtype)
    inside = all(isinstance(piece, Tensor) and piece.dtype is kind and piece.ndim == len(shape) for piece, _ in pieces)
    if not inside or sum(piece.numel() for piece, _ in pieces) != torch.Size(shape).numel():
        raise damaged("a tensor whose pieces do not make the whole")
    on_meta = any(piece.is_meta for piece, _ in pieces)
    whole = torch.zeros(shape, dtype=kind, device="meta" if on_meta else "cpu")
    for piece, at in pieces:
        box = tuple(slice(begin, begin + length) for begin, length in zip(at, piece.shape, strict=True))
        if whole[box].shape != piece.shape:
            raise damaged("a tensor whose pieces do not make the whole")
        whole[box] = piece
    return whole
