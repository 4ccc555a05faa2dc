"""Results go to stdout, which is theirs alone, and to a file if one was named."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TextIO, TypeVar

from bnsharp_cli.cli.spelling import as_option, for_the_command
from bnsharp_cli.cli.streams import say
from bnsharp_cli.errors import BnsharpError, LostProcessError, described, shown
from bnsharp_cli.io.files.encodable_text import encodable
from bnsharp_cli.io.files.importing import importing_libraries
from bnsharp_cli.workflows import torchrun
from bnsharp_cli.workflows.options import Output
from bnsharp_cli.workflows.output_files import OutputFile, require_outputs

P = ParamSpec("P")
R = TypeVar("R")

_LONGEST = 1000
_JSON = "json"
_SCHEMA, _HEAD = b'"schema": "bnsharp/', 64
"""What a document begins with."""
_stdout: ContextVar[TextIO] = ContextVar("stdout")


@dataclass
class _Asked:
    """What the running command owes to whoever called it.

    Attributes:
        json: whether a document is to be printed, and none has been yet.
        checkpoint: the one that was named; None where there is none, or several.
        output: the file that is to hold the document, once it was found fit, until something was written to it.
        results: the folder in which it keeps each result; None for none.
    """

    json: bool
    checkpoint: Path | None = None
    output: Path | None = None
    results: Path | None = None


_asked: ContextVar[_Asked] = ContextVar("asked")


class CommandResult(NamedTuple):
    """What a command found.

    Attributes:
        document: for programs.
        show: prints it for a reader.
    """

    document: Mapping[str, Any]
    show: Callable[[], None]


def kept_apart(command: Callable[P, R]) -> Callable[P, R]:
    """``command`` with stdout kept for its result: what the user's own code prints on the way goes to stderr."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        named = kwargs.get("checkpoint")
        every = named if isinstance(named, list) else [named]
        one = every[0] if len(every) == 1 and isinstance(every[0], Path) else None
        folder = kwargs.get("results")
        as_json = bool(kwargs.get("json")) or kwargs.get("format") == _JSON
        _asked.set(_Asked(as_json, one, results=folder if isinstance(folder, Path) else None))
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
        BnsharpError: stdout cannot be written to, as on a disk that is full.
    """
    with redirect_stdout(_stdout.get(sys.stdout)):
        try:
            yield
            sys.stdout.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if not isinstance(error, BrokenPipeError):
                raise BnsharpError(
                    f"Cannot write to stdout: {error.strerror}.",
                    "Check the free space.",
                    expected="a stream that can be written to",
                    found=error.strerror,
                ) from error


def require_writable(
    output: Path | None,
    plot: Path | None = None,
    inputs: Sequence[Path] = (),
    further: Callable[[], Sequence[OutputFile]] = list,
) -> list[OutputFile]:
    """Refuse, before any work, files that could not be written after it.

    Args:
        output: the file that the argument of this name names, if it does.
        plot: the file that the argument of this name names, if it does.
        inputs: what the command reads.
        further: says what else is written; called by the process that writes.

    Returns:
        All these files.

    Raises:
        UsageError: what cannot be written, and why; or a file that is read, or that two arguments name.
    """
    if plot is not None:
        with importing_libraries():
            from bnsharp_cli.report.plots import require_format

        require_format(plot)
    of_both = [(argument, path) for argument, path in (("output", output), ("plot", plot)) if path is not None]
    if not torchrun.is_first():
        return of_both
    outputs = [*of_both, *further()]
    require_outputs(outputs, inputs)
    _asked.get(_Asked(False)).output = output
    return outputs


def deliver(finding: CommandResult, output: Output) -> None:
    """The result on stdout, as JSON or for a reader, and in a file if one was named."""
    with importing_libraries():
        from bnsharp_cli.report.json_document import render

    text = render(finding.document) if output.json or output.output is not None else ""
    _write(output.output, text)
    _print(text if output.json else None, finding.show)


def deliver_each(
    checkpoints: Sequence[Path],
    measure: Callable[[Path], CommandResult],
    output: Output,
    explain: Callable[[], None],
) -> int:
    """Several results, one after the other; as JSON, one document a line.

    What fails does not lose the others, and has a document that says why.

    Args:
        checkpoints: what is measured.
        measure: finds the result of one.
        output: what is printed and written.
        explain: prints what a reader must know of all results.

    Returns:
        The highest exit code.
    """
    with importing_libraries():
        from bnsharp_cli.report.json_document import failure_document, render_line

    lines, worst = "", 0
    _asked.get(_Asked(False)).output = None  # a failure of one is told in its own line
    for checkpoint in checkpoints:
        try:
            with torchrun.current().together():
                finding = measure(checkpoint)
        except LostProcessError:
            raise
        except Exception as error:
            failure = described(error)
            fail(failure, checkpoint)
            worst = max(worst, failure.exit_code)
            finding = CommandResult(failure_document(checkpoint, failure, as_option), lambda: None)
        line = render_line(finding.document)
        lines += line
        _write(output.output, lines)
        _print(line if output.json else None, finding.show)
    _print("" if output.json else None, explain)
    return worst


def fail(failure: BnsharpError, checkpoint: Path | None = None) -> None:
    """One line of reason and one of remedy on stderr.

    Args:
        failure: what is said.
        checkpoint: of several, the one that failed, which then stands in front.
    """
    about = dict.fromkeys(path for path in (checkpoint, failure.path) if path not in (None, failure.subject))
    reason = "".join(f"{shown(path)}: " for path in about) + failure.marked_reason
    say_failure(reason, failure.marked_remedy)


def say_failure(reason: str, remedy: str) -> None:
    """Two sentences on stderr, a line each."""
    from bnsharp_cli.io.files.printable_text import one_line

    say(f"bnsharp: {one_line(for_the_command(reason), _LONGEST)}")
    say(f"         {one_line(for_the_command(remedy), _LONGEST)}")


def say_interrupted() -> None:
    """Say on stderr that the user ended the command, and what is left of it."""
    from bnsharp_cli.io.files.printable_text import shown_path

    folder = _asked.get(_Asked(False)).results
    kept = "" if folder is None else f" The same command goes on with the results in {shown_path(folder)}."
    say_failure("Interrupted.", f"Nothing was half-written.{kept}")


def deliver_failure(failure: BnsharpError) -> None:
    """The document of a failure of the whole command, where one was asked for: on stdout, and in the file."""
    asked = _asked.get(_Asked(_asks_for_json(sys.argv[1:])))  # a line that cannot be parsed asks by its word alone
    if not asked.json and asked.output is None:
        return
    with importing_libraries():
        from bnsharp_cli.report.json_document import failure_document, render

    text = render(failure_document(asked.checkpoint, failure, as_option))
    if asked.output is not None and _is_new_or_document(asked.output):
        with suppress(BnsharpError):  # the failure itself is what counts
            _write(asked.output, text)
    if asked.json and sys.stdout is not None:
        with suppress(BnsharpError), on_stdout():
            print_document(text)


def _asks_for_json(words: Sequence[str]) -> bool:
    return "--json" in words or f"--format={_JSON}" in words or ("--format", _JSON) in pairwise(words)


def _is_new_or_document(path: Path) -> bool:
    """Whether nothing is lost where a failure is written to ``path``.

    A command that failed may not yet have known all that it would have read, such as data that a checkpoint records.
    """
    from bnsharp_cli.io.files.regular_files import open_regular

    try:
        with open_regular(path) as file:
            return _SCHEMA in file.read(0, _HEAD)
    except FileNotFoundError:
        return True
    except OSError:
        return False


def print_document(text: str) -> None:
    """A document on stdout, the same to whoever reads it as JSON, whatever the stream can encode."""
    _asked.get(_Asked(True)).json = False
    with importing_libraries():
        from bnsharp_cli.report.json_document import for_encoding

    sys.stdout.write(for_encoding(text, sys.stdout.encoding))


def print_text(text: str) -> None:
    """Lines of our own on stdout, without what a terminal's tables need."""
    sys.stdout.write(encodable(f"{text}\n", sys.stdout.encoding))


def write_text(output: Path, text: str) -> None:
    """Write a file, whole or not at all, in the process that writes."""
    _write(output, text)


def _write(output: Path | None, text: str) -> None:
    from bnsharp_cli.io.files.atomic_writing import write_text_atomically

    if output is not None and torchrun.is_first():
        write_text_atomically(output, text)
        _asked.get(_Asked(False)).output = None


def _print(text: str | None, show: Callable[[], None]) -> None:
    with on_stdout():
        if text is None:
            show()
        else:
            print_document(text)
