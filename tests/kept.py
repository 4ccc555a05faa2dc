"""What a process makes once for all tests: the parser of the command and scikit-learn's digits.

A user's process runs the command once, so what is shared here is what it would make anew, the same every time.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import sklearn.datasets
import typer.main


def keep_parser() -> None:
    """Let the runs that follow share one parser; typer makes one for each run, from all options of all commands."""
    typer.main.get_command = cache(typer.main.get_command)


def make_parser() -> None:
    """Make it before anything is forked."""
    from bnsharp_cli.cli.main import app

    keep_parser()
    typer.main.get_command(app)


def keep_digits() -> None:
    """Parse the file of digits once; everyone gets arrays of their own."""
    parsed = cache(sklearn.datasets.load_digits)

    def load_digits(**how: Any) -> Any:
        return copy.deepcopy(parsed(**how))

    sklearn.datasets.load_digits = load_digits
