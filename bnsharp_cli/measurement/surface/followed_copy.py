"""Deep copies that follow functions: what a function closes over, or finds in its module, is copied along.

``copy.deepcopy`` takes functions as they are. So a hook, a ``forward`` that was put in place of the class's, or a loss
that reads the network would go on using the user's own network beside the copy of it, and fill the user's own lists.
"""

from __future__ import annotations

import contextlib
import copy
import dis
import functools
import logging
import sysconfig
from collections import deque
from collections.abc import Mapping
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn

_LIBRARIES = (sysconfig.get_paths()["stdlib"], sysconfig.get_paths()["platstdlib"])
_INSTALLED = ("site-packages", "dist-packages")
_OWN_PACKAGE = "bnsharp_cli."

_MOST = 200_000
"""So many objects are looked at; what lies beyond keeps its references."""

_SCRATCH = (dict, list, set, deque)
_ATOMS = (type, ModuleType, str, bytes, int, float, complex, bool, type(None), CodeType, torch.dtype, torch.device)
_WITHOUT_METHODS = {"builtins", "torch"}
_PLAIN: Any = object
_COMPILED = "_torchdynamo_orig_callable"

_CONTAINERS = (list, tuple, set, frozenset, deque)


def copied_together(module: nn.Module, companion: Any, shared: Mapping[int, Any]) -> tuple[nn.Module, Any]:
    """A copy of ``module``, and of ``companion`` if it refers to ``module`` in any way; else that as it is.

    Functions and methods by which either refers to the network are made anew, with copies of what they close over and
    of the names that they find in their module. So are functions of the network that keep something in a list or a
    record of the user's. What cannot be copied, such as an open file, stays what it is.

    Args:
        module: a network.
        companion: its loss, for example.
        shared: what the copy takes instead of a copy, by the ``id`` of the original.
    """
    followed = _Followed(module, companion, shared)
    own, follower = copy.deepcopy(module, followed.memo), followed.copy_of(companion)
    followed.fill()
    followed.exchange_methods()
    return own, follower


def reachable(module: nn.Module, companion: Any) -> list[Any]:
    """Everything that a network or its companion refers to, as far as their use can lead there."""
    return [*_Followed(module, companion, {})._objects.values()]


