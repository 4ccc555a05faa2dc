"""The settings of an untrusted configuration that a network is built from: declared by its class, and within bounds.

Types come from the annotations of the configuration class. Where a type alone bounds nothing, :mod:`setting_ranges`
does, by the name of a setting: ``is_in_range`` for numbers, ``WORDS`` for text. A text that is in no table is refused.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeGuard, Union, get_args, get_origin

from bnsharp_cli.io.files.importing import importing_libraries
from bnsharp_cli.io.files.printable_text import one_line, printable
from bnsharp_cli.io.networks.rotary_settings import EARLIER_ROTARY, ROTARY, are_rotary
from bnsharp_cli.io.networks.setting_ranges import UNDECLARED, WORDS, is_in_range

_MOST_ENTRIES = 256
"""Entries of a list."""

_DEEPEST_LIST, _SINGLE = 2, int | bool | None
"""Lists in lists, and what is in these, where a class says no more than that it takes a list."""


def _is_names(value: object) -> bool:
    return isinstance(value, list) and len(value) <= _MOST_ENTRIES and all(isinstance(name, str) for name in value)


def _is_table_of(kinds: type | tuple[type, ...]) -> Callable[[object], bool]:
    """A check for nothing, or for a table with entries of these kinds."""
    return lambda table: (
        table is None or (isinstance(table, Mapping) and all(isinstance(entry, kinds) for entry in table.values()))
    )


_OF_EVERY_NETWORK: Mapping[str, Callable[[object], bool]] = {
    "architectures": lambda value: value is None or _is_names(value),
    "id2label": _is_table_of((str, int)),
    "label2id": _is_table_of(int),
    "num_labels": lambda value: _fits("num_labels", value, int),
    "problem_type": lambda value: _fits("problem_type", value, str | None),
    "transformers_version": lambda value: value is None or isinstance(value, str),
}
"""What every network has beside the settings that its class declares, and whether a value may stand there."""


_OF_PARTS = frozenset({"out_features", "out_indices", "stage_names"})
"""Which stages a network answers with where it is a part of another; a classifier answers with none of them."""


class ForbiddenSettingError(ValueError):
    """A value that a file may not give a setting."""


def declared(configuration: type[Any], settings: Mapping[str, Any], *, nested: bool = False) -> dict[str, Any]:
    """The ``settings`` that a configuration class declares itself, and those that every network has.

    Transformers would make an attribute of every other setting, and obeys some of these: the name of a class, of code
    or of an implementation to fetch, another name for a setting, a precision, a form of the outputs.

    Args:
        configuration: a configuration class of transformers; it fixes the classes of nested configurations.
        settings: from the file.
        nested: whether it is a part of another configuration; labels are a matter of the whole.

    Raises:
        ForbiddenSettingError: one of them is of another type than declared, or out of its range.
    """
    own, parts = {**_undeclared(configuration), **declared_types(configuration)}, configuration.sub_configs
    common = {} if nested else _OF_EVERY_NETWORK
    kept: dict[str, Any] = {}
    for name, value in settings.items():
        if name in parts and isinstance(value, dict):
            kept[name] = declared(parts[name], value, nested=True)
        elif name in common or name in own:
            check = common.get(name)
            if not (check(value) if check else _fits(name, value, own[name])):
                shown = one_line(repr(printable(value)), 40)
                raise ForbiddenSettingError(f"{name} is {shown}, which a file may not say")
            kept[name] = value
    return kept


def require_derived(settings: Any, stated: Mapping[str, Any]) -> None:
    """Refuse a value that a file states for what the class of its settings derives from others, unless it is the same.

    LeViT's ``down_ops`` are such: transformers would build from the file's, :func:`declared` leaves them out.

    Args:
        settings: the settings that the network is built from, an object of transformers.
        stated: those of the file.

    Raises:
        ForbiddenSettingError: it is another value.
    """
    derived, others = settings.to_dict(), settings.attribute_map
    kept = declared_types(type(settings)).keys() | _undeclared(type(settings)).keys()
    left_out = (derived.keys() | others.keys()) - kept - _of_every_class()
    for name in sorted((left_out & stated.keys()) - _OF_PARTS):
        own, value = getattr(settings, others.get(name, name), None), stated[name]
        if value is not None and _without_ends(value) != _without_ends(own):
            shown = one_line(repr(printable(value)), 40)
            raise ForbiddenSettingError(f"{name} is {shown}, which does not follow from its other settings")


def _without_ends(value: object) -> object:
    """A setting as plain content, without the mark that LeViT puts behind its last stage when it is built."""
    if not isinstance(value, list | tuple):
        return value
    entries = [_without_ends(entry) for entry in value]
    while entries and entries[-1] == [""]:
        entries.pop()
    return entries


def _of_every_class() -> set[str]:
    with importing_libraries():
        from transformers import PreTrainedConfig

    return set(PreTrainedConfig().to_dict())


def declared_types(configuration: type[Any]) -> dict[str, Any]:
    """The settings that a configuration class declares beyond those of every class, by name with their types."""
    with importing_libraries():
        from transformers import PreTrainedConfig

    common, own = (inspect.signature(one.__init__).parameters for one in (PreTrainedConfig, configuration))
    return {
        name: parameter.annotation
        for name, parameter in own.items()
        if name not in common and not name.startswith("_") and parameter.kind is not parameter.VAR_KEYWORD
    }


def _undeclared(configuration: type[Any]) -> dict[str, Any]:
    """The settings that a class obeys without declaring them, by name with their types."""
    rotary = EARLIER_ROTARY if ROTARY in declared_types(configuration) else {}
    return {**UNDECLARED.get(configuration.model_type, {}), **dict.fromkeys(rotary)}


def _fits(name: str, value: object, kind: Any) -> bool:
    """Whether a value is of a type, and what is in it in the ranges of the setting ``name``."""
    if name == ROTARY or name in EARLIER_ROTARY:
        return are_rotary(name, value)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return any(_fits(name, value, one) for one in inner)
    if kind in (None, type(None)):
        return value is None
    if origin is Literal:
        return isinstance(value, str) and value in inner
    if kind is bool:
        return isinstance(value, bool)
    if kind in (int, float):
        return is_in_range(name, value, kind)
    if kind is str:
        return isinstance(value, str) and value in WORDS.get(name, ())
    if kind is list:
        return _is_list_of_numbers(name, value)
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return _is_list(value) and all(any(_fits(name, entry, one) for one in inner) for entry in value)
    return False


def _is_list(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list) and len(value) <= _MOST_ENTRIES


def _is_list_of_numbers(name: str, value: object, depth: int = _DEEPEST_LIST) -> bool:
    """Whether a value is a list of whole numbers and truth values, or of such lists to some depth."""
    if not _is_list(value):
        return False
    return all(
        _is_list_of_numbers(name, entry, depth - 1)
        if depth and isinstance(entry, list)
        else _fits(name, entry, _SINGLE)
        for entry in value
    )
