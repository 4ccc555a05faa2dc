"""Options that several commands share, declared once."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from bnsharp_cli.errors import UsageError

_FORMS = "lenet-bn, vgg11-bn, torchvision:NAME, timm:NAME, package.module:factory or file.py:factory"
_DATA = "digits, cifar10, cifar100, folder:DIR, npz:FILE or package.module:factory"

TrainedArch = Annotated[str, typer.Option(help=f"Network: {_FORMS}.")]
ArchOption = Annotated[
    list[str] | None, typer.Option(metavar="KEY=VALUE", help="Keyword of the network's constructor; repeatable.")
]
Data = Annotated[str, typer.Option(help=f"Data: {_DATA}.")]
DataRoot = Annotated[Path | None, typer.Option(help="Folder of torchvision's data sets.")]
Download = Annotated[bool, typer.Option("--download", help="Let torchvision download missing data.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No notices and no progress.")]


def parse_options(pairs: Sequence[str] | None) -> dict[str, object]:
    """``KEY=VALUE`` pairs as a dictionary; values are Python literals, or else strings.

    Raises:
        UsageError: a pair without an equals sign.
    """
    options: dict[str, object] = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--arch-option: expected KEY=VALUE, found '{pair}'.", "For example classes=100.")
        try:
            options[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[key] = value
    return options