class _Followed:
    """One copy under way.

    Args:
        module: a network.
        companion: what may refer to it.
        shared: as for :func:`copied_together`.
    """

    def __init__(self, module: nn.Module, companion: Any, shared: Mapping[int, Any]) -> None:
        self._objects: dict[int, Any] = {}
        self._parents: dict[int, set[int]] = {}
        self._cells: dict[int, CellType] = {}
        self._namespaces: dict[int, dict[str, Any]] = {}
        self._compiled: list[tuple[FunctionType, CellType]] = []
        self._to_fill: list[tuple[FunctionType, FunctionType]] = []
        self._walk(module)
        scratch = self._scratch()
        self._stored = self._stored_variables()
        self._walk(companion)
        scratch |= {key for key, one in self._objects.items() if not self._stored.isdisjoint(_variables(one))}
        self._carriers = self._leading_to({*map(id, (*module.modules(), *module.parameters())), *scratch, *shared})
        self.memo: dict[int, Any] = dict(shared)
        for key in self._carriers:
            found = self._objects[key]
            if isinstance(found, FunctionType):
                self.memo[key] = self._forwarding(found) if hasattr(found, _COMPILED) else self._rebuilt(found)
            if isinstance(found, Tensor) and not found.is_leaf:
                self.memo.setdefault(key, found.detach())

    def copy_of(self, value: Any) -> Any:
        """The copy of what leads to the network; anything else, or what cannot be copied, as it is."""
        if id(value) not in self._carriers:
            return value
        try:
            return copy.deepcopy(value, self.memo)
        except Exception:  # a user's object may hold anything; whether it matters is seen when it is used
            return value

    def fill(self) -> None:
        """Give the functions that were made anew what they refer to."""
        for compiled, cell in self._compiled:
            cell.cell_contents = self.copy_of(getattr(compiled, _COMPILED))
        for original, made in self._to_fill:
            for cell in original.__closure__ or ():
                if id(cell) in self._cells:
                    for content in _contents(cell):
                        self._cells[id(cell)].cell_contents = self.copy_of(content)
            namespace = self._namespaces.get(id(original.__globals__), {})
            for name, value in _globals_of(original).items():
                if name in namespace:
                    namespace[name] = self.copy_of(value)
            made.__defaults__ = tuple(map(self.copy_of, original.__defaults__ or ())) or None
            keywords = original.__kwdefaults__
            made.__kwdefaults__ = keywords and {name: self.copy_of(value) for name, value in keywords.items()}
            made.__dict__.update(vars(original))

    def exchange_methods(self) -> None:
        """Give copied objects whose class refers to the network a class of their own, with the methods made anew."""
        classes: dict[type, type] = {}
        for key in self._carriers & {*self.memo}:
            kind = type(self._objects[key])
            methods = {name: self.memo[id(one)] for name, one in _methods(kind).items() if id(one) in self._carriers}
            if methods and self.memo[key] is not self._objects[key]:
                if kind not in classes:
                    classes[kind] = type(kind.__name__, (kind,), {**methods, "__module__": kind.__module__})
                with contextlib.suppress(TypeError):  # a class with slots keeps its methods
                    object.__setattr__(self.memo[key], "__class__", classes[kind])  # a record may be frozen

    def _walk(self, root: Any) -> None:
        waiting = [root]
        self._objects.setdefault(id(root), root)
        while waiting and len(self._objects) < _MOST:
            parent = waiting.pop()
            for child in _references(parent):
                if isinstance(child, _ATOMS):
                    continue
                self._parents.setdefault(id(child), set()).add(id(parent))
                if id(child) not in self._objects:
                    self._objects[id(child)] = child
                    waiting.append(child)

    def _scratch(self) -> set[int]:
        """What the network's code may keep something in: lists, and objects of the user's classes."""
        found = [*self._objects.values()]
        users = [each for each in found if isinstance(each, FunctionType) and _of_user(each)]
        keepers = [*users, *(each for each in found if isinstance(each, MethodType | partial | nn.Module))]
        hooks = [hook for each in found if isinstance(each, nn.Module) for hook in _hooks(each)]
        values = [*hooks, *(value for keeper in keepers for value in _references(keeper))]
        return {id(value) for value in values if isinstance(value, _SCRATCH) or _is_record(value)}

    def _stored_variables(self) -> set[tuple[int, str]]:
        """The variables that functions of the network set: cells, and names of their modules."""
        functions = [each for each in self._objects.values() if isinstance(each, FunctionType)]
        return {each for function in functions for each in _variables(function, "STORE_DEREF", "STORE_GLOBAL")}

    def _leading_to(self, targets: set[int]) -> set[int]:
        """The objects that refer to a target, directly or through others."""
        found, waiting = set(targets) & {*self._objects}, list(targets)
        while waiting:
            new = self._parents.get(waiting.pop(), set()) - found
            found |= new
            waiting.extend(new)
        return found

    def _rebuilt(self, function: FunctionType) -> FunctionType:
        """The function with cells and names of its own, which :meth:`fill` fills."""
        cells = [self._cell(cell) for cell in function.__closure__ or ()]
        names = self._namespace(function)
        made = FunctionType(function.__code__, names, function.__name__, None, tuple(cells) or None)
        made.__qualname__, made.__module__ = function.__qualname__, function.__module__
        self._to_fill.append((function, made))
        return made

    def _forwarding(self, compiled: FunctionType) -> FunctionType:
        """What torch.compile made a function of, without it: compiled code belongs to the network it was made for."""

        def forwarded(*args: Any, **keywords: Any) -> Any:
            return target(*args, **keywords)

        target: Any = None
        (cell,) = forwarded.__closure__ or ()
        self._compiled.append((compiled, cell))
        return cast(FunctionType, forwarded)

    def _cell(self, cell: CellType) -> CellType:
        leads = any(id(content) in self._carriers for content in _contents(cell))
        return self._cells.setdefault(id(cell), CellType()) if leads or (id(cell), "") in self._stored else cell

    def _namespace(self, function: FunctionType) -> dict[str, Any]:
        leads = any(id(value) in self._carriers for value in _globals_of(function).values())
        own = function.__globals__
        if leads or not self._stored.isdisjoint(_variables(function)):
            return self._namespaces.setdefault(id(own), dict(own))
        return self._namespaces.get(id(own), own)


