"""The ``bnsharp`` command: its subcommands, and the exit code of every failure."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from bnsharp_cli import __version__
from bnsharp_cli.cli import check, measure, rescale_test, train
from bnsharp_cli.errors import BnsharpError

app = typer.Typer(
    name="bnsharp",
    help="How sharp is the minimum a trained network sits in? A measure that rescaling cannot change.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command("measure", epilog=measure.EXAMPLE)(measure.measure)
app.command("rescale-test", epilog=rescale_test.EXAMPLE)(rescale_test.rescale_test)
app.command("check", epilog=check.EXAMPLE)(check.check)
app.command("train", epilog=train.EXAMPLE)(train.train)

_INTERNAL, _INTERRUPTED = 4, 130
_LONGEST_REASON = 1000

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
    from bnsharp_cli.core.allocator import keep_freed_memory

    os.environ.setdefault("OMP_WAIT_POLICY", _WAIT_POLICY)
    keep_freed_memory()
    debug = "--debug" in sys.argv[1:]
    try:
        app(prog_name="bnsharp")
    except BnsharpError as error:
        if debug:
            raise
        _fail(error.reason, error.remedy, error.exit_code)
    except KeyboardInterrupt:
        _fail("Interrupted.", "Nothing was half-written.", _INTERRUPTED)
    except SystemExit as leaving:
        if leaving.code == _INTERRUPTED:
            _fail("Interrupted.", "Nothing was half-written.", _INTERRUPTED)
        raise
    except MemoryError:
        _fail("Out of memory.", "Lower --batch-size or --samples.", _INTERNAL)
    except Exception as error:
        if debug:
            raise
        first = (str(error).splitlines() or [""])[0]
        _fail(
            f"Internal error: {type(error).__name__}: {first}",
            "Run again with --debug and report it.",
            _INTERNAL,
        )


def _fail(reason: str, remedy: str, code: int) -> None:
    from bnsharp_cli.io.text import one_line

    typer.echo(f"bnsharp: {one_line(reason, _LONGEST_REASON)}", err=True)
    typer.echo(f"         {one_line(remedy, _LONGEST_REASON)}", err=True)
    sys.exit(code)
