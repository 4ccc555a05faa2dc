"""A network in outline: the names and shapes of its tensors, and which dimensions the user's data decides."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bnsharp_cli.io.networks.constructors import ARGUMENTS, COLOURS, family, in_outline

Shapes = dict[str, tuple[int, ...]]
"""The shape of every parameter and buffer by name, without the counters that old files lack."""

COUNTER = "num_batches_tracked"
_CLASSES = 10
_DIGITS = 16


@dataclass(frozen=True, order=True)
class Slot:
    """A dimension that an argument of the constructor decides: size = factor · argument + offset."""

    tensor: str
    dimension: int
    factor: int = 1
    offset: int = 0

    def argument(self, shapes: Shapes) -> int | None:
        """The argument that gives ``shapes`` their size here; None where there is none."""
        shape = shapes.get(self.tensor, ())
        if self.dimension >= len(shape):
            return None
        argument, remainder = divmod(shape[self.dimension] - self.offset, self.factor)
        return argument if remainder == 0 and argument > 0 else None

    def brief(self) -> list[str | int]:
        """Its entries as the index has them, without the usual factor and offset."""
        brief: list[str | int] = [self.tensor, self.dimension]
        return brief if (self.factor, self.offset) == (1, 0) else [*brief, self.factor, self.offset]


Slots = tuple[Slot, ...]


@dataclass(frozen=True)
class Skeleton:
    """Names and shapes of a constructor's network, whatever its number of classes and of input channels.

    Attributes:
        shapes: for ten classes and three channels.
        classes: the dimensions that the number of classes decides.
        channels: the dimensions that the number of input channels decides.
    """

    shapes: Shapes
    classes: Slots
    channels: Slots


def shapes_of(tensors: Mapping[str, Tensor]) -> Shapes:
    """Names and shapes of a state_dict."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items() if not name.endswith(COUNTER)}


def outline(spec: str, options: Mapping[str, Any]) -> Shapes:
    """Names and shapes of the network that a constructor gives. Raises whatever the constructor raises."""
    return shapes_of(in_outline(spec, options).state_dict())


def skeleton(spec: str, options: Mapping[str, Any] | None = None) -> Skeleton:
    """Build a network three times on the meta device and see which dimensions move.

    Args:
        spec: a network of torchvision's or timm's.
        options: further arguments of its constructor.
    """
    names = ARGUMENTS[family(spec)]
    given = {names.classes: _CLASSES, **(options or {})}
    shapes = outline(spec, given)
    classes = _moved(shapes, outline(spec, {**given, names.classes: _CLASSES + 1}), _CLASSES)
    try:
        channels = _moved(shapes, outline(spec, {**given, names.channels: COLOURS + 1}), COLOURS)
    except Exception:  # not every constructor takes another number of channels
        channels = ()
    return Skeleton(shapes, classes, channels)


def _moved(shapes: Shapes, others: Shapes, argument: int) -> Slots:
    """The dimensions that differ between a network for ``argument`` and one for one more."""
    slots = []
    for name, shape in shapes.items():
        for dimension, (size, other) in enumerate(zip(shape, others[name], strict=True)):
            if size != other:
                factor = other - size
                slots.append(Slot(name, dimension, factor, size - factor * argument))
    return tuple(sorted(slots))


def read_off(slots: Iterable[Slot], shapes: Shapes) -> int | None:
    """The argument that all ``slots`` agree on; None where there are none, or where they do not agree."""
    found = {slot.argument(shapes) for slot in slots}
    return found.pop() if len(found) == 1 else None


def names_hash(shapes: Shapes) -> str:
    """A digest of the names alone."""
    return digest(sorted(shapes))


def shapes_hash(shapes: Shapes, masked: Iterable[Slot] = ()) -> str:
    """A digest of names and shapes, the ``masked`` dimensions left out."""
    return digest(lines(shapes, masked))


def lines(shapes: Shapes, masked: Iterable[Slot] = ()) -> list[str]:
    """``name d1 d2 …`` for every tensor, sorted by name, with an asterisk for each ``masked`` dimension."""
    hidden = {(slot.tensor, slot.dimension) for slot in masked}
    return [
        " ".join([name, *("*" if (name, axis) in hidden else str(size) for axis, size in enumerate(shape))])
        for name, shape in sorted(shapes.items())
    ]


def digest(texts: Iterable[str]) -> str:
    """The first 64 bits of a SHA-256, as hexadecimal digits."""
    return hashlib.sha256("\n".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
