"""Tensors in nested containers: the inputs and outputs of networks that take or return more than one tensor.

A tree is a tensor, or any nesting of mappings, lists, tuples and records (objects whose attributes hold tensors, such
as dataclasses). torch's pytree walks Python's own containers. All other classes are copied here instead of rebuilt by
what they may have registered with it: a copy keeps whatever else such an object carries.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_iter, tree_map

from bnsharp_cli.errors import UsageError, indefinite, named

_WALKED_BY_TORCH = {dict, list, tuple}


def map_tensors(function: Callable[[Tensor], Tensor], tree: Any) -> Any:
    """The tree with ``function`` of each of its tensors; containers keep their classes, keys and order.

    Mappings that cannot be changed become dictionaries.

    >>> map_tensors(lambda tensor: 2 * tensor, {"scores": [torch.tensor(1), torch.tensor(2)], "name": "digits"})
    {'scores': [tensor(2), tensor(4)], 'name': 'digits'}
    """
    return tree_map(partial(_mapped_leaf, function), tree, is_leaf=_is_leaf)


def tensors_in(tree: Any) -> Iterator[Tensor]:
    """The tensors of a tree, in their order.

    >>> list(tensors_in(({"b": torch.tensor(1), "a": torch.tensor(2)}, [torch.tensor(3)])))
    [tensor(1), tensor(2), tensor(3)]
    """
    for leaf in tree_iter(tree, is_leaf=_is_leaf):
        if isinstance(leaf, Tensor):
            yield leaf
        else:
            yield from tensors_in(_entries(leaf))


def floating_tensors(tree: Any) -> list[Tensor]:
    """The tensors of a tree that hold floating numbers, real or complex, in their order."""
    return [tensor for tensor in tensors_in(tree) if tensor.is_floating_point() or tensor.is_complex()]


def numbers_in(tree: Any) -> list[Tensor]:
    """The same as real numbers: complex tensors (…) as pairs (…, 2)."""
    return [torch.view_as_real(each) if each.is_complex() else each for each in floating_tensors(tree)]


def as_float64(tensor: Tensor) -> Tensor:
    """``tensor`` in float64 if it holds floating numbers, in complex128 if complex ones, else as it is."""
    if tensor.is_complex():
        return tensor.to(torch.complex128)
    return tensor.double() if tensor.is_floating_point() else tensor


@dataclass(frozen=True, eq=False)
class TensorTree:
    """A tree of tensors with as much of a tensor's interface as a loss surface needs.

    Attributes:
        value: the tree; the first dimension of its tensors counts the examples. A tensor of another length, such as a
            temperature, belongs to all of them.
        first: its first tensor that is no single number.
    """

    value: Any
    first: Tensor

    @classmethod
    def of(cls, value: Any) -> TensorTree:
        """The tensors in ``value``.

        Raises:
            UsageError: there is none.
        """
        tensors = [*tensors_in(value)]
        first = next((tensor for tensor in tensors if tensor.ndim), None if not tensors else tensors[0])
        if first is None:
            found = indefinite(type(value).__name__)
            raise UsageError(
                f"{named('batches')}: there is no tensor in {found}.",
                "Pass tensors.",
                argument="batches",
                expected="tensors",
                found=found,
            )
        return cls(value, first)

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, part: slice) -> TensorTree:
        """Some of the examples."""
        count = len(self)
        return self.mapped(lambda tensor: tensor[part] if tensor.ndim and len(tensor) == count else tensor)

    def to(self, *target: Any, **options: Any) -> TensorTree:
        """Each tensor on another device, or each floating one in another precision."""
        moves = not isinstance(target[0], torch.dtype)
        return self.mapped(
            lambda tensor: tensor.to(*target, **options) if moves or tensor.is_floating_point() else tensor
        )

    def double(self) -> TensorTree:
        """Each floating tensor as float64."""
        return self.to(torch.float64)

    def detach(self) -> TensorTree:
        """Each tensor without its history."""
        return self.mapped(Tensor.detach)

    def clone(self) -> TensorTree:
        """The tree with a copy of each tensor."""
        return self.mapped(Tensor.clone)

    def requires_grad_(self, wanted: bool = True) -> TensorTree:
        """Each floating tensor marked as one whose gradient is wanted."""
        return self.mapped(
            lambda tensor: tensor.requires_grad_(wanted) if tensor.is_floating_point() else tensor,
        )

    def is_floating_point(self) -> bool:
        """Whether any of the tensors holds floating numbers."""
        return bool(floating_tensors(self.value))

    def untyped_storage(self) -> Any:
        """The storage of the first tensor."""
        return self.first.untyped_storage()

    @property
    def shape(self) -> torch.Size:
        """The shape of the first tensor."""
        return self.first.shape

    @property
    def ndim(self) -> int:
        """The number of dimensions of the first tensor."""
        return self.first.ndim

    @property
    def device(self) -> torch.device:
        """The device of the first tensor."""
        return self.first.device

    def mapped(self, function: Callable[[Tensor], Tensor]) -> TensorTree:
        """The tree with ``function`` of each tensor."""
        return TensorTree.of(map_tensors(function, self.value))


def tensors_of(part: Tensor | TensorTree) -> list[Tensor]:
    """The tensors of the inputs or targets of a batch."""
    return [*tensors_in(part.value if isinstance(part, TensorTree) else part)]


def repeated(tree: Any, count: int) -> Any:
    """The tree with its ``count`` examples twice, one after the other; tensors of another length stay."""
    if isinstance(tree, TensorTree):
        return tree.mapped(lambda tensor: repeated(tensor, count))
    return map_tensors(lambda tensor: torch.cat([tensor, tensor]) if counts(tensor, count) else tensor, tree)


def counts(tensor: Tensor, count: int) -> bool:
    """Whether the first dimension of a tensor counts ``count`` examples."""
    return bool(tensor.ndim) and len(tensor) == count


def _is_leaf(node: Any) -> bool:
    return type(node) not in _WALKED_BY_TORCH


def _mapped_leaf(function: Callable[[Tensor], Tensor], leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return function(leaf)
    entries = _entries(leaf)
    return _with_entries(leaf, map_tensors(function, entries)) if entries else leaf


def _entries(leaf: Any) -> dict[Any, Any] | list[Any]:
    """Return a container's items, or a record's attributes that are tensors or containers."""
    if isinstance(leaf, Mapping):
        return dict(leaf.items())
    if isinstance(leaf, list | tuple):
        return list(leaf)
    attributes = getattr(leaf, "__dict__", {}).items()
    return {name: value for name, value in attributes if isinstance(value, (Tensor, Mapping, list, tuple))}


def _with_entries(leaf: Any, entries: Any) -> Any:
    """A container or record like ``leaf`` that holds ``entries`` instead."""
    if isinstance(leaf, list | tuple):
        return type(leaf)(*entries) if hasattr(leaf, "_fields") else type(leaf)(entries)
    if isinstance(leaf, Mapping) and not isinstance(leaf, MutableMapping):
        return entries
    changed = copy.copy(leaf)
    for key, entry in entries.items():
        if isinstance(leaf, Mapping):
            changed[key] = entry
        else:
            object.__setattr__(changed, key, entry)  # a frozen dataclass's own way
    return changed


def unshared(inputs: Any) -> Any:
    """The inputs as tensors of a pass's own, in which code may ask for gradients; those that want them stay."""
    if isinstance(inputs, TensorTree):
        return inputs.mapped(unshared)
    return inputs if inputs.requires_grad else inputs.detach()
