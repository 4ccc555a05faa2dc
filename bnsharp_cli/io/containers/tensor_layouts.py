"""What a pickle says of storages and tensors, as records of whole numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bnsharp_cli.io.containers.pickle_reader import PickledTuple
from bnsharp_cli.io.containers.unsound_content import UnsoundContentError

UNLIKE_TORCH = "describes a tensor as torch.save never does"
_MOST_DIMENSIONS = 64
_LARGEST_SIZE = 2**48


@dataclass(frozen=True)
class StorageKind:
    """A class of storage.

    Attributes:
        name: torch's, such as ``Float``.
        item_size: bytes of one item; 0 where the items are quantised.
    """

    name: str
    item_size: int


@dataclass(frozen=True)
class StoragePlan:
    """A storage of the file, or a part of one.

    Attributes:
        key: its name in the file.
        kind: the type of its items.
        count: how many items it has.
    """

    key: str
    kind: StorageKind
    count: int

    @property
    def size(self) -> int:
        """How many bytes it takes."""
        return self.kind.item_size * self.count


@dataclass(frozen=True)
class StorageLayout:
    """Where the items of a tensor lie in its storage, counted in items."""

    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @classmethod
    def of(cls, offset: object, size: object, stride: object) -> StorageLayout:
        """The layout that a pickle states.

        Raises:
            UnsoundContentError: it states none.
        """
        layout = cls(whole_number(offset), whole_numbers(size), whole_numbers(stride))
        if len(layout.size) != len(layout.stride):
            raise UnsoundContentError(UNLIKE_TORCH)
        return layout

    @property
    def count(self) -> int:
        """How many items the tensor has."""
        return math.prod(self.size)

    @property
    def end(self) -> int:
        """One past the last item that it uses; ``offset`` if it has none."""
        reach = sum((length - 1) * step for length, step in zip(self.size, self.stride, strict=True))
        return self.offset + (reach + 1 if self.count else 0)


@dataclass(frozen=True)
class TensorPlan:
    """A tensor that its storage has enough bytes for; of any type, which nothing here needs to know."""

    shape: tuple[int, ...]


def whole_number(value: object) -> int:
    """A size, stride, offset or count: at least 0, and less than 2⁴⁸, beyond which no file reaches.

    Raises:
        UnsoundContentError: anything else.
    """
    if type(value) is not int or not 0 <= value < _LARGEST_SIZE:
        raise UnsoundContentError("has a size, stride or offset that is negative, beyond reach or no number")
    return value


def whole_numbers(values: object) -> tuple[int, ...]:
    """A shape or strides.

    Raises:
        UnsoundContentError: anything but a tuple of a few whole numbers.
    """
    if not isinstance(values, PickledTuple) or len(values) > _MOST_DIMENSIONS:
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
