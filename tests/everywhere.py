"""One rule for many files: as one test, since a test for each file would cost more than what it looks at."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

Rule = Callable[[Path], None]


def everywhere(paths: list[Path]) -> Callable[[Rule], Callable[[], None]]:
    """A rule for one file as one test of all ``paths``, which fails with each file that breaks the rule."""

    def decorate(rule: Rule) -> Callable[[], None]:
        def test() -> None:
            assert paths, "there is nothing to check"
            broken = [f"{path.relative_to(ROOT)}: {what}" for path in paths if (what := _broken(rule, path))]
            if broken:
                pytest.fail("\n".join(broken), pytrace=False)

        test.__name__, test.__doc__ = rule.__name__, rule.__doc__
        return test

    return decorate


def _broken(rule: Rule, path: Path) -> str:
    try:
        rule(path)
    except AssertionError as error:
        return str(error).partition("\n")[0] or "no"
    return ""


@cache
def tree_of(path: Path) -> ast.Module:
    """What a file of Python says, parsed once for all rules."""
    return ast.parse(path.read_text())
