"""man/bnsharp.1: the manual page, from what the commands declare, in the macros of man(7)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer

from bnsharp_cli import __version__
from bnsharp_cli.cli.main import app
from tests.documents import ROOT

MANUAL = ROOT / "man" / "bnsharp.1"
TABLES = ROOT / "docs" / "cli.md"
HEAD = f"""\
.\\" Written by python -m tests.generated from the commands; do not edit.
.TH BNSHARP 1 "" "bnsharp {__version__}" "User commands"
.SH NAME
bnsharp \\- how sharp is the minimum a trained network sits in
"""
_SPECIAL = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti", "…": "\\&..."}


def manual() -> str:
    """The whole page."""
    group: Any = typer.main.get_command(app)
    context = group.context_class(group, info_name="bnsharp", **group.context_settings)
    lines = [
        ".SH SYNOPSIS",
        ".B bnsharp",
        "[\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]",
        ".SH DESCRIPTION",
        written(group.help),
        ".SH OPTIONS",
        *_records(group, context),
        ".SH COMMANDS",
    ]
    for name in group.list_commands(context):
        lines += _command(group.get_command(context, name), name, context)
    lines += [".SH EXIT STATUS", *_table("code"), ".SH ENVIRONMENT", *_table("variable")]
    return HEAD + "\n".join(lines) + "\n"


def written(text: str) -> str:
    r"""A text as troff reads it: no character is a command.

    >>> written("'--key' is a path")
    '\\(aq\\-\\-key\\(aq is a path'
    """
    safe = "".join(_SPECIAL.get(character, character) for character in " ".join(text.split()))
    return f"\\&{safe}" if safe.startswith(".") else safe


def _command(command: Any, name: str, parent: Any) -> Iterator[str]:
    context = command.context_class(command, info_name=name, parent=parent)
    yield f".SS {written(f'bnsharp {name}')}"
    yield f".B {written(f'bnsharp {name}')}"
    yield written(" ".join(command.collect_usage_pieces(context)))
    for paragraph in command.help.split("\n\n"):
        yield f".PP\n{written(paragraph)}"
    yield from _records(command, context)
    yield f".PP\n{written(command.epilog)}"


def _records(command: Any, context: Any) -> Iterator[str]:
    for parameter in command.get_params(context):
        names, meaning = parameter.get_help_record(context)
        yield f".TP\n.B {written(names)}\n{written(meaning)}"


def _table(head: str) -> Iterator[str]:
    """The rows of the table of docs/cli.md whose first column is called so."""
    (rows,) = re.findall(rf"^\| {head} \| meaning \|\n\|[-: |]+\|\n((?:\|.*\n)+)", TABLES.read_text(), re.MULTILINE)
    for row in rows.splitlines():
        name, meaning = (
            re.sub(r"\[([^\]]*)\]\([^)]*\)|`([^`]*)`", r"\1\2", cell.strip()) for cell in row.strip("| ").split(" | ")
        )
        yield f".TP\n.B {written(name)}\n{written(meaning)}"
