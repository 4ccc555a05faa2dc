"""The ``bnsharp`` command: its subcommands, and the exit code of every failure."""

from __future__ import annotations

import io
import os
import sys
from contextlib import redirect_stderr
from contextvars import copy_context
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from bnsharp_cli import __version__
from bnsharp_cli.cli import (
    audit,
    bound,
    check,
    compare,
    figure,
    inspect,
    measure,
    measures,
    report,
    reproduce,
    rescale_test,
    results,
    train,
)
from bnsharp_cli.cli.bash_words import whole_words
from bnsharp_cli.cli.configured import ConfiguredCommand, configured
from bnsharp_cli.cli.signature import Command
from bnsharp_cli.cli.streams import encode_all, forgiving_stderr, say
from bnsharp_cli.errors import LostProcessError, UsageError, described, shown
from bnsharp_cli.io.files.importing import stay_away_from_the_working_directory
from bnsharp_cli.workflows import torchrun

COMMANDS: dict[Command, str] = {
    measure.measure: measure.EXAMPLE,
    compare.compare: compare.EXAMPLE,
    figure.figure: figure.EXAMPLE,
    rescale_test.rescale_test: rescale_test.EXAMPLE,
    check.check: check.EXAMPLE,
    report.report: report.EXAMPLE,
    audit.audit: audit.EXAMPLE,
    inspect.inspect: inspect.EXAMPLE,
    measures.measures: measures.EXAMPLE,
    bound.bound: bound.EXAMPLE,
    train.train: train.EXAMPLE,
    reproduce.reproduce: reproduce.EXAMPLE,
}
"""Every command, in the order of the help, with the last line of its own help."""


class _Group(TyperGroup):
    """The commands. Its own flags are False where typer leaves them None.

    typer converts a None by pydantic, whose import takes longer than everything else in ``bnsharp measure --help``.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters as typer does, in the order of the help."""
        parameters = super().get_params(ctx)
        for one in parameters:
            if getattr(one, "is_flag", False) and one.default is None:
                one.default = False
        return parameters


app = typer.Typer(
    cls=_Group,
    name="bnsharp",
    help="How sharp is the minimum a trained network sits in? A measure that rescaling cannot change.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for _command, _example in COMMANDS.items():
    _summary = (_command.__doc__ or "").partition("\n")[0]  # typer would cut a summary that it makes itself
    _name = _command.__name__.replace("_", "-")
    app.command(_name, cls=ConfiguredCommand, epilog=_example, short_help=_summary)(
        results.kept_apart(configured(_command, _name))
    )

_INTERRUPTED = 130

_WAIT_POLICY = "passive"
"""Threads that spin at every barrier starve each other as soon as another process uses a core: with one busy neighbour
on two cores the embedded sample took more than thirty times as long."""


def _version(value: bool) -> None:
    if value:
        typer.echo(f"bnsharp {__version__}")
        raise typer.Exit


@app.callback()
def options(
    _version_asked: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
    _debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a failure.")] = False,
) -> None:
    """How sharp is the minimum a trained network sits in? A measure that rescaling cannot change."""


def main() -> None:
    """Run the command; every failure is one line of reason, one of remedy, and an exit code."""
    from bnsharp_cli.workflows.allocator import keep_freed_memory

    os.environ.setdefault("OMP_WAIT_POLICY", _WAIT_POLICY)
    keep_freed_memory()
    if sys.stderr is sys.__stderr__:
        sys.stderr = forgiving_stderr()
    encode_all()
    with torchrun.first_one_speaks():
        code = copy_context().run(_run, debug="--debug" in sys.argv[1:])
        torchrun.wait_for_the_first()
    sys.exit(code)


def _run(debug: bool) -> int:
    stay_away_from_the_working_directory()
    try:
        if sys.stdout is None:
            raise UsageError("stdout is closed, so the result has nowhere to go.", "Redirect it to a file.")
        with torchrun.together():
            return _exit_code()
    except KeyboardInterrupt:
        results.say_interrupted()
        sys.exit(_INTERRUPTED)
    except LostProcessError as error:
        results.deliver_failure(error)
        with redirect_stderr(forgiving_stderr()):
            results.fail(error)
            sys.stderr.flush()
        os._exit(error.exit_code)  # a regular exit may wait for the process that is gone
    except Exception as error:
        if debug:
            raise
        failure = described(error)
        results.deliver_failure(failure)
        results.fail(failure)
        return failure.exit_code


def _exit_code() -> int:
    """Run the command that the arguments name, as typer does."""
    try:
        with whole_words():
            code = app(prog_name="bnsharp", standalone_mode=False)
    except typer.TyperException as refusal:
        _show(refusal)
        results.deliver_failure(_of_the_parser(refusal))
        return refusal.exit_code
    except SystemExit as leaving:
        code = leaving.code
    if code == _INTERRUPTED:
        raise KeyboardInterrupt
    return code if isinstance(code, int) else int(code is not None)


def _of_the_parser(refusal: typer.TyperException) -> UsageError:
    """A refusal of typer's parser as an error of ours."""
    context = getattr(refusal, "ctx", None)
    command = "bnsharp" if context is None else context.command_path
    parameter = getattr(getattr(refusal, "param", None), "name", None)
    return UsageError(refusal.format_message(), f"Try '{command} --help'.", argument=parameter, found=None)


def _show(refusal: typer.TyperException) -> None:
    """Print the lines of a refusal of typer's parser, without what an argument's own characters do to a terminal."""
    lines = io.StringIO()
    refusal.show(file=lines)  # type: ignore[attr-defined]  # every refusal of the parser has it
    for line in lines.getvalue().removesuffix("\n").split("\n"):
        say(shown(line))
