"""The stack machine that a pickle is a program for, with the opcodes of plain values, containers and function calls."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from bnsharp_cli.io.containers.pickle_reader.calls import Calls, made_of, set_state, shown
from bnsharp_cli.io.containers.pickle_reader.limits import DEEPEST, LARGEST_INTEGER, Budget, size_of
from bnsharp_cli.io.containers.pickle_reader.refusals import Fault, PickleRefusedError
from bnsharp_cli.io.containers.pickle_reader.values import (
    NESTED,
    ForeignObject,
    PickledData,
    PickledDict,
    PickledList,
    PickledTuple,
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
        admits: whether a global outside ``stand_ins`` becomes a :class:`ForeignObject`; it is refused otherwise.
    """

    def __init__(
        self,
        stand_ins: Mapping[str, Any],
        budget: Budget,
        persistent_load: PersistentLoad | None,
        protocols: Collection[int],
        admits: Callable[[str], bool],
    ) -> None:
        self._calls, self._budget = Calls(stand_ins, budget, admits), budget
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
            "LONG4": self._long,
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
        self._stack.append(value if abs(value) < LARGEST_INTEGER else self._calls.large_number())

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
        result.depth, result.holds_data = self._enclose(items)
        self._stack.append(result)

    def _enclose(self, items: list[Any]) -> tuple[int, bool]:
        """The depth of what holds ``items``, which are complete from now on, and whether data are in it."""
        deepest, holds_data = 0, False
        for item in items:
            if isinstance(item, NESTED):
                deepest = max(deepest, item.depth)
                holds_data = holds_data or item.holds_data
                if item.growing:
                    item.growing = False
        if deepest >= DEEPEST:
            raise _too_deep()
        return deepest + 1, holds_data

    def _empty_list(self, _argument: None) -> None:
        self._budget.spend(objects=1)
        self._stack.append(PickledList())

    def _empty_dict(self, _argument: None) -> None:
        self._budget.spend(objects=1)
        self._stack.append(PickledDict())

    def _filled(self, kind: type[PickledList] | type[PickledDict], items: list[Any]) -> Any:
        """The container below ``items``, which it is about to hold."""
        target = self._stack[-1]
        depth, holds_data = self._enclose(items)
        if isinstance(target, ForeignObject):
            target.holds_data |= holds_data
            return target
        if not isinstance(target, kind):
            raise PickleRefusedError(Fault.UNSUPPORTED, f"puts items into {shown(target)}")
        if not target.growing:
            raise PickleRefusedError(Fault.UNSUPPORTED, "holds a container that refers to itself")
        target.depth, target.holds_data = max(target.depth, depth), target.holds_data or holds_data
        return target

    def _append(self, _argument: None) -> None:
        self._extend([self._stack.pop()])

    def _appends(self, _argument: None) -> None:
        self._extend(self._since_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self._filled(PickledList, items)
        if isinstance(target, PickledList):
            target.extend(items)

    def _setitem(self, _argument: None) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._update([key, value])

    def _setitems(self, _argument: None) -> None:
        self._update(self._since_mark())

    def _update(self, items: list[Any]) -> None:
        target = self._filled(PickledDict, items)
        if len(items) % 2:
            raise PickleRefusedError(Fault.DAMAGED, "is damaged (a key without a value)")
        if isinstance(target, ForeignObject):
            return
        self._budget.spend(number_keys=number_keys(items[::2]))
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(key, PickledData):
                target[self._calls.key_of(key)] = value
            else:
                require_key(key)
                target[key] = value

    def _global(self, names: str) -> None:
        self._stack.append(self._calls.named(".".join(names.split(" ", 1))))

    def _stack_global(self, _argument: None) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if type(name) is not str or type(module) is not str:
            raise PickleRefusedError(Fault.UNSUPPORTED, "names a global by something else than text")
        self._stack.append(self._calls.named(f"{module}.{name}"))

    def _reduce(self, _argument: None) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        self._stack.append(self._calls.called(function, arguments))

    def _newobj(self, _argument: None) -> None:
        arguments, kind = self._stack.pop(), self._stack.pop()
        self._stack.append(self._calls.built(kind, arguments))

    def _build(self, _argument: None) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        depth, holds_data = self._enclose([state])
        self._budget.spend(objects=1, copied=size_of(state))
        set_state(target, state, depth, holds_data)

    def _binpersid(self, _argument: None) -> None:
        identity = self._stack.pop()
        if self._persistent_load is None or not isinstance(identity, PickledTuple):
            raise PickleRefusedError(Fault.PERSISTENT_ID, "refers to something outside of it")
        self._stack.append(made_of(identity, self._persistent_load(identity)))


def _too_deep() -> PickleRefusedError:
    return PickleRefusedError(Fault.LIMIT, f"nests containers more than {DEEPEST} deep")
