"""What a pickle is read into: containers that know how deep they are nested, and keys that cannot collide."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from bnsharp_cli.io.containers.pickle_reader.refusals import Fault, PickleRefusedError

_KEY_BITS = 60
"""Of the integers of one key together, without their signs: no more keys than there are hashes of 64 bits."""

_FLOAT_KEY_RANGE = 2.0**30
"""A float that is a key is smaller than this, and zero or larger than its inverse, in absolute value. Of the floats
between two powers of two no two have the same hash, so at most 60 of either sign have."""

_LONGEST_KEY_TUPLE = 4
_OLD_BUILTINS = "__builtin__."


class PickledList(list[Any]):
    """A list that knows how deep it is nested and whether it may still grow; also what a set is read into."""

    __slots__ = ("depth", "growing", "holds_data")

    def __init__(self) -> None:
        super().__init__()
        self.depth, self.growing, self.holds_data = 1, True, False


class PickledDict(dict[Any, Any]):
    """A dict that knows how deep it is nested and whether it may still grow."""

    __slots__ = ("depth", "growing", "holds_data")

    def __init__(self) -> None:
        super().__init__()
        self.depth, self.growing, self.holds_data = 1, True, False


class PickledTuple(tuple[Any, ...]):
    """A tuple that knows how deep it is nested."""

    depth: int
    growing = False
    holds_data = False


class PickledData:
    """Base class of what a :class:`ForeignObject` says that it held, such as a tensor; it is complete.

    Attributes:
        name: of the :class:`ForeignObject` that stands for it where it is a key of a dict.
    """

    name: ClassVar[str] = "data"
    depth = 0
    growing = False
    holds_data = True


_CHOSEN_HASHES = {int, float, PickledTuple}


class PickledObject:
    """Base class of what stands for an object that a pickle builds: it is made, and may get its state once.

    Attributes:
        depth: how deep it is nested.
        growing: whether it may still get a state.
        holds_data: whether :class:`PickledData` is among its arguments or in its state, at any depth.
        is_key: whether it may be a key of a dict; only where its hash does not follow from the pickle.
    """

    depth = 0
    growing = True
    holds_data = False
    is_key = False

    def __setstate__(self, state: object) -> None:
        raise PickleRefusedError(Fault.UNSUPPORTED, "sets the state of something that has none")


class ForeignObject(PickledObject):
    """What stands for a name outside the caller's table, and for all that is called, filled or built from it.

    Nothing is kept of what went into it. So it has no depth, and an object that refers to itself needs no cycle.

    Attributes:
        name: the full name.
    """

    growing = False
    is_key = True  # by identity

    def __init__(self, name: str, *, holds_data: bool = False) -> None:
        self.name, self.holds_data = name, holds_data


NESTED = (PickledList, PickledDict, PickledTuple, PickledObject, PickledData)
"""What has a depth, and knows whether data are in it."""


class PickledGlobal:
    """A name that the pickle has looked up, and what the caller has given it for it."""

    __slots__ = ("name", "stand_in")

    def __init__(self, name: str, stand_in: Any) -> None:
        self.name, self.stand_in = name, stand_in


def require_key(key: Any) -> None:
    """Refuse a key that is no plain value, or whose hash could be chosen to equal that of many others.

    Raises:
        PickleRefusedError: the key is anything but None, a text, bytes, a bool, a small integer, a float that is
            neither huge nor tiny, an object that says it is a key, or a short tuple of these without floats and tuples.
    """
    if not (_is_float_key(key) or _are_key_parts(key if type(key) is PickledTuple else (key,))):
        raise PickleRefusedError(Fault.UNSUPPORTED, "has a key that is no text or number")


def number_keys(keys: Iterable[Any]) -> int:
    """How many of the keys have a hash that can be chosen; that of a text or of bytes differs from run to run."""
    return sum(type(key) in _CHOSEN_HASHES for key in keys)


def _is_float_key(key: Any) -> bool:
    return type(key) is float and (key == 0 or 1 / _FLOAT_KEY_RANGE < abs(key) < _FLOAT_KEY_RANGE)


def _are_key_parts(parts: tuple[Any, ...]) -> bool:
    """Whether these are one key: floats are none, because the hash of a tuple can be solved for one of its floats."""
    if len(parts) > _LONGEST_KEY_TUPLE:
        return False
    integers = sum(type(part) is int for part in parts)
    bound = 2 ** (_KEY_BITS // max(integers, 1))
    return all(
        part is None
        or type(part) in {str, bytes, bool}
        or (type(part) is int and abs(part) < bound)
        or (isinstance(part, PickledObject) and part.is_key)
        for part in parts
    )


def current_name(name: str) -> str:
    """The full name of a global in today's Python: pickles of protocol 2 speak of ``__builtin__``."""
    return "builtins." + name.removeprefix(_OLD_BUILTINS) if name.startswith(_OLD_BUILTINS) else name
