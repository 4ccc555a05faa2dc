"""How the running command spells the arguments of Python: ``batch_size`` is ``--batch-size``."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar

from bnsharp_cli.errors import spelt

_flags: ContextVar[Mapping[str, str]] = ContextVar("flags")


def speak(flags: Mapping[str, str]) -> None:
    """Spell arguments by these flags from here on, in this context: the flags of the command that runs."""
    _flags.set(flags)


def as_option(argument: str) -> str:
    """An argument as the command line spells it: by the running command's own flag, where it has one.

    >>> as_option("batch_size")
    '--batch-size'
    """
    return _flags.get({}).get(argument) or f"--{argument.replace('_', '-')}"


def for_the_command(sentence: str) -> str:
    """A sentence in which arguments are marked, as the command prints it."""
    return spelt(sentence, as_option)
