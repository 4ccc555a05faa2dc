"""What a pickle is read into, and what reading it may cost."""

from __future__ import annotations

from typing import Any

DEEPEST = 100
MOST_OPCODES = 500_000
_MOST_OBJECTS = 125_000
_MOST_COPIED = 32 * 2**20
_LARGEST_KEY = 2**60
_LARGEST_PART = 2**31
_LONGEST_KEY_TUPLE = 4
_OLD_BUILTINS = "__builtin__."


class PickleRefusedError(ValueError):
    """A pickle that is damaged, or does what no saved weights do."""


class ForeignGlobalsError(PickleRefusedError):
    """A pickle that names classes or functions which are not in the table."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(f"holds Python objects ({', '.join(names)})")
        self.names = names


class Sequence(list[Any]):
    """A list that knows how deep it is nested and whether it may still grow."""

    __slots__ = ("depth", "growing")

    def __init__(self) -> None:
        super().__init__()
        self.depth, self.growing = 1, True


class Entries(dict[Any, Any]):
    """A dict that knows the same; ``attributes`` are set by BUILD."""

    __slots__ = ("depth", "growing")

    def __init__(self) -> None:
        super().__init__()
        self.depth, self.growing = 1, True


class Items(tuple[Any, ...]):
    """A tuple that knows how deep it is nested."""

    depth: int


class Global:
    """A global by its name, and the function of ours that stands for it, if it may be called."""

    __slots__ = ("name", "stand_in")

    def __init__(self, name: str, stand_in: Any) -> None:
        self.name, self.stand_in = name, stand_in


class Budget:
    """What one file may still cost, however many pickles it has."""

    def __init__(self) -> None:
        self.opcodes, self.objects, self.copied = MOST_OPCODES, _MOST_OBJECTS, _MOST_COPIED

    def spend(self, opcodes: int = 0, objects: int = 0, copied: int = 0) -> None:
        """Take from what is left.

        Raises:
            PickleRefusedError: nothing is left.
        """
        self.opcodes -= opcodes
        self.objects -= objects
        self.copied -= copied
        if min(self.opcodes, self.objects, self.copied) < 0:
            raise PickleRefusedError("needs more steps than the pickle of any weights")


def require_key(key: Any) -> None:
    """Refuse keys of a dict whose hashes a stranger could choose to be equal, or that are no plain values."""
    parts, bound = (key, _LARGEST_PART) if type(key) is Items else ((key,), _LARGEST_KEY)
    if len(parts) <= _LONGEST_KEY_TUPLE and all(
        part is None
        or type(part) in {str, bytes, bool, float}
        or (type(part) is int and abs(part) < bound)
        or getattr(type(part), "is_key", False)
        for part in parts
    ):
        return
    raise PickleRefusedError("has a key that is no text or number")


def size_of(value: Any) -> int:
    """What copying ``value`` costs."""
    return len(value) if isinstance(value, str | bytes | list | dict | tuple) else 1


def current_name(name: str) -> str:
    """The full name of a global in today's Python: pickles of protocol 2 speak of ``__builtin__``."""
    return "builtins." + name.removeprefix(_OLD_BUILTINS) if name.startswith(_OLD_BUILTINS) else name
