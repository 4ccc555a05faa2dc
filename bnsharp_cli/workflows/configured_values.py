"""Values of a configuration file as the command line would give them, so that both are read in the same way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.option_records import OptionField
from bnsharp_cli.workflows.configuration import toml_kind

_BARE = re.compile(r"[A-Za-z0-9_-]+")
"""Keys that need no quotation marks."""


def as_given(one: OptionField, value: Any, folder: Path) -> Any:
    """What a parser of the command line gives for an option: texts where the record reads them, else values.

    Args:
        one: the option.
        value: as the file has it.
        folder: that of the file, to which its paths are relative.

    Raises:
        UsageError: a kind of value that the option cannot have.
    """
    if isinstance(value, list) and not value:
        raise _wrong(one, one.declared.expected or "something", "an empty array")
    several = value if isinstance(value, list) else [value]
    if one.declared.read is None:
        return [_plain(one, item, folder) for item in several] if one.several else _plain(one, value, folder)
    texts = _pairs(one, value) if isinstance(value, Mapping) else [_text(one, item) for item in several]
    return texts if one.declared.repeatable else ",".join(texts)


def _plain(one: OptionField, value: Any, folder: Path) -> Any:
    """A value that the record takes, and refuses where it is of another type; it does not know those of a parser."""
    if one.item_type is bool and not isinstance(value, bool):
        raise _wrong(one, "true or false", toml_kind(value))
    if one.item_type is Path:
        if not isinstance(value, str):
            raise _wrong(one, "a path", toml_kind(value))
        return folder / value
    located = one.declared.located
    return located(folder, value) if located is not None and isinstance(value, str) else value


def _pairs(one: OptionField, table: Mapping[str, Any]) -> list[str]:
    """A table as ``KEY=VALUE``, for options that are written so."""
    if not one.declared.repeatable:
        raise _wrong(one, one.declared.expected or "a value", toml_kind(table))
    kinds = get_args(one.item_type) if get_origin(one.item_type) is Mapping else ()
    write = _literal if kinds[1:] == (object,) else _text
    return [f"{key}={write(one, value)}" for key, value in table.items()]


def _literal(one: OptionField, value: Any) -> str:
    """A value as Python writes it, so that a text that looks like a number stays a text."""
    return repr(value) if isinstance(value, bool | str | list | Mapping) else _text(one, value)


def _text(one: OptionField, value: Any) -> str:
    """A value as somebody types it."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _wrong(one, one.declared.expected or "a text or a number", toml_kind(value))
    return str(value)


def _wrong(one: OptionField, expected: str, found: str) -> UsageError:
    return UsageError(
        f"{named(one.name)}: expected {expected}, found {found}.",
        one.declared.example or "Write it as the help of the command shows it.",
        argument=one.name,
        expected=expected,
        found=found,
    )


def toml(value: object) -> str:
    """A value as a file of TOML has it.

    >>> toml([Path("a"), 1.5, True]), toml({"bn": 4.5})
    ('["a", 1.5, true]', '{bn = 4.5}')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return (
            "{"
            + ", ".join(f"{key if _BARE.fullmatch(key) else toml(key)} = {toml(entry)}" for key, entry in value.items())
            + "}"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return str(value) if isinstance(value, int | float) else '"' + "".join(map(_escaped, str(value))) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else f"\\U{ord(character):08x}"
