"""What a file of Python defines, found without running it."""

from __future__ import annotations

import ast
from pathlib import Path

from bnsharp_cli.io.files.regular_files import read_beside

_LARGEST = 10**6


def functions_in(path: str) -> list[str]:
    """The public functions and classes that a file of Python defines; none for any other file."""
    if not path.endswith(".py"):
        return []
    try:
        tree = ast.parse(read_beside(Path(path), _LARGEST))
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return []
    return [one.name for one in tree.body if isinstance(one, ast.FunctionDef | ast.ClassDef) and one.name[0] != "_"]
