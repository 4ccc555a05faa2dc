"""Importing a function that the user names: this runs the user's own code, never a checkpoint's."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bnsharp_cli.errors import UsageError
from bnsharp_cli.io.files.printable_text import kind_and_line


def run_factory(spec: str, *arguments: object, **options: object) -> Any:
    """What the function at ``package.module:name`` or ``path/to/file.py:name`` returns.

    Raises:
        UsageError: it cannot be imported, or it fails.
    """
    function = import_factory(spec)
    try:
        return function(*arguments, **options)
    except (Exception, SystemExit) as error:  # a user's function raises whatever it likes
        raise UsageError(f"'{spec}' failed: {kind_and_line(error)}.", "Mend the function.") from error


def import_factory(spec: str) -> Callable[..., Any]:
    """The function at ``package.module:name`` or ``path/to/file.py:name``.

    Raises:
        UsageError: the module cannot be imported or has no such function.
    """
    module_name, _, name = spec.rpartition(":")
    try:
        module = _import_file(Path(module_name)) if module_name.endswith(".py") else _import_module(module_name)
        function = getattr(module, name)
    except (Exception, SystemExit) as error:  # importing runs the user's module
        raise UsageError(
            f"Cannot import '{spec}': {kind_and_line(error)}.",
            "Name it as package.module:function or path/to/file.py:function.",
        ) from error
    if not callable(function):
        raise UsageError(f"'{spec}' is a {type(function).__name__}, expected a function.", "Name a function.")
    return function  # type: ignore[no-any-return]  # a user's callable has whatever type it has


def _import_module(name: str) -> Any:
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    return importlib.import_module(name)


def _import_file(path: Path) -> Any:
    specification = importlib.util.spec_from_file_location(path.stem, path)
    if specification is None or specification.loader is None or not path.is_file():
        raise ImportError(f"no such file: {path}")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
