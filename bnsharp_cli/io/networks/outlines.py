"""The outline of a network: the names and shapes of its tensors, and which dimensions the user's data decides."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bnsharp_cli.io.networks.constructors import ARGUMENT_NAMES, COLOURS, construct_on_meta, family
from bnsharp_cli.io.networks.outline_limits import TooLargeError

Shapes = dict[str, tuple[int, ...]]
"""The shape of every parameter and buffer by name, without the counters that old files lack."""

COUNTER = "num_batches_tracked"
_CLASSES = 10
_DIGITS = 16


@dataclass(frozen=True, order=True)
class OpenDimension:
    """A dimension that an argument of the constructor decides: size = factor · argument + offset.

    >>> OpenDimension("fc.weight", 0, factor=2).argument({"fc.weight": (20, 512)})
    10
    """

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

    def to_list(self) -> list[str | int]:
        """Its entries as the index has them, without the usual factor and offset."""
        entries: list[str | int] = [self.tensor, self.dimension]
        return entries if (self.factor, self.offset) == (1, 0) else [*entries, self.factor, self.offset]


@dataclass(frozen=True)
class Outline:
    """Names and shapes of a constructor's network, whatever its number of classes and of input channels.

    Attributes:
        shapes: for ten classes and three channels.
        classes: the dimensions that the number of classes decides.
        channels: the dimensions that the number of input channels decides.
    """

    shapes: Shapes
    classes: tuple[OpenDimension, ...]
    channels: tuple[OpenDimension, ...]


def shapes_of(tensors: Mapping[str, Tensor]) -> Shapes:
    """Names and shapes of a state_dict."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items() if not name.endswith(COUNTER)}


def shapes_of_network(spec: str, options: Mapping[str, Any]) -> Shapes:
    """Names and shapes of the network that a constructor gives. Raises whatever the constructor raises."""
    return {name: shape for name, shape in all_shapes(spec, options).items() if not name.endswith(COUNTER)}


def all_shapes(spec: str, options: Mapping[str, Any]) -> Shapes:
    """The same with the counters of batches."""
    key = tuple(sorted(options.items()))
    try:
        hash(key)
    except TypeError:
        return _shapes_of_outline(spec, options)
    return dict(_built_shapes(spec, key))


@functools.lru_cache(maxsize=32)
def _built_shapes(spec: str, options: tuple[tuple[str, Any], ...]) -> Shapes:
    return _shapes_of_outline(spec, dict(options))


def _shapes_of_outline(spec: str, options: Mapping[str, Any]) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in construct_on_meta(spec, options).state_dict().items()}


def outline_of(spec: str, options: Mapping[str, Any] | None = None) -> Outline:
    """Build a network three times on the meta device and see which dimensions change.

    Args:
        spec: a network of torchvision's or timm's.
        options: further arguments of its constructor.
    """
    names = ARGUMENT_NAMES[family(spec)]
    given = {names.classes: _CLASSES, **(options or {})}
    shapes = shapes_of_network(spec, given)
    classes = _changed(shapes, shapes_of_network(spec, {**given, names.classes: _CLASSES + 1}), _CLASSES)
    try:
        channels = _changed(shapes, shapes_of_network(spec, {**given, names.channels: COLOURS + 1}), COLOURS)
    except TooLargeError:
        raise
    except Exception:  # not every constructor takes another number of channels
        channels = ()
    return Outline(shapes, classes, channels)


def _changed(shapes: Shapes, others: Shapes, argument: int) -> tuple[OpenDimension, ...]:
    """The dimensions that differ between a network for ``argument`` and one for ``argument + 1``."""
    found = []
    for name, shape in shapes.items():
        for dimension, (size, other) in enumerate(zip(shape, others[name], strict=True)):
            if size != other:
                factor = other - size
                found.append(OpenDimension(name, dimension, factor, size - factor * argument))
    return tuple(sorted(found))


def read_off(dimensions: Iterable[OpenDimension], shapes: Shapes) -> int | None:
    """The argument that all ``dimensions`` agree on; None where there are none, or where they do not agree."""
    found = {dimension.argument(shapes) for dimension in dimensions}
    return found.pop() if len(found) == 1 else None


def names_hash(shapes: Shapes) -> str:
    """A digest of the names alone."""
    return digest(sorted(shapes))


def shapes_hash(shapes: Shapes, masked: Iterable[OpenDimension] = ()) -> str:
    """A digest of names and shapes, the ``masked`` dimensions left out."""
    return digest(lines(shapes, masked))


def lines(shapes: Shapes, masked: Iterable[OpenDimension] = ()) -> list[str]:
    """``name d1 d2 …`` for every tensor, sorted by name, with an asterisk for each ``masked`` dimension.

    >>> lines({"fc.weight": (10, 512), "fc.bias": (10,)}, [OpenDimension("fc.bias", 0)])
    ['fc.bias *', 'fc.weight 10 512']
    """
    hidden = {(one.tensor, one.dimension) for one in masked}
    return [
        " ".join([name, *("*" if (name, axis) in hidden else str(size) for axis, size in enumerate(shape))])
        for name, shape in sorted(shapes.items())
    ]


def digest(texts: Iterable[str]) -> str:
    """The first 64 bits of a SHA-256, as hexadecimal digits."""
    return hashlib.sha256("\n".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
