"""The opcodes of a pickle that name something, call it, build it, or give it a state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bnsharp_cli.io.containers.pickle_reader.limits import Budget, size_of
from bnsharp_cli.io.containers.pickle_reader.refusals import Fault, ForeignGlobalsError, PickleRefusedError
from bnsharp_cli.io.containers.pickle_reader.values import (
    ForeignObject,
    PickledData,
    PickledDict,
    PickledGlobal,
    PickledList,
    PickledObject,
    PickledTuple,
    current_name,
)

_INTEGER = "builtins.int"


class Calls:
    """What a name means, and what comes of calling it.

    Args:
        stand_ins: a function, class or value for every global that may occur, by its full name.
        budget: what reading may cost.
        admits: whether another global becomes a :class:`ForeignObject`; it is refused otherwise.
    """

    def __init__(self, stand_ins: Mapping[str, Any], budget: Budget, admits: Callable[[str], bool]) -> None:
        self._stand_ins, self._budget, self._admits = stand_ins, budget, admits

    def named(self, name: str) -> Any:
        """What a full name stands for."""
        name = current_name(name)
        if name in self._stand_ins:
            stand_in = self._stand_ins[name]
            return PickledGlobal(name, stand_in) if callable(stand_in) else stand_in
        self._budget.spend(copied=len(name), objects=1)
        if not self._admits(name):
            raise ForeignGlobalsError([name])
        return ForeignObject(name)

    def large_number(self) -> ForeignObject:
        """What stands for an integer that is too large to be read, whose digits or hash could cost much."""
        if not self._admits(_INTEGER):
            raise PickleRefusedError(Fault.LIMIT, "holds a number of more than 64 bits")
        self._budget.spend(objects=1)
        return ForeignObject(_INTEGER)

    def key_of(self, data: PickledData) -> ForeignObject:
        """What stands for data that are a key, as parameters are in an optimiser: no key is looked into."""
        if not self._admits(data.name):
            raise PickleRefusedError(Fault.UNSUPPORTED, "has a key that is no text or number")
        self._budget.spend(objects=1)
        return ForeignObject(data.name, holds_data=True)

    def called(self, function: Any, arguments: Any) -> Any:
        """What a function returns; a foreign one is not called, and stands for what it would return."""
        foreign = isinstance(function, ForeignObject)
        if not (foreign or isinstance(function, PickledGlobal)) or not isinstance(arguments, PickledTuple):
            raise PickleRefusedError(Fault.UNSUPPORTED, "calls something that is no function")
        self._budget.spend(objects=1, copied=sum(map(size_of, arguments)))
        if foreign:
            return ForeignObject(function.name, holds_data=function.holds_data or arguments.holds_data)
        return made_of(arguments, function.stand_in(*arguments))

    def built(self, kind: Any, arguments: Any) -> Any:
        """What the ``__new__`` of a class returns."""
        known = isinstance(kind, PickledGlobal) and isinstance(kind.stand_in, type)
        if not known and not isinstance(kind, ForeignObject):
            raise PickleRefusedError(Fault.UNSUPPORTED, "builds something that is no class")
        return self.called(kind, arguments)


def made_of(arguments: PickledTuple, result: Any) -> Any:
    """What a function returned, as deep as its arguments; a dict or list of its own as one that knows its depth."""
    if type(result) is dict:
        entries = PickledDict()
        entries.update(result)
        entries.depth, entries.holds_data = arguments.depth, arguments.holds_data
        return entries
    if type(result) is list:
        items = PickledList()
        items.extend(result)
        items.depth, items.growing, items.holds_data = arguments.depth, False, arguments.holds_data
        return items
    if isinstance(result, PickledObject):
        result.holds_data |= arguments.holds_data
        if not isinstance(result, ForeignObject):
            result.depth = max(result.depth, arguments.depth)
    return result


def set_state(target: Any, state: Any, depth: int, holds_data: bool) -> None:
    """Give an object its state, once; a foreign one as often as it likes, since it keeps none."""
    if isinstance(target, ForeignObject):
        target.holds_data |= holds_data
    elif isinstance(target, PickledDict):
        if not isinstance(state, PickledDict) or set(state) - {"_metadata"}:
            raise PickleRefusedError(Fault.UNSUPPORTED, "sets attributes of a dict")
    elif isinstance(target, PickledObject) and target.growing:
        target.__setstate__(state)
        target.growing, target.depth = False, max(target.depth, depth)
        target.holds_data |= holds_data
    else:
        raise PickleRefusedError(Fault.UNSUPPORTED, f"sets the state of {shown(target)}")


def shown(value: object) -> str:
    """A value by its kind, as a part of a sentence."""
    kinds = {PickledList: "a list", PickledDict: "a dict", PickledTuple: "a tuple", PickledGlobal: "a function"}
    return "a text" if isinstance(value, str) else kinds.get(type(value), "something that holds none")
