"""The tensors that a pickle asks torch for, checked against the bytes there are before torch sees it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from bnsharp_cli.io.containers.pickle_values import Budget, Entries, Items, PickleRefusedError, Sequence, require_key
from bnsharp_cli.io.containers.stand_ins import PLAIN_STAND_INS

_ITEM_SIZES = {
    "BFloat16": 2,
    "Bool": 1,
    "Byte": 1,
    "Char": 1,
    "ComplexDouble": 16,
    "ComplexFloat": 8,
    "Double": 8,
    "Float": 4,
    "Half": 2,
    "Int": 4,
    "Long": 8,
    "Short": 2,
}
DTYPES = {str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)}
_NO_DENSE_TENSORS = {
    "torch._utils._rebuild_sparse_tensor": "a sparse tensor",
    "torch._utils._rebuild_qtensor": "a quantised tensor",
    "torch._utils._rebuild_meta_tensor_no_storage": "a meta tensor, which has no values",
    "torch._utils._rebuild_nested_tensor": "a nested tensor",
    "torch._tensor._rebuild_from_type_v2": "a tensor with attributes of its own",
    "torch.serialization._get_layout": "a sparse tensor",
}
_QUANTISED = ("QInt8", "QUInt8", "QInt32", "QUInt4x2", "QUInt2x4")
_IDENTITY_LENGTH = {"zip": 5, "legacy": 6}
_MOST_DIMENSIONS = 64
_LARGEST_SIZE = 2**48
_OVERLAP = 4
_OVERLAP_ALLOWANCE = 64 * 2**20


@dataclass(frozen=True)
class StorageType:
    """A class of storage, and the bytes of one of its items; none where they are quantised."""

    name: str
    item_size: int


@dataclass(frozen=True)
class Storage:
    """A piece of the file, or of a storage."""

    key: str
    kind: StorageType
    count: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.kind.item_size * self.count


@dataclass(frozen=True)
class Tensor:
    """A tensor that its storage has enough bytes for."""

    shape: tuple[int, ...]


class TensorPlans:
    """What a pickle asks for, and the functions of ours by which it asks.

    Args:
        stored: the bytes that a storage of a key has in the file; ``None`` for a legacy file, where storages follow.
        budget: what reading may cost.
    """

    def __init__(self, stored: Callable[[str], int | None] | None, budget: Budget) -> None:
        self.storages: dict[str, Storage] = {}
        self._views: dict[str, Storage] = {}
        self._stored, self._budget = stored, budget
        self._storage_bytes = self._tensor_bytes = 0

    def stand_ins(self) -> Mapping[str, Any]:
        """Our function or value for every global that may occur in weights."""
        return {
            **PLAIN_STAND_INS,
            **DTYPES,
            **{name: _refusal(kind) for name, kind in _NO_DENSE_TENSORS.items()},
            **{f"torch.{kind}Storage": StorageType(kind, size) for kind, size in _ITEM_SIZES.items()},
            **{f"torch.{kind}Storage": StorageType(kind, 0) for kind in _QUANTISED},
            **{f"torch.storage.{name}": StorageType("Untyped", 1) for name in ("UntypedStorage", "_UntypedStorage")},
            "torch.Tensor": "Tensor",
            "torch.nn.parameter.Parameter": "Parameter",
            "torch._utils._rebuild_tensor": self.tensor,
            "torch._utils._rebuild_tensor_v2": self.tensor,
            "torch._utils._rebuild_tensor_v3": self.tensor_of_type,
            "torch._utils._rebuild_parameter": _parameter,
            "torch.Size": plain_size,
            "torch.device": _device,
            "collections.OrderedDict": self._ordered,
            "collections.Counter": self._ordered,
            "builtins.set": self._set,
            "builtins.complex": complex,
            "builtins.bytearray": _byte_array,
            "_codecs.encode": _encode,
        }

    def storage(self, identity: tuple[Any, ...]) -> Storage:
        """What a persistent id refers to: ``("storage", type, key, location, count)``, with a view in old files."""
        if len(identity) != _IDENTITY_LENGTH["zip" if self._stored else "legacy"] or identity[0] != "storage":
            raise PickleRefusedError("refers to something that is no storage")
        _, kind, key, location, count, *view = identity
        if not isinstance(kind, StorageType) or type(key) is not str or type(location) is not str:
            raise PickleRefusedError("describes a storage by something else than type, key and place")
        if location == "meta":
            raise PickleRefusedError("holds a meta tensor, which has no values")
        if not kind.item_size:
            raise PickleRefusedError("holds a quantised tensor")
        found = Storage(key, kind, _natural(count))
        if key not in self.storages:
            self.storages[key] = found
            self._storage_bytes += found.size
        if self.storages[key] != found or key in self._views:
            raise PickleRefusedError("describes one storage in two ways")
        stored = self._stored(key) if self._stored else found.size
        if stored != found.size:
            has = "none" if stored is None else f"{stored}"
            raise PickleRefusedError(f"is damaged (it declares a storage of {found.size} bytes where it has {has})")
        return self._view(found, view[0]) if view and view[0] is not None else found

    def tensor(
        self,
        storage: object,
        offset: object,
        size: object,
        stride: object,
        requires_grad: object = False,
        hooks: object = None,
        metadata: object = None,
    ) -> Tensor:
        """A dense tensor of the type of its storage."""
        if not isinstance(storage, Storage):
            raise PickleRefusedError("makes a tensor of something that is no storage")
        return self._tensor(storage, storage.kind.item_size, (offset, size, stride), (requires_grad, hooks, metadata))

    def tensor_of_type(
        self,
        storage: object,
        offset: object,
        size: object,
        stride: object,
        requires_grad: object,
        hooks: object,
        dtype: object,
        metadata: object = None,
    ) -> Tensor:
        """A dense tensor of a type that its storage does not say."""
        if not isinstance(storage, Storage) or not isinstance(dtype, torch.dtype):
            raise PickleRefusedError("makes a tensor of something that is no storage")
        return self._tensor(storage, dtype.itemsize, (offset, size, stride), (requires_grad, hooks, metadata))

    def _tensor(self, storage: Storage, item_size: int, place: tuple[Any, ...], extras: tuple[Any, ...]) -> Tensor:
        offset, size, stride = _natural(place[0]), _naturals(place[1]), _naturals(place[2])
        requires_grad, hooks, metadata = extras
        if len(size) != len(stride) or type(requires_grad) is not bool or hooks or metadata:
            raise PickleRefusedError("describes a tensor as torch.save never does")
        count = math.prod(size)
        if count * item_size > storage.size:
            raise PickleRefusedError(f"has a tensor of shape {size} that declares more values than the file holds")
        reach = sum((one - 1) * step for one, step in zip(size, stride, strict=True)) if count else -1
        if (offset + reach + 1) * item_size > storage.size:
            raise PickleRefusedError(f"has a tensor of shape {size} that reaches beyond its storage")
        self._tensor_bytes += count * item_size
        if self._tensor_bytes > _OVERLAP * self._storage_bytes + _OVERLAP_ALLOWANCE:
            raise PickleRefusedError("makes many large tensors of the same few values")
        return Tensor(size)

    def _view(self, root: Storage, view: object) -> Storage:
        if not isinstance(view, Items) or len(view) != 3 or type(view[0]) is not str:
            raise PickleRefusedError("describes a part of a storage as torch.save never does")
        key, offset, count = view[0], _natural(view[1]), _natural(view[2])
        if offset + count > root.count or key in self.storages:
            raise PickleRefusedError("has a part of a storage that reaches beyond it")
        found = Storage(key, root.kind, count)
        if self._views.setdefault(key, found) != found:
            raise PickleRefusedError("describes one storage in two ways")
        return found

    def _ordered(self, *arguments: object) -> dict[Any, Any]:
        if not arguments:
            return {}
        (given,) = arguments
        entries: dict[Any, Any] = {}
        if isinstance(given, Entries):
            entries.update(given)
        elif isinstance(given, Sequence):
            self._budget.spend(objects=len(given))
            for pair in given:
                if not isinstance(pair, Sequence | Items) or len(pair) != 2:
                    raise PickleRefusedError("builds a dict of something else than pairs")
                require_key(pair[0])
                entries[pair[0]] = pair[1]
        else:
            raise PickleRefusedError("builds a dict of something else than pairs")
        return entries

    def _set(self, members: object = None) -> list[Any]:
        if not isinstance(members, Sequence):
            raise PickleRefusedError("builds a set of something else than a list")
        for member in members:
            require_key(member)
        return list(members)


def _refusal(kind: str) -> Callable[..., Any]:
    def refuse(*_: object) -> Any:
        raise PickleRefusedError(f"holds {kind}")

    return refuse


def _natural(value: object) -> int:
    if type(value) is not int or not 0 <= value < _LARGEST_SIZE:
        raise PickleRefusedError("has a size, stride or offset that is negative, beyond reach or no number")
    return value


def _naturals(values: object) -> tuple[int, ...]:
    if not isinstance(values, Items) or len(values) > _MOST_DIMENSIONS:
        raise PickleRefusedError("has a shape that is no short tuple")
    return tuple(_natural(value) for value in values)


def plain_size(sizes: object = ()) -> Items:
    """A ``torch.Size`` as a tuple.

    Raises:
        PickleRefusedError: anything but a few natural numbers.
    """
    if not isinstance(sizes, Items):
        raise PickleRefusedError("has a shape that is no short tuple")
    _naturals(sizes)
    return sizes


def _parameter(data: object, requires_grad: object = True, hooks: object = None) -> object:
    if not isinstance(data, Tensor) or type(requires_grad) is not bool or hooks:
        raise PickleRefusedError("describes a parameter as torch.save never does")
    return data


def _device(*place: object) -> str:
    if not place or len(place) > 2 or not isinstance(place[0], str):
        raise PickleRefusedError("names a device as torch.save never does")
    return ":".join(map(str, place))


def _encode(text: object, encoding: object = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in {"latin1", "latin-1"}:
        raise PickleRefusedError("encodes a text as torch.save never does")
    return text.encode("latin-1")


def _byte_array(data: object = b"", encoding: object = "latin-1") -> bytes:
    if not isinstance(data, bytes | str):
        raise PickleRefusedError("makes a bytearray of something else than bytes")
    return data if isinstance(data, bytes) else _encode(data, encoding)
