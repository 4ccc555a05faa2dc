"""Importing and calling a function that the user names: this runs the user's own code, never a checkpoint's.

Whatever runs such code, at once or later, does so inside :func:`users_code`.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import inspect
import itertools
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from bnsharp_cli.errors import UsageError, indefinite
from bnsharp_cli.io.files.printable_text import kind_and_line, one_line, shown_path

_lock = threading.Lock()
_running: Counter[str] = Counter()
"""How often each folder that :func:`users_code` put on ``sys.path`` is in use, by any thread."""

_modules: dict[tuple[Path, int, int], Any] = {}
"""The files that were imported, by path, time and size: what network, data and loss share is one object."""

_folders: set[Path] = set()
"""The folders of the files that were imported."""
_numbers = itertools.count(1)

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
    _require_takes(argument, spec, function, arguments)
    try:
        with users_code(spec):
            return function(*arguments, **options)
    except (Exception, SystemExit) as error:  # a user's function raises whatever it likes
        raise UsageError(
            f"'{shown_path(spec)}' failed: {kind_and_line(error)}.",
            "Mend the function.",
            argument=argument,
            expected="a function that returns",
            found=kind_and_line(error),
        ) from error


def _require_takes(argument: str, spec: str, function: Callable[..., Any], arguments: Sequence[object]) -> None:
    """Refuse a function that does not take what it is called with."""
    try:
        signature = inspect.signature(function)
    except (Exception, SystemExit):  # a function in C has none, and that of a user's object may be anything
        return
    try:
        signature.bind(*arguments) if arguments else None
    except TypeError as error:
        called = ", ".join(map(repr, arguments))
        raise UsageError(
            f"'{shown_path(spec)}' is called with ({called}) and takes {one_line(signature)}.",
            "Give every other argument a default.",
            argument=argument,
            expected=f"a function that takes ({called})",
            found=one_line(signature),
        ) from error


def import_factory(argument: str, spec: str) -> Callable[..., Any]:
    """The function at ``package.module:name`` or ``path/to/file.py:name``.

    Packages are looked for in the working directory too, as ``python -m`` does, and what a file imports in its folder,
    as Python does for a program. The function may import more from there when it is called: call it through
    :func:`run_factory`, inside :func:`users_code`, or as :func:`in_users_code` gives it back.

    Args:
        argument: that names the function, for the errors.
        spec: the function.

    Raises:
        UsageError: the module cannot be imported or has no such function.
    """
    module_name, _, name = spec.rpartition(":")
    if _is_file(spec):
        _require_own_siblings(argument, Path(_folder_of(spec)))
    try:
        with users_code(spec):
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
            f"'{shown_path(spec)}' is {indefinite(kind)}, expected a function.",
            "Name a function.",
            argument=argument,
            expected="a function",
            found=kind,
        )
    return function  # type: ignore[no-any-return]  # a user's callable has whatever type it has


def _is_file(spec: str) -> bool:
    return spec.rpartition(":")[0].endswith(".py")


@contextlib.contextmanager
def users_code(spec: str) -> Iterator[None]:
    """While the code of ``spec`` runs, what lies beside it can be imported.

    That is what Python does for a program: beside a file, what is in its folder; beside a package, what is in the
    working directory. ``sys.path`` is as before once all threads have left. Such code may run inside such code.
    """
    folder = _folder_of(spec)
    if not _put_on_path(folder):
        yield
        return
    try:
        yield
    finally:
        _take_off_path(folder)


def _folder_of(spec: str) -> str:
    return str(Path(spec.rpartition(":")[0]).resolve().parent if _is_file(spec) else Path.cwd())


def _put_on_path(folder: str) -> bool:
    """Let packages in ``folder`` be imported; False where that was so before."""
    with _lock:
        if not _running[folder]:
            if folder in sys.path:
                return False
            sys.path.insert(0, folder)
        _running[folder] += 1
    return True


def _take_off_path(folder: str) -> None:
    """Undo one call of :func:`_put_on_path`."""
    with _lock:
        _running[folder] -= 1
        if not _running[folder]:
            with contextlib.suppress(ValueError):  # the user's code may have removed it
                sys.path.remove(folder)


def in_users_code(function: Callable[..., Any], spec: str) -> Callable[..., Any]:
    """``function``, which the user named by ``spec``, with every later call of it inside :func:`users_code`.

    A module stays the same object and gets two hooks.
    """
    if isinstance(function, nn.Module):
        _hook(function, spec)
        return function
    if isinstance(function, functools.partial):  # a criterion's own function tells what it takes
        return functools.partial(in_users_code(function.func, spec), *function.args, **function.keywords)

    @functools.wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        with users_code(spec):
            return function(*arguments, **options)

    return run


def _hook(module: nn.Module, spec: str) -> None:
    """Let forward passes of ``module``, and of its copies in any thread, run inside :func:`users_code`."""
    local = threading.local()

    def enter(*_: object) -> None:
        opened = contextlib.ExitStack()
        opened.enter_context(users_code(spec))
        local.opened = [*getattr(local, "opened", []), opened]

    def leave(*_: object) -> None:
        local.opened.pop().close()

    module.register_forward_pre_hook(enter, prepend=True)
    module.register_forward_hook(leave, always_call=True)


def _import_file(path: Path) -> Any:
    """The module of a file, which runs once as long as it stays the same, as any import does."""
    if not path.is_file():
        raise ImportError(f"no such file: {path}")
    status = path.stat()
    known = path.resolve(), status.st_mtime_ns, status.st_size
    if known not in _modules:
        _modules[known] = _executed(path)
    return _modules[known]


def _executed(path: Path) -> Any:
    name = f"users_file_{next(_numbers)}_{path.stem}"  # a name that no module has, which dataclasses need
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise ImportError(f"no Python file: {path}")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


def _require_own_siblings(argument: str, folder: Path) -> None:
    """Refuse a folder whose modules would be taken from that of another file of the user's.

    Raises:
        UsageError: both have a module of one name, and Python keeps the first.
    """
    others = _folders - {folder}
    _folders.add(folder)
    for name, module in list(sys.modules.items()):
        file = Path(getattr(module, "__file__", None) or "/")
        home = file.parent.parent if file.stem == "__init__" else file.parent
        if home in others and "." not in name and any((folder / one).exists() for one in (f"{name}.py", name)):
            raise UsageError(
                f"{shown_path(folder)} and {shown_path(home)} both have a module {name}, of which Python imports one.",
                "Rename one of them, or put both files into one folder.",
                argument=argument,
                expected="modules of different names",
                found=name,
            )
