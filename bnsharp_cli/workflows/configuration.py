"""Options in a file: ``bnsharp.toml``, or ``[tool.bnsharp]`` of ``pyproject.toml``; nothing heavy is imported.

A file that nobody named lies in a repository that may be a stranger's. It is read within bounds, and what it may decide
is :attr:`~bnsharp_cli.option_records.Declared.harmless`.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnsharp_cli.errors import UsageError, named
from bnsharp_cli.io.files.printable_text import one_line
from bnsharp_cli.io.files.regular_files import read_whole
from bnsharp_cli.option_records import OptionRecord, option

OWN_FILE, PROJECT_FILE = "bnsharp.toml", "pyproject.toml"

_REPOSITORY = (".git", ".hg")
"""What lies in the topmost folder of a repository."""

_OURS = b"bnsharp"
_LARGEST = 2**19
"""Bytes of such a file; those of large projects have a tenth of it."""

_MOST_PARTS = 100
_SIMILAR = 0.5

_KINDS: dict[type, str] = {
    Mapping: "a table",
    list: "an array",
    bool: "a boolean",
    str: "a text",
    int: "a number",
    float: "a number",
}

_DOTS = re.compile(rb"\.(?:[ \t]*\.)*")
"""Of names such as ``a.b.c`` the parser compares all beginnings, which takes time with the square of the parts."""


@dataclass(frozen=True)
class ConfigurationOptions(OptionRecord):
    """The place of further options.

    Attributes:
        config: the file; None for the one that is found.
        no_config: read none.
        show_config: print what every option is, and end.
    """

    config: Path | None = option(
        None,
        "File with options.",
        shown_default=f"{OWN_FILE}, or [tool.bnsharp] of {PROJECT_FILE}, here or in a folder above it up to the "
        "repository's",
    )
    no_config: bool = option(False, "Read no such file.")
    show_config: bool = option(False, "Print every option, and whether it was given, read or left alone; then exit.")

    def __post_init__(self) -> None:
        """Refuse a file that is to be read and not.

        Raises:
            UsageError: both are said.
        """
        super().__post_init__()
        if self.no_config and self.config is not None:
            raise UsageError(
                f"{named('config')} names a file that {named('no_config')} leaves unread.",
                "Leave one of them out.",
                argument="config",
                expected="one of the two",
                found="both",
            )


@dataclass(frozen=True)
class Configuration:
    """The options of a file.

    Attributes:
        path: of the file, from the working directory.
        is_named: whether the user named it, so that it may decide everything.
        prefix: of the tables' names, ``tool.bnsharp.`` in a file of a project.
        tables: the options of each command, by their names.
    """

    path: Path
    is_named: bool
    prefix: str
    tables: Mapping[str, Mapping[str, Any]]

    def key(self, command: str, name: str) -> str:
        """An option as the file writes it, such as ``check.batch-size``."""
        return f"{self.prefix}{command}.{name}"


def read_configuration(
    options: ConfigurationOptions, known: Callable[[], Mapping[str, Sequence[str]]]
) -> Configuration | None:
    """The file that is named or found; None where there is none.

    Args:
        options: whether one is named.
        known: the options of every command, asked for where a file is found.

    Raises:
        UsageError: it cannot be read, is no TOML, or has a table or an option that nobody knows.
    """
    if options.no_config:
        return None
    for path in _candidates() if options.config is None else [options.config]:
        of_project = path.name == PROJECT_FILE
        tables = _tables(path, of_project, options.config is not None)
        if tables is not None:
            prefix = "tool.bnsharp." if of_project else ""
            _require_known(path, prefix, tables, known())
            return Configuration(path, options.config is not None, prefix, tables)
    return None


def _candidates() -> Iterator[Path]:
    """Files that are there, the first one first: of one folder our own, and the nearest folder."""
    for folder in _folders():
        yield from (path for path in (folder / OWN_FILE, folder / PROJECT_FILE) if os.path.lexists(path))


def _folders() -> Iterator[Path]:
    """The working directory and those above it up to the repository's; itself alone where there is no repository."""
    try:
        here = Path.cwd()
    except OSError:  # it is gone
        return
    above = enumerate((here, *here.parents))
    top = next((depth for depth, one in above if any(os.path.lexists(one / name) for name in _REPOSITORY)), 0)
    yield from (Path(*[os.pardir] * depth) for depth in range(top + 1))


def _tables(path: Path, of_project: bool, is_named: bool) -> Mapping[str, Any] | None:
    """What a file says; None for the file of a project that says nothing to us, and that nobody named."""
    text = _read(path)
    if of_project and not is_named and _OURS not in text:
        return None  # whatever else is in it
    tables: Any = _parsed(path, text)
    for name in ("tool", "bnsharp") if of_project else ():
        tables = tables.get(name) if isinstance(tables, Mapping) else None
    if tables is None and is_named:
        raise _refused(path, "it has no table [tool.bnsharp]")
    if tables is None or isinstance(tables, Mapping):
        return tables
    raise _refused(path, f"expected a table tool.bnsharp, found {toml_kind(tables)}")


def _read(path: Path) -> bytes:
    return read_whole(path, _LARGEST, "a file of options", lambda why: _refused(path, f"it {why}"))


def _parsed(path: Path, text: bytes) -> Mapping[str, Any]:
    for number, line in enumerate(text.splitlines(), 1):
        if len(_DOTS.findall(line)) > _MOST_PARTS:
            raise _refused(path, f"line {number} has more than {_MOST_PARTS} points")
    try:
        return tomllib.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # of ValueError is what tomllib and the decoder raise
        raise _refused(path, f"it is no TOML: {one_line(error)}") from error


def _require_known(path: Path, prefix: str, tables: Mapping[str, Any], known: Mapping[str, Sequence[str]]) -> None:
    """Refuse what no command has.

    Raises:
        UsageError: with the nearest name that is known.
    """
    for command, table in tables.items():
        if command not in known:
            raise _unknown(path, f"{prefix}{command}", "a table for a command", command, known)
        if not isinstance(table, Mapping):
            raise _refused(path, f"{prefix}{command}: expected a table, found {toml_kind(table)}")
        for name in table:
            if name not in known[command]:
                raise _unknown(path, f"{prefix}{command}.{name}", f"an option of {command}", name, known[command])


def _unknown(path: Path, key: str, expected: str, found: str, known: Iterable[str]) -> UsageError:
    near = difflib.get_close_matches(found.replace("_", "-").casefold(), known, 1, _SIMILAR)
    return UsageError(
        f"{one_line(key)}: expected {expected}, found '{one_line(found)}'.",
        f"Did you mean {near[0]}?" if near else f"Known are {', '.join(sorted(known))}.",
        argument="config",
        expected=expected,
        found=found,
        path=path,
    )


def _refused(path: Path, reason: str) -> UsageError:
    return UsageError(
        f"{reason}.",
        f"Mend it, or leave it unread with {named('no_config')}.",
        argument="config",
        expected="a file of options",
        found=reason,
        path=path,
    )


def toml_kind(value: object) -> str:
    """What TOML calls a value.

    >>> toml_kind({"a": 1}), toml_kind(True), toml_kind([1])
    ('a table', 'a boolean', 'an array')
    """
    for kind, words in _KINDS.items():
        if isinstance(value, kind):
            return words
    return "a date or time"
