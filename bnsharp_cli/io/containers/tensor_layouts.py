"""What a pickle says of storages and tensors, as records of whole numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from bnsharp_cli.io.containers.dtypes import DType
from bnsharp_cli.io.containers.pickle_reader import PickledData, PickledTuple
from bnsharp_cli.io.containers.unsound_content import UnsoundContentError

UNLIKE_TORCH = "describes a tensor as torch.save never does"
SIZE_LIMIT = 2**48
"""Sizes, strides, offsets and numbers of elements are smaller than this: no file reaches so far."""

MOST_DIMENSIONS = 64


@dataclass(frozen=True)
class StorageKind:
    """A class of storage, by the type of its elements; ``None`` where these are quantised."""

    dtype: DType | None


@dataclass
class StoragePlan(PickledData):
    """A storage of the file.

    Attributes:
        key: its name in the file.
        dtype: the type of its elements; ``untyped`` where the tensors say it.
        count: how many elements it has.
        begin: the position of its first byte in the file; -1 as long as that is not known.
    """

    name: ClassVar[str] = "torch.UntypedStorage"
    key: str
    dtype: DType
    count: int
    begin: int = -1

    @property
    def size(self) -> int:
        """How many bytes it takes."""
        return self.dtype.size * self.count


@dataclass(frozen=True)
class StoragePart(PickledData):
    """Elements of a storage that the legacy format names like a storage of their own.

    Attributes:
        whole: the storage.
        key: the name of the part.
        offset: how many elements lie before it.
        count: how many it has.
    """

    name: ClassVar[str] = "torch.UntypedStorage"
    whole: StoragePlan
    key: str
    offset: int
    count: int


@dataclass(frozen=True)
class StorageLayout:
    """The place of a tensor's elements in its storage, counted in elements."""

    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @classmethod
    def of(cls, offset: object, shape: object, stride: object) -> StorageLayout:
        """The layout that a pickle states.

        Raises:
            UnsoundContentError: it states none.
        """
        layout = cls(whole_number(offset), whole_numbers(shape), whole_numbers(stride))
        if len(layout.shape) != len(layout.stride):
            raise UnsoundContentError(UNLIKE_TORCH)
        if math.prod(max(length, 1) for length in layout.shape) >= SIZE_LIMIT:
            raise UnsoundContentError("has a shape that no tensor can have")
        return layout

    @property
    def count(self) -> int:
        """How many elements the tensor has."""
        return math.prod(self.shape)

    @property
    def end(self) -> int:
        """One past the last element that it uses; ``offset`` if it has none."""
        reach = sum((length - 1) * step for length, step in zip(self.shape, self.stride, strict=True))
        return self.offset + (reach + 1 if self.count else 0)


@dataclass(frozen=True)
class TensorPlan(PickledData):
    """A dense tensor that lies inside a storage of the file."""

    name: ClassVar[str] = "torch.Tensor"
    storage: StoragePlan
    dtype: DType
    layout: StorageLayout


def whole_number(value: object) -> int:
    """A size, stride, offset or count: at least 0, and less than ``SIZE_LIMIT``.

    Raises:
        UnsoundContentError: anything else.
    """
    if type(value) is not int or not 0 <= value < SIZE_LIMIT:
        raise UnsoundContentError("has a size, stride or offset that is negative, beyond reach or no number")
    return value


def whole_numbers(values: object) -> tuple[int, ...]:
    """A shape or strides.

    Raises:
        UnsoundContentError: anything but a tuple of a few whole numbers.
    """
    if not isinstance(values, PickledTuple) or len(values) > MOST_DIMENSIONS:
        raise UnsoundContentError("has a shape that is no short tuple")
    return tuple(whole_number(value) for value in values)


def plain_size(sizes: object = ()) -> PickledTuple:
    """A ``torch.Size`` as a tuple.

    Raises:
        UnsoundContentError: anything but a tuple of a few whole numbers.
    """
    if not isinstance(sizes, PickledTuple):
        raise UnsoundContentError("has a shape that is no short tuple")
    whole_numbers(sizes)
    return sizes
