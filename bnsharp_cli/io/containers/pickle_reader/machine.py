"""The stack machine that a pickle is a program for, with the opcodes of plain values, containers and function calls."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from bnsharp_cli.io.containers.pickle_reader.limits import DEEPEST, LARGEST_INTEGER, Budget, size_of
from bnsharp_cli.io.containers.pickle_reader.refusals import Fault, ForeignGlobalsError, PickleRefusedError
from bnsharp_cli.io.containers.pickle_reader.values import (
    NESTED,
    PickledDict,
    PickledGlobal,
    PickledList,
    PickledObject,
    PickledTuple,
    current_name,
    number_keys,
    require_key,
)

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = ("BININT", "BININT1", "BININT2", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE")
_SHORT_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}

PersistentLoad = Callable[[tuple[Any, ...]], Any]


class Machine:
    """The memo, the stack, and the stacks below it since the last marks.

    A container is complete before anything else holds it: it stops growing when it is put into another or fetched from
    the memo. So there are no cycles, and the depth of everything is known while it is made.

    Args:
        stand_ins: a function, class or value for every global that may occur, by its full name.
        budget: what reading may cost.
        persistent_load: called with a persistent id; ``None`` if there may be none.
        protocols: those that may be declared.
    """

    def __init__(
        self,
        stand_ins: Mapping[str, Any],
        budget: Budget,
        persistent_load: PersistentLoad | None,
        protocols: Collection[int],
    ) -> None:
        self._stand_ins, self._budget = stand_ins, budget
        self._persistent_load, self._protocols = persistent_load, protocols
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._methods = self._by_opcode()

    def _by_opcode(self) -> Mapping[str, Callable[[Any], None]]:
        """The methods that execute an opcode each. A set is read into a list."""
        return {
            **dict.fromkeys(_LITERALS, self._literal),
            **{name: partial(self._constant, value) for name, value in _CONSTANTS.items()},
            **{name: partial(self._short_tuple, length) for name, length in _SHORT_TUPLES.items()},
            "LONG1": self._long,
            "SHORT_BINSTRING": self._bytes_of_text,
            "BINPUT": self._store,
            "LONG_BINPUT": self._store,
            "BINGET": self._fetch,
            "LONG_BINGET": self._fetch,
            "PROTO": self._proto,
            "FRAME": self._frame,
            "MEMOIZE": self._memoize,
            "MARK": self._mark,
            "TUPLE": self._tuple,
            "EMPTY_TUPLE": self._empty_tuple,
            "EMPTY_LIST": self._empty_list,
            "EMPTY_DICT": self._empty_dict,
            "EMPTY_SET": self._empty_list,
            "APPEND": self._append,
            "APPENDS": self._appends,
            "ADDITEMS": self._appends,
            "SETITEM": self._setitem,
            "SETITEMS": self._setitems,
            "GLOBAL": self._global,
            "STACK_GLOBAL": self._stack_global,
            "REDUCE": self._reduce,
            "NEWOBJ": self._newobj,
            "BUILD": self._build,
            "BINPERSID": self._binpersid,
        }

    def step(self, name: str, argument: Any) -> None:
        """Execute the next opcode.

        Raises:
            PickleRefusedError: it is unknown, or does what no plain pickle does.
        """
        self._budget.take_step()
        method = self._methods.get(name)
        if method is None:
            raise PickleRefusedError(Fault.OPCODE, f"uses the opcode {name}", name)
        method(argument)

    def result(self) -> Any:
        """The one value that is left at STOP."""
        if self._below or len(self._stack) != 1:
            raise PickleRefusedError(Fault.DAMAGED, "is damaged (it ends with an unbalanced stack)")
        return self._stack.pop()

    def _literal(self, value: Any) -> None:
        self._stack.append(value)

    def _long(self, value: int) -> None:
        if abs(value) >= LARGEST_INTEGER:
            raise PickleRefusedError(Fault.LIMIT, "holds a number of more than 64 bits")
        self._stack.append(value)

    def _bytes_of_text(self, value: str) -> None:
        if not value.isascii():
            raise PickleRefusedError(Fault.UNSUPPORTED, "holds raw bytes in a string")
        self._stack.append(value)

    def _constant(self, value: object, _argument: None) -> None:
        self._stack.append(value)

    def _short_tuple(self, length: int, _argument: None) -> None:
        self._push_tuple([self._stack.pop() for _ in range(length)][::-1])

    def _store(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _fetch(self, index: int) -> None:
        value = self._memo[index]
        if isinstance(value, NESTED) and value.growing:
            value.growing = False
        self._stack.append(value)

    def _proto(self, version: int) -> None:
        if version not in self._protocols:
            raise PickleRefusedError(Fault.PROTOCOL, f"is a pickle of protocol {version}", version)

    def _frame(self, _length: int) -> None:
        """Frames only help a reader to buffer."""

    def _memoize(self, _argument: None) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _mark(self, _argument: None) -> None:
        if len(self._below) > DEEPEST:
            raise _too_deep()
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
        result = PickledTuple(items)
        result.depth = self._enclose(items)
        self._stack.append(result)

    def _enclose(self, items: list[Any]) -> int:
        """The depth of what holds ``items``, which are complete from now on."""
        deepest = 0
        for item in items:
            if isinstance(item, NESTED):
                deepest = max(deepest, item.depth)
                if item.growing:
                    item.growing = False
        if deepest >= DEEPEST:
            raise _too_deep()
        return deepest + 1

    def _empty_list(self, _argument: None) -> None:
        self._budget.spend(objects=1)
        self._stack.append(PickledList())

    def _empty_dict(self, _argument: None) -> None:
        self._budget.spend(objects=1)
        self._stack.append(PickledDict())

    def _target(self, kind: type[PickledList] | type[PickledDict]) -> Any:
        target = self._stack[-1]
        if not isinstance(target, kind):
            raise PickleRefusedError(Fault.UNSUPPORTED, f"puts items into {_shown(target)}")
        if not target.growing:
            raise PickleRefusedError(Fault.UNSUPPORTED, "holds a container that refers to itself")
        return target

    def _append(self, _argument: None) -> None:
        self._extend([self._stack.pop()])

    def _appends(self, _argument: None) -> None:
        self._extend(self._since_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self._target(PickledList)
        target.depth = max(target.depth, self._enclose(items))
        target.extend(items)

    def _setitem(self, _argument: None) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._update([key, value])

    def _setitems(self, _argument: None) -> None:
        self._update(self._since_mark())

    def _update(self, items: list[Any]) -> None:
        target = self._target(PickledDict)
        target.depth = max(target.depth, self._enclose(items))
        if len(items) % 2:
            raise PickleRefusedError(Fault.DAMAGED, "is damaged (a key without a value)")
        self._budget.spend(number_keys=number_keys(items[::2]))
        for key, value in zip(items[::2], items[1::2], strict=True):
            require_key(key)
            target[key] = value

    def _global(self, names: str) -> None:
        self._look_up(".".join(names.split(" ", 1)))

    def _stack_global(self, _argument: None) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if type(name) is not str or type(module) is not str:
            raise PickleRefusedError(Fault.UNSUPPORTED, "names a global by something else than text")
        self._look_up(f"{module}.{name}")

    def _look_up(self, name: str) -> None:
        name = current_name(name)
        if name not in self._stand_ins:
            raise ForeignGlobalsError([name])
        stand_in = self._stand_ins[name]
        self._stack.append(PickledGlobal(name, stand_in) if callable(stand_in) else stand_in)

    def _reduce(self, _argument: None) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        if not isinstance(function, PickledGlobal) or not isinstance(arguments, PickledTuple):
            raise PickleRefusedError(Fault.UNSUPPORTED, "calls something that is no function")
        self._budget.spend(objects=1, copied=sum(map(size_of, arguments)))
        self._stack.append(self._nested(function.stand_in(*arguments), arguments.depth))

    def _newobj(self, _argument: None) -> None:
        function = self._stack[-2]
        if not isinstance(function, PickledGlobal) or not isinstance(function.stand_in, type):
            raise PickleRefusedError(Fault.UNSUPPORTED, "builds something that is no class")
        self._reduce(None)

    def _nested(self, result: Any, depth: int) -> Any:
        """What a function returned, as deep as its arguments; a dict or list of its own as one that knows its depth."""
        if type(result) is dict:
            entries = PickledDict()
            entries.update(result)
            entries.depth = depth
            return entries
        if type(result) is list:
            items = PickledList()
            items.extend(result)
            items.depth, items.growing = depth, False
            return items
        if isinstance(result, PickledObject):
            result.depth = max(result.depth, depth)
        return result

    def _build(self, _argument: None) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        depth = self._enclose([state])
        self._budget.spend(objects=1, copied=size_of(state))
        if isinstance(target, PickledDict):
            if not isinstance(state, PickledDict) or set(state) - {"_metadata"}:
                raise PickleRefusedError(Fault.UNSUPPORTED, "sets attributes of a dict")
        elif isinstance(target, PickledObject) and target.growing:
            target.__setstate__(state)
            target.growing, target.depth = False, max(target.depth, depth)
        else:
            raise PickleRefusedError(Fault.UNSUPPORTED, f"sets the state of {_shown(target)}")

    def _binpersid(self, _argument: None) -> None:
        identity = self._stack.pop()
        if self._persistent_load is None or not isinstance(identity, PickledTuple):
            raise PickleRefusedError(Fault.PERSISTENT_ID, "refers to something outside of it")
        self._stack.append(self._nested(self._persistent_load(identity), identity.depth))


def _too_deep() -> PickleRefusedError:
    return PickleRefusedError(Fault.LIMIT, f"nests containers more than {DEEPEST} deep")


def _shown(value: object) -> str:
    kinds = {PickledList: "a list", PickledDict: "a dict", PickledTuple: "a tuple", PickledGlobal: "a function"}
    return "a text" if isinstance(value, str) else kinds.get(type(value), "something that holds none")
