"""Importing a function that the user names: this runs the user's own code, never a checkpoint's."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bnsharp_cli.errors import UsageError
from bnsharp_cli.io.files.printable_text import kind_and_line, shown_path

_FORMS = "package.module:function or path/to/file.py:function"


def run_factory(argument: str, spec: str, *arguments: object, **options: object) -> Any:
    """What the function at ``package.module:name`` or ``path/to/file.py:name`` returns.

    Args:
        argument: that names the function, for the errors.
        spec: the function.
        *arguments: of the function.
        **options: keyword arguments of the function.

    Raises:
        UsageError: it cannot be imported, or it fails.

    >>> run_factory("arch", "math:hypot", 3, 4)
    5.0
    """
    function = import_factory(argument, spec)
    try:
        with _importable_from_here(spec):
            return function(*arguments, **options)
    except (Exception, SystemExit) as error:  # a user's function raises whatever it likes
        raise UsageError(
            f"'{shown_path(spec)}' failed: {kind_and_line(error)}.",
            "Mend the function.",
            argument=argument,
            expected="a function that returns",
            found=kind_and_line(error),
        ) from error


def import_factory(argument: str, spec: str) -> Callable[..., Any]:
    """The function at ``package.module:name`` or ``path/to/file.py:name``.

    Packages are looked for in the working directory too, as ``python -m`` does, but ``sys.path`` is left as it was: a
    function that imports something from there only when it is called finds it in :func:`run_factory` alone.

    Args:
        argument: that names the function, for the errors.
        spec: the function.

    Raises:
        UsageError: the module cannot be imported or has no such function.
    """
    module_name, _, name = spec.rpartition(":")
    try:
        with _importable_from_here(spec):
            module = _import_file(Path(module_name)) if _is_file(spec) else importlib.import_module(module_name)
        function = getattr(module, name)
    except (Exception, SystemExit) as error:  # importing runs the user's module
        raise UsageError(
            f"Cannot import '{shown_path(spec)}': {kind_and_line(error)}.",
            f"Name it as {_FORMS}.",
            argument=argument,
            expected=_FORMS,
            found=spec,
        ) from error
    if not callable(function):
        kind = type(function).__name__
        raise UsageError(
            f"'{shown_path(spec)}' is a {kind}, expected a function.",
            "Name a function.",
            argument=argument,
            expected="a function",
            found=kind,
        )
    return function  # type: ignore[no-any-return]  # a user's callable has whatever type it has


def _is_file(spec: str) -> bool:
    return spec.rpartition(":")[0].endswith(".py")


@contextlib.contextmanager
def _importable_from_here(spec: str) -> Iterator[None]:
    """Meanwhile packages in the working directory can be imported, unless ``spec`` names a file."""
    here = str(Path.cwd())
    if _is_file(spec) or here in sys.path:
        yield
        return
    sys.path.insert(0, here)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the user's code may have removed it
            sys.path.remove(here)


def _import_file(path: Path) -> Any:
    specification = importlib.util.spec_from_file_location(path.stem, path)
    if specification is None or specification.loader is None or not path.is_file():
        raise ImportError(f"no such file: {path}")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
