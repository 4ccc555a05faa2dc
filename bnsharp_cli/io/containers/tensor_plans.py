"""The tensors that a pickle asks torch for, checked against the bytes there are before torch reads the pickle.

The pickle reader calls the functions here where torch would build tensors. They build plans: how large a storage is,
what shape a tensor has. A plan that the file cannot keep is refused, so torch never allocates what is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from bnsharp_cli.io.containers.pickle_reader import Budget, PickledDict, PickledList, PickledTuple, require_key
from bnsharp_cli.io.containers.stand_ins import PLAIN_STAND_INS
from bnsharp_cli.io.containers.tensor_layouts import (
    UNLIKE_TORCH,
    StorageKind,
    StorageLayout,
    StoragePlan,
    TensorPlan,
    plain_size,
    whole_number,
)
from bnsharp_cli.io.containers.unsound_content import UnsoundContentError, damaged

TORCH_PROTOCOLS = (2,)
"""Protocols of pickle that torch reads as weights alone."""

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
_NO_STORAGE = "makes a tensor of something that is no storage"
_OVERLAP = 4
_OVERLAP_ALLOWANCE = 64 * 2**20


class TensorPlans:
    """The storages that a pickle speaks of, and the functions that it calls to build tensors of them.

    Args:
        stored: the bytes that a storage of a key has in the file; ``None`` for a legacy file, where storages follow.
        budget: what reading may cost.
    """

    def __init__(self, stored: Callable[[str], int | None] | None, budget: Budget) -> None:
        self.storages: dict[str, StoragePlan] = {}
        self._views: dict[str, StoragePlan] = {}
        self._stored, self._budget = stored, budget
        self._storage_bytes = self._tensor_bytes = 0

    def stand_ins(self) -> Mapping[str, Any]:
        """Our function or value for every global that may occur in weights."""
        return {
            **PLAIN_STAND_INS,
            **DTYPES,
            **{name: _refusal(kind) for name, kind in _NO_DENSE_TENSORS.items()},
            **{f"torch.{kind}Storage": StorageKind(kind, size) for kind, size in _ITEM_SIZES.items()},
            **{f"torch.{kind}Storage": StorageKind(kind, 0) for kind in _QUANTISED},
            **{f"torch.storage.{name}": StorageKind("Untyped", 1) for name in ("UntypedStorage", "_UntypedStorage")},
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

    def storage(self, identity: tuple[Any, ...]) -> StoragePlan:
        """What a persistent id refers to: ``("storage", type, key, location, count)``, with a view in old files."""
        if len(identity) != _IDENTITY_LENGTH["zip" if self._stored else "legacy"] or identity[0] != "storage":
            raise UnsoundContentError("refers to something that is no storage")
        _, kind, key, location, count, *view = identity
        if not isinstance(kind, StorageKind) or type(key) is not str or type(location) is not str:
            raise UnsoundContentError("describes a storage by something else than type, key and place")
        if location == "meta":
            raise UnsoundContentError("holds a meta tensor, which has no values")
        if not kind.item_size:
            raise UnsoundContentError("holds a quantised tensor")
        found = StoragePlan(key, kind, whole_number(count))
        if key not in self.storages:
            self.storages[key] = found
            self._storage_bytes += found.size
        if self.storages[key] != found or key in self._views:
            raise UnsoundContentError("describes one storage in two ways")
        stored = self._stored(key) if self._stored else found.size
        if stored != found.size:
            has = "none" if stored is None else f"{stored}"
            raise damaged(f"it declares a storage of {found.size} bytes where it has {has}")
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
    ) -> TensorPlan:
        """A dense tensor of the type of its storage."""
        if not isinstance(storage, StoragePlan):
            raise UnsoundContentError(_NO_STORAGE)
        layout = StorageLayout.of(offset, size, stride)
        _require_plain(requires_grad, hooks, metadata)
        return self._plan(storage, storage.kind.item_size, layout)

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
    ) -> TensorPlan:
        """A dense tensor of a type that its storage does not say."""
        if not isinstance(storage, StoragePlan) or not isinstance(dtype, torch.dtype):
            raise UnsoundContentError(_NO_STORAGE)
        layout = StorageLayout.of(offset, size, stride)
        _require_plain(requires_grad, hooks, metadata)
        return self._plan(storage, dtype.itemsize, layout)

    def _plan(self, storage: StoragePlan, item_size: int, layout: StorageLayout) -> TensorPlan:
        """The plan of a tensor that lies inside its storage; few tensors may share the same bytes."""
        shown = f"has a tensor of shape {layout.size} that"
        if layout.count * item_size > storage.size:
            raise UnsoundContentError(f"{shown} declares more values than the file holds")
        if layout.end * item_size > storage.size:
            raise UnsoundContentError(f"{shown} reaches beyond its storage")
        self._tensor_bytes += layout.count * item_size
        if self._tensor_bytes > _OVERLAP * self._storage_bytes + _OVERLAP_ALLOWANCE:
            raise UnsoundContentError("makes many large tensors of the same few values")
        return TensorPlan(layout.size)

    def _view(self, root: StoragePlan, view: object) -> StoragePlan:
        if not isinstance(view, PickledTuple) or len(view) != 3 or type(view[0]) is not str:
            raise UnsoundContentError("describes a part of a storage as torch.save never does")
        key, offset, count = view[0], whole_number(view[1]), whole_number(view[2])
        if offset + count > root.count or key in self.storages:
            raise UnsoundContentError("has a part of a storage that reaches beyond it")
        found = StoragePlan(key, root.kind, count)
        if self._views.setdefault(key, found) != found:
            raise UnsoundContentError("describes one storage in two ways")
        return found

    def _ordered(self, *arguments: object) -> dict[Any, Any]:
        if not arguments:
            return {}
        (given,) = arguments
        entries: dict[Any, Any] = {}
        if isinstance(given, PickledDict):
            entries.update(given)
        elif isinstance(given, PickledList):
            self._budget.spend(objects=len(given))
            for pair in given:
                if not isinstance(pair, PickledList | PickledTuple) or len(pair) != 2:
                    raise UnsoundContentError("builds a dict of something else than pairs")
                require_key(pair[0])
                entries[pair[0]] = pair[1]
        else:
            raise UnsoundContentError("builds a dict of something else than pairs")
        return entries

    def _set(self, members: object = None) -> list[Any]:
        if not isinstance(members, PickledList):
            raise UnsoundContentError("builds a set of something else than a list")
        for member in members:
            require_key(member)
        return list(members)


def _require_plain(requires_grad: object, hooks: object, metadata: object) -> None:
    if type(requires_grad) is not bool or hooks or metadata:
        raise UnsoundContentError(UNLIKE_TORCH)


def _refusal(kind: str) -> Callable[..., Any]:
    def refuse(*_: object) -> Any:
        raise UnsoundContentError(f"holds {kind}")

    return refuse


def _parameter(data: object, requires_grad: object = True, hooks: object = None) -> object:
    if not isinstance(data, TensorPlan) or type(requires_grad) is not bool or hooks:
        raise UnsoundContentError("describes a parameter as torch.save never does")
    return data


def _device(*place: object) -> str:
    if not place or len(place) > 2 or not isinstance(place[0], str):
        raise UnsoundContentError("names a device as torch.save never does")
    return ":".join(map(str, place))


def _encode(text: object, encoding: object = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in {"latin1", "latin-1"}:
        raise UnsoundContentError("encodes a text as torch.save never does")
    return text.encode("latin-1")


def _byte_array(data: object = b"", encoding: object = "latin-1") -> bytes:
    if not isinstance(data, bytes | str):
        raise UnsoundContentError("makes a bytearray of something else than bytes")
    return data if isinstance(data, bytes) else _encode(data, encoding)
