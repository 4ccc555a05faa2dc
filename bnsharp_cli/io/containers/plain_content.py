"""What torch has read, made plain: a bounded walk without recursion that visits every object once.

The last check of a file of ``torch.save``. All that it takes from the checks before it is that keys are plain values.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from bnsharp_cli.io.containers.stand_ins import AttributeRecord, NumpyArray, NumpyType
from bnsharp_cli.io.containers.unsound_content import UnsoundContentError

_MOST_OBJECTS = 2_000_000
_ATOMS = {type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device}
_MAPPINGS = (dict, collections.OrderedDict, collections.Counter, AttributeRecord)
_SEQUENCES: Mapping[type, Callable[..., Any]] = {list: list, tuple: tuple, torch.Size: tuple, set: set}
_TENSORS = (Tensor, torch.nn.Parameter)


def plain_content(root: object) -> Any:
    """Copy content into dicts, lists, tuples, sets, plain values and dense tensors; what was shared stays shared.

    Raises:
        UnsoundContentError: anything else, a cycle, or too much of it.
    """
    made: dict[int, Any] = {}
    entered: set[int] = set()
    waiting: list[tuple[Any, bool]] = [(root, False)]
    steps = 0
    while waiting:
        value, ready = waiting.pop()
        steps += 1
        if steps > _MOST_OBJECTS:
            raise UnsoundContentError("holds more objects than the weights of any network")
        if id(value) in made:
            continue
        children = _children(value)
        if children and not ready:
            if id(value) in entered:
                raise UnsoundContentError("holds a container that refers to itself")
            entered.add(id(value))
            waiting.append((value, True))
            waiting.extend((child, False) for child in children)
            continue
        made[id(value)] = _rebuilt(value, made)
    return made[id(root)]


def _children(value: Any) -> list[Any]:
    """What ``value`` holds, without plain values: there may be many, and nothing has to be done for them."""
    kind = type(value)
    held = kind.values(value) if kind in _MAPPINGS else value if kind in _SEQUENCES else ()
    return [child for child in held if type(child) not in _ATOMS]


def _rebuilt(value: Any, made: Mapping[int, Any]) -> Any:
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind in _MAPPINGS:
        return {key: entry if type(entry) in _ATOMS else made[id(entry)] for key, entry in kind.items(value)}
    if kind in _SEQUENCES:
        return _SEQUENCES[kind](entry if type(entry) in _ATOMS else made[id(entry)] for entry in value)
    if kind in _TENSORS:
        return _dense(value)
    if kind is NumpyArray:
        return _tensor_of(value)
    if kind is NumpyType:
        return value.torch_name
    if kind is bytearray:
        return bytes(value)
    raise UnsoundContentError(f"holds an object of type {kind.__name__}")


def _dense(tensor: Tensor) -> Tensor:
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized or tensor.is_nested:
        raise UnsoundContentError("holds a tensor that is not dense (sparse, quantised, nested or meta)")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise UnsoundContentError(f"has a tensor of shape {tuple(tensor.shape)} that declares more values than it has")
    return tensor.detach()


def _tensor_of(array: NumpyArray) -> Tensor:
    dtype: torch.dtype = getattr(torch, array.type.torch_name)
    shape = array.shape[::-1] if array.fortran else array.shape
    flat = torch.frombuffer(bytearray(array.data), dtype=dtype) if array.data else torch.empty(0, dtype=dtype)
    tensor = flat.reshape(shape)
    return tensor.permute(*range(tensor.ndim)[::-1]).contiguous() if array.fortran else tensor
