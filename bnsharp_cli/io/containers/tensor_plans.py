"""The tensors that a pickle describes, each held against the bytes that the file has.

The pickle reader calls the functions here where torch would build tensors. They make plans: where a storage lies, which
elements of it a tensor has. A plan that the file cannot keep is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from bnsharp_cli.io.containers.dtypes import BY_NAME, BY_STORAGE, UNTYPED, DType
from bnsharp_cli.io.containers.pickle_reader import Budget, ForeignObject, PickledTuple
from bnsharp_cli.io.containers.stand_ins import PLAIN_STAND_INS, PlainSet, counter, ordered_dict
from bnsharp_cli.io.containers.tensor_layouts import (
    UNLIKE_TORCH,
    StorageKind,
    StorageLayout,
    StoragePart,
    StoragePlan,
    TensorPlan,
    plain_size,
    whole_number,
)
from bnsharp_cli.io.containers.unsound_content import UnsoundContentError, damaged

TORCH_PROTOCOLS = (2,)
"""Protocols of pickle that torch writes."""

_NO_DENSE_TENSORS = {
    "torch._utils._rebuild_sparse_tensor": "sparse tensor",
    "torch._utils._rebuild_qtensor": "quantised tensor",
    "torch._utils._rebuild_meta_tensor_no_storage": "meta tensor without values",
    "torch._utils._rebuild_nested_tensor": "nested tensor",
    "torch.serialization._get_layout": "sparse tensor",
}
"""What is read as an object that holds tensors, by the function that would make it."""

_QUANTISED = ("QInt8", "QUInt8", "QInt32", "QUInt4x2", "QUInt2x4")
DTYPES = {f"torch.{name}": dtype for name, dtype in BY_NAME.items()}
_IDENTITY_LENGTH = {"zip": 5, "legacy": 6}
_MODULE_LENGTH = 4
_MOST_DEVICES = 128
_OVERLAP = 4
_OVERLAP_ALLOWANCE = 64 * 2**20


class TensorPlans:
    """The storages that a pickle speaks of, and the functions that it calls to describe tensors in them.

    Args:
        stored: position and size in bytes of the storage of a key; ``None`` for a legacy file, where storages follow
            the pickle.
        budget: what reading may cost.

    Attributes:
        storages: those that the pickle has spoken of, by key.
    """

    def __init__(self, stored: Callable[[str], tuple[int, int] | None] | None, budget: Budget) -> None:
        self.storages: dict[str, StoragePlan] = {}
        self._parts: dict[str, StoragePart] = {}
        self._stored, self._budget = stored, budget
        self._storage_bytes = self._tensor_bytes = 0

    def stand_ins(self) -> Mapping[str, Any]:
        """Our function or value for every global that may occur in weights."""
        return {
            **PLAIN_STAND_INS,
            **DTYPES,
            **{name: partial(_no_dense_tensor, kind) for name, kind in _NO_DENSE_TENSORS.items()},
            "torch._tensor._rebuild_from_type_v2": _tensor_of_a_class,
            "torch._utils._rebuild_wrapper_subclass": _tensor_of_a_class,
            **{f"torch.{name}Storage": StorageKind(dtype) for name, dtype in BY_STORAGE.items()},
            **{f"torch.{name}Storage": StorageKind(None) for name in _QUANTISED},
            **{f"torch.storage.{name}": StorageKind(UNTYPED) for name in ("UntypedStorage", "_UntypedStorage")},
            "torch.Tensor": "Tensor",
            "torch.nn.parameter.Parameter": "Parameter",
            "torch._utils._rebuild_tensor": self.tensor,
            "torch._utils._rebuild_tensor_v2": self.tensor_with_hooks,
            "torch._utils._rebuild_tensor_v3": self.tensor_of_type,
            "torch._utils._rebuild_parameter": _parameter,
            "torch.Size": plain_size,
            "torch.device": _device,
            "collections.OrderedDict": partial(ordered_dict, self._budget),
            "collections.Counter": partial(counter, self._budget),
            "builtins.set": partial(PlainSet, self._budget),
            "builtins.frozenset": partial(PlainSet, self._budget),
        }

    def referred(self, identity: tuple[Any, ...]) -> StoragePlan | StoragePart | ForeignObject:
        """What a persistent id refers to: a storage, or in old files a class of modules beside its source."""
        if self._stored is None and len(identity) == _MODULE_LENGTH and identity[0] == "module":
            kind = identity[1]
            if isinstance(kind, ForeignObject):
                return kind
        return self._storage(identity)

    def _storage(self, identity: tuple[Any, ...]) -> StoragePlan | StoragePart:
        """A storage: ``("storage", type, key, location, count)``, with a part in old files."""
        if len(identity) != _IDENTITY_LENGTH["zip" if self._stored else "legacy"] or identity[0] != "storage":
            raise UnsoundContentError("refers to something that is no storage")
        _, kind, key, location, count, *part = identity
        if not isinstance(kind, StorageKind) or type(key) is not str or type(location) is not str:
            raise UnsoundContentError("describes a storage by something else than type, key and place")
        if location == "meta":
            raise UnsoundContentError("holds a meta tensor, which has no values")
        if kind.dtype is None:
            raise UnsoundContentError("holds a quantised tensor")
        found = StoragePlan(key, kind.dtype, whole_number(count))
        known = self.storages.get(key)
        if known is None:
            found.begin = self._begin(found)
            known = self.storages[key] = found
            self._storage_bytes += found.size
        if (known.dtype, known.count) != (found.dtype, found.count) or key in self._parts:
            raise UnsoundContentError("describes one storage in two ways")
        return self._part(known, part[0]) if part and part[0] is not None else known

    def _begin(self, storage: StoragePlan) -> int:
        if self._stored is None:
            return -1
        begin, size = self._stored(storage.key) or (-1, -1)
        if size != storage.size:
            has = "none" if size < 0 else f"{size}"
            raise damaged(f"it declares a storage of {storage.size} bytes where it has {has}")
        return begin

    def _part(self, whole: StoragePlan, stated: object) -> StoragePart:
        if not isinstance(stated, PickledTuple) or len(stated) != 3 or type(stated[0]) is not str:
            raise UnsoundContentError("describes a part of a storage as torch.save never does")
        part = StoragePart(whole, stated[0], whole_number(stated[1]), whole_number(stated[2]))
        if part.offset + part.count > whole.count or part.key in self.storages:
            raise UnsoundContentError("has a part of a storage that reaches beyond it")
        if self._parts.setdefault(part.key, part) != part:
            raise UnsoundContentError("describes one storage in two ways")
        return part

    def tensor(self, storage: object, offset: object, shape: object, stride: object) -> TensorPlan:
        """A dense tensor of the type of its storage (``_rebuild_tensor``)."""
        return self._plan(storage, None, StorageLayout.of(offset, shape, stride))

    def tensor_with_hooks(
        self,
        storage: object,
        offset: object,
        shape: object,
        stride: object,
        requires_grad: object,
        hooks: object,
        metadata: object = None,
    ) -> TensorPlan:
        """The same, with what is empty in saved weights (``_rebuild_tensor_v2``)."""
        _require_plain(requires_grad, hooks, metadata)
        return self.tensor(storage, offset, shape, stride)

    def tensor_of_type(
        self,
        storage: object,
        offset: object,
        shape: object,
        stride: object,
        requires_grad: object,
        hooks: object,
        dtype: object,
        metadata: object = None,
    ) -> TensorPlan:
        """A dense tensor of a type that its storage does not say (``_rebuild_tensor_v3``)."""
        _require_plain(requires_grad, hooks, metadata)
        if not isinstance(dtype, DType):
            raise UnsoundContentError("makes a tensor of a type that is not read")
        return self._plan(storage, dtype, StorageLayout.of(offset, shape, stride))

    def _plan(self, storage: object, dtype: DType | None, layout: StorageLayout) -> TensorPlan:
        """The plan of a tensor that lies inside its storage; few tensors may share the same bytes."""
        if not isinstance(storage, StoragePlan | StoragePart):
            raise UnsoundContentError("makes a tensor of something that is no storage")
        whole, first = (storage.whole, storage.offset) if isinstance(storage, StoragePart) else (storage, 0)
        dtype = dtype or whole.dtype
        if dtype is UNTYPED or first * whole.dtype.size % dtype.size:
            raise UnsoundContentError(UNLIKE_TORCH)
        available = storage.count * whole.dtype.size
        shown = f"has a tensor of shape {layout.shape} that"
        if layout.count * dtype.size > available:
            raise UnsoundContentError(f"{shown} declares more values than the file holds")
        if layout.end * dtype.size > available:
            raise UnsoundContentError(f"{shown} reaches beyond its storage")
        self._tensor_bytes += layout.count * dtype.size
        if self._tensor_bytes > _OVERLAP * self._storage_bytes + _OVERLAP_ALLOWANCE:
            raise UnsoundContentError("makes many large tensors of the same few values")
        offset = layout.offset + first * whole.dtype.size // dtype.size
        return TensorPlan(whole, dtype, StorageLayout(offset, layout.shape, layout.stride))


def _require_plain(requires_grad: object, hooks: object, metadata: object) -> None:
    if type(requires_grad) is not bool or hooks or metadata:
        raise UnsoundContentError(UNLIKE_TORCH)


def _no_dense_tensor(kind: str, *_: object) -> ForeignObject:
    """Stand for a tensor of another kind: whoever needs it refuses it by name."""
    return ForeignObject(kind, holds_data=True)


def _tensor_of_a_class(*given: object) -> ForeignObject:
    """Stand for a tensor of somebody's own class, by the name of that, or for one of torch's with attributes."""
    foreign = (one.name for one in given[:2] if isinstance(one, ForeignObject))
    return ForeignObject(next(foreign, "tensor with attributes of its own"), holds_data=True)


def _parameter(data: object, requires_grad: object, hooks: object) -> object:
    if isinstance(data, ForeignObject):
        return data
    if not isinstance(data, TensorPlan) or type(requires_grad) is not bool or hooks:
        raise UnsoundContentError("describes a parameter as torch.save never does")
    return data


def _device(*place: object) -> str:
    kind, *index = place or (None,)
    known = isinstance(kind, str) and all(type(number) is int and 0 <= number < _MOST_DEVICES for number in index)
    if not known or len(index) > 1:
        raise UnsoundContentError("names a device as torch.save never does")
    return ":".join(map(str, place))
