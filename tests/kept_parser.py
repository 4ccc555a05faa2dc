"""The parser of the command, made once in each process; typer makes it anew for each run, from every option."""

from __future__ import annotations

from functools import cache

import typer.main


def keep_parser() -> None:
    """Let the runs that follow in this process share one parser.

    A process runs the command once for a user, so what is shared here is what typer itself makes of the same command.
    """
    typer.main.get_command = cache(typer.main.get_command)


def make_parser() -> None:
    """Make it before anything is forked."""
    from bnsharp_cli.cli.main import app

    keep_parser()
    typer.main.get_command(app)
