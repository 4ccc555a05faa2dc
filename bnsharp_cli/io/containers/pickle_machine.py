"""The stack machine that a pickle is a program for, with the opcodes that saved weights need."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from bnsharp_cli.io.containers.pickle_values import (
    DEEPEST,
    Budget,
    Entries,
    ForeignGlobalsError,
    Global,
    Items,
    PickleRefusedError,
    Sequence,
    current_name,
    require_key,
    size_of,
)

_LARGEST_NUMBER = 2**64
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "SHORT_BINSTRING"}
_STORE = {"BINPUT", "LONG_BINPUT"}
_FETCH = {"BINGET", "LONG_BINGET"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_RARE = (
    *("PROTO", "FRAME", "MARK", "TUPLE", "EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"),
    *("APPEND", "APPENDS", "ADDITEMS", "SETITEM", "SETITEMS", "BUILD", "MEMOIZE"),
    *("GLOBAL", "STACK_GLOBAL", "REDUCE", "NEWOBJ", "BINPERSID"),
)
_TOO_DEEP = f"nests containers more than {DEEPEST} deep"


class Machine:
    """Memo and stack; containers are complete before anything else holds them, so their depth is known."""

    def __init__(
        self,
        stand_ins: Mapping[str, Any],
        budget: Budget,
        persistent: Callable[[tuple[Any, ...]], Any] | None,
        protocols: Collection[int],
    ) -> None:
        self._stand_ins, self._budget = stand_ins, budget
        self._persistent, self._protocols = persistent, protocols
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._rare: dict[str, Callable[[Any], None]] = {name: getattr(self, f"_{name.lower()}") for name in _RARE}

    def step(self, name: str, argument: Any) -> None:
        """Execute one opcode."""
        self._budget.spend(opcodes=1)
        if name in _LITERALS:
            if name == "SHORT_BINSTRING" and not argument.isascii():
                raise PickleRefusedError("holds raw bytes in a string")
            if name == "LONG1" and abs(argument) >= _LARGEST_NUMBER:
                raise PickleRefusedError("holds a number of more than 64 bits")
            self._stack.append(argument)
        elif name in _STORE:
            self._memo[argument] = self._stack[-1]
        elif name in _FETCH:
            self._fetch(argument)
        elif name in _TUPLES:
            self._push_tuple([self._stack.pop() for _ in range(_TUPLES[name])][::-1])
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in self._rare:
            self._rare[name](argument)
        else:
            raise PickleRefusedError(f"uses the opcode {name}, which torch.save never writes")

    def result(self) -> Any:
        """The one value that is left at STOP."""
        if self._below or len(self._stack) != 1:
            raise PickleRefusedError("is damaged (it ends with an unbalanced stack)")
        return self._stack.pop()

    def _fetch(self, index: int) -> None:
        value = self._memo[index]
        if getattr(value, "growing", False):
            value.growing = False
        self._stack.append(value)

    def _proto(self, version: int) -> None:
        if version not in self._protocols:
            raise PickleRefusedError(f"is a pickle of protocol {version}, which torch cannot read as weights alone")

    def _frame(self, _length: int) -> None:
        """Frames only help a reader to buffer."""

    def _memoize(self, _argument: None) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _mark(self, _argument: None) -> None:
        if len(self._below) > DEEPEST:
            raise PickleRefusedError(_TOO_DEEP)
        self._below.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def _tuple(self, _argument: None) -> None:
        self._push_tuple(self._since_mark())

    def _empty_tuple(self, _argument: None) -> None:
        self._push_tuple([])

    def _push_tuple(self, items: list[Any]) -> None:
        self._budget.spend(objects=1)
        result = Items(items)
        result.depth = self._enclose(items)
        self._stack.append(result)

    def _enclose(self, items: list[Any]) -> int:
        """The depth of what holds ``items``, which are complete from now on."""
        deepest = 0
        for item in items:
            depth = getattr(item, "depth", 0)
            if depth:
                deepest = max(deepest, depth)
                if getattr(item, "growing", False):
                    item.growing = False
        if deepest >= DEEPEST:
            raise PickleRefusedError(_TOO_DEEP)
        return deepest + 1

    def _empty_list(self, _argument: None) -> None:
        self._budget.spend(objects=1)
        self._stack.append(Sequence())

    def _empty_dict(self, _argument: None) -> None:
        self._budget.spend(objects=1)
        self._stack.append(Entries())

    _empty_set = _empty_list

    def _target(self, kind: type[Sequence] | type[Entries]) -> Any:
        target = self._stack[-1]
        if not isinstance(target, kind):
            raise PickleRefusedError(f"puts items into {_shown(target)}")
        if not target.growing:
            raise PickleRefusedError("holds a container that refers to itself")
        return target

    def _append(self, _argument: None) -> None:
        self._extend([self._stack.pop()])

    def _appends(self, _argument: None) -> None:
        self._extend(self._since_mark())

    _additems = _appends

    def _extend(self, items: list[Any]) -> None:
        target = self._target(Sequence)
        target.depth = max(target.depth, self._enclose(items))
        target.extend(items)

    def _setitem(self, _argument: None) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._update([key, value])

    def _setitems(self, _argument: None) -> None:
        self._update(self._since_mark())

    def _update(self, items: list[Any]) -> None:
        target = self._target(Entries)
        target.depth = max(target.depth, self._enclose(items))
        if len(items) % 2:
            raise PickleRefusedError("is damaged (a key without a value)")
        for key, value in zip(items[::2], items[1::2], strict=True):
            require_key(key)
            target[key] = value

    def _global(self, names: str) -> None:
        self._look_up(".".join(names.split(" ", 1)))

    def _stack_global(self, _argument: None) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if type(name) is not str or type(module) is not str:
            raise PickleRefusedError("names a global by something else than text")
        self._look_up(f"{module}.{name}")

    def _look_up(self, name: str) -> None:
        name = current_name(name)
        if name not in self._stand_ins:
            raise ForeignGlobalsError([name])
        stand_in = self._stand_ins[name]
        self._stack.append(Global(name, stand_in) if callable(stand_in) else stand_in)

    def _reduce(self, _argument: None) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        if not isinstance(function, Global) or not isinstance(arguments, Items):
            raise PickleRefusedError("calls something that is no function")
        self._budget.spend(objects=1, copied=sum(map(size_of, arguments)))
        self._stack.append(self._kept(function.stand_in(*arguments), arguments.depth))

    def _newobj(self, _argument: None) -> None:
        if not isinstance(self._stack[-2], Global) or not isinstance(self._stack[-2].stand_in, type):
            raise PickleRefusedError("builds something that is no class")
        self._reduce(None)

    def _kept(self, result: Any, depth: int) -> Any:
        if type(result) is dict:
            entries = Entries()
            entries.update(result)
            entries.depth = depth
            return entries
        if type(result) is list:
            sequence = Sequence()
            sequence.extend(result)
            sequence.depth, sequence.growing = depth, False
            return sequence
        return result

    def _build(self, _argument: None) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        depth = self._enclose([state])
        self._budget.spend(objects=1, copied=size_of(state))
        if isinstance(target, Entries):
            if not isinstance(state, Entries) or set(state) - {"_metadata"}:
                raise PickleRefusedError("sets attributes of a dict")
        elif hasattr(type(target), "__setstate__") and getattr(target, "growing", False):
            target.__setstate__(state)
            target.growing, target.depth = False, max(target.depth, depth)
        else:
            raise PickleRefusedError(f"sets the state of {_shown(target)}")

    def _binpersid(self, _argument: None) -> None:
        identity = self._stack.pop()
        if self._persistent is None or not isinstance(identity, Items):
            raise PickleRefusedError("refers to a storage where none can be")
        self._stack.append(self._persistent(identity))


def _shown(value: object) -> str:
    kinds = {Sequence: "a list", Entries: "a dict", Items: "a tuple", Global: "a function", str: "a text"}
    return kinds.get(type(value), "something that holds none")
