"""Where results go: stdout is theirs alone, and a file if one was named."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from pathlib import Path
from typing import Any, ParamSpec, TextIO, TypeVar

import typer

from bnsharp_cli.errors import LostProcessError, UsageError, described, spelt
from bnsharp_cli.workflows import torchrun as processes

P = ParamSpec("P")
R = TypeVar("R")
Result = tuple[Mapping[str, Any], Callable[[], None]]
"""The document, and what prints it for a reader."""

_FLAGS = {"milestones": "milestone", "coefficient": "lambda", "growth": "lambda-growth"}
_LONGEST = 1000
_stdout: ContextVar[TextIO] = ContextVar("stdout")


def kept_apart(command: Callable[P, R]) -> Callable[P, R]:
    """``command`` with stdout kept for its result: what the user's own code prints on the way goes to stderr."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        token = _stdout.set(sys.stdout)
        try:
            with redirect_stdout(sys.stderr):
                return command(*args, **kwargs)
        finally:
            _stdout.reset(token)

    return run


@contextmanager
def on_stdout() -> Iterator[None]:
    """What is printed inside is the result. A reader that had enough, as in ``| head``, is no error.

    Raises:
        UsageError: stdout cannot be written to.
    """
    with redirect_stdout(_stdout.get()):
        try:
            yield
            sys.stdout.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if not isinstance(error, BrokenPipeError):
                raise UsageError(f"Cannot write to stdout: {error.strerror}.", "Check the free space.") from error


def require_writable(output: Path | None, plot: Path | None = None, folder: Path | None = None) -> None:
    """Refuse, before any work, files and a folder that could not be written after it.

    Raises:
        UsageError: what cannot be written, and why.
    """
    if plot is not None:
        from bnsharp_cli.report.plots import check_format

        check_format(plot)
    if not processes.is_first():
        return
    from bnsharp_cli.io.files import atomic_writing as atomic

    for path in (output, plot):
        if path is not None:
            atomic.require_writable(path)
    if folder is not None:
        atomic.require_writable_folder(folder)


def deliver(result: Result, as_json: bool, output: Path | None) -> None:
    """The result on stdout, as JSON or for a reader, and in a file if one was named."""
    from bnsharp_cli.report.json import render

    document, show = result
    text = render(document)
    _write(output, text)
    _print(text if as_json else None, show)


def deliver_each(
    checkpoints: Sequence[Path], measure: Callable[[Path], Result], as_json: bool, output: Path | None
) -> int:
    """Several results, one after the other; as JSON, one document a line. What fails does not lose the others.

    Returns:
        The highest exit code.
    """
    from bnsharp_cli.report.json import render_line

    lines, worst = "", 0
    for checkpoint in checkpoints:
        try:
            with processes.current().together():
                document, show = measure(checkpoint)
        except LostProcessError:
            raise
        except Exception as error:
            failure = described(error)
            fail(f"{checkpoint}: {failure.marked_reason.removeprefix(f'{checkpoint}: ')}", failure.marked_remedy)
            worst = max(worst, failure.exit_code)
            continue
        line = render_line(document)
        lines += line
        _write(output, lines)
        _print(line if as_json else None, show)
    return worst


def fail(reason: str, remedy: str) -> None:
    """One line of reason and one of remedy on stderr."""
    from bnsharp_cli.io.files.printable_text import one_line

    typer.echo(f"bnsharp: {one_line(spelt(reason, as_option), _LONGEST)}", err=True)
    typer.echo(f"         {one_line(spelt(remedy, as_option), _LONGEST)}", err=True)


def as_option(argument: str) -> str:
    """An argument of the Python interface as the command line spells it."""
    return f"--{_FLAGS.get(argument, argument).replace('_', '-')}"


def _write(output: Path | None, text: str) -> None:
    from bnsharp_cli.io.files.atomic_writing import write_text_atomically

    if output is not None and processes.is_first():
        write_text_atomically(output, text)


def _print(text: str | None, show: Callable[[], None]) -> None:
    with on_stdout():
        if text is None:
            show()
        else:
            typer.echo(text, nl=False)