def _references(value: Any) -> list[Any]:
    """What an object refers to, as far as its use can lead there."""
    if isinstance(value, FunctionType):
        if hasattr(value, _COMPILED):
            return [getattr(value, _COMPILED)]
        contents = [content for cell in value.__closure__ or () for content in _contents(cell)]
        defaults = [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
        return [*contents, *defaults, *_globals_of(value).values()]
    if isinstance(value, MethodType):
        return [value.__self__, value.__func__]
    if isinstance(value, partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, Mapping) and hasattr(value, "items"):
        return [part for item in value.items() for part in item] if isinstance(value, dict) else []
    if isinstance(value, _CONTAINERS):
        return [*value]
    if isinstance(value, Tensor | torch.jit.ScriptModule | logging.Logger | logging.Handler):
        return []  # what is logged changes no loss, and a logger leads to the whole program
    return [*getattr(value, "__dict__", {}).values(), *_methods(type(value)).values()]


def _methods(kind: type) -> dict[str, FunctionType]:
    """The methods that a class has from the user's code, its own before those that it inherits."""
    found: dict[str, FunctionType] = {}
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] in _WITHOUT_METHODS:
            continue
        for name, value in vars(base).items():
            if isinstance(value, FunctionType) and name not in found and _of_user(value):
                found[name] = value
    return found


def _variables(value: Any, closed: str = "", named: str = "") -> set[tuple[int, str]]:
    """The variables outside itself that a user's function uses: all of them, or by these operations alone."""
    if not isinstance(value, FunctionType) or not _of_user(value):
        return set()
    names = {*_names(value.__code__, closed)} if closed else {*value.__code__.co_freevars}
    cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=False)
    operations = (named,) if named else ("LOAD_GLOBAL", "STORE_GLOBAL")
    read = {name for operation in operations for name in _names(value.__code__, operation)}
    return {(id(cell), "") for name, cell in cells if name in names} | {(id(value.__globals__), name) for name in read}


def _hooks(module: nn.Module) -> list[Any]:
    """Forward hooks, which may be objects that can be called."""
    return [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]


def _contents(cell: CellType) -> list[Any]:
    try:
        return [cell.cell_contents]
    except ValueError:  # the variable has no value yet
        return []


def _globals_of(function: FunctionType) -> dict[str, Any]:
    """The names of its module that a user's function reads or sets, with their values."""
    if not _of_user(function):
        return {}
    names = {*_names(function.__code__, "LOAD_GLOBAL"), *_names(function.__code__, "STORE_GLOBAL")}
    return {name: function.__globals__[name] for name in names if name in function.__globals__}


@functools.lru_cache(maxsize=2**16)
def _names(code: CodeType, operation: str) -> tuple[str, ...]:
    """The names that an operation of the code, or of functions inside it, is about."""
    own = [each.argval for each in dis.get_instructions(code) if each.opname == operation]
    inner = [name for each in code.co_consts if isinstance(each, CodeType) for name in _names(each, operation)]
    return (*own, *inner)


def _of_user(function: FunctionType) -> bool:
    """Whether a function belongs to no library: those are not copied for the sake of their own names."""
    if str(function.__module__).startswith(_OWN_PACKAGE):
        return False
    path = function.__code__.co_filename
    installed = any(folder in path for folder in _INSTALLED)
    return not installed and not path.startswith((*_LIBRARIES, "<frozen"))


def _is_record(value: Any) -> bool:
    """Whether an object is of a plain class, which keeps all it has in its attributes."""
    kind: Any = type(value)
    plain = kind.__reduce_ex__ is _PLAIN.__reduce_ex__ and kind.__reduce__ is _PLAIN.__reduce__
    keeps = hasattr(value, "__dict__") or bool(getattr(kind, "__slots__", ()))
    return plain and keeps and not isinstance(value, nn.Module | FunctionType | MethodType)
