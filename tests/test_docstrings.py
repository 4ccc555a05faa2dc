"""The examples in docstrings run and print what they say, and the first line of a docstring is a phrase to read."""

from __future__ import annotations

import ast
import doctest
import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

import bnsharp_cli
from tests.everywhere import everywhere, tree_of
from tests.test_architecture import ROOT, SOURCES, module_of

STUB = re.compile(r"(Of|That|Those|Which|Where|As)\b")
"""How a phrase begins that only parses beside the name of what it describes."""

SEEN_ELSEWHERE = "See :"
"""A method that another class documents."""

FEWEST_WORDS = 3
NEEDED = {"lightning": "lightning", "huggingface": "transformers"}
"""Libraries without which a module cannot be imported."""

EXAMPLES = [path for path in SOURCES if ">>> " in path.read_text()]
EXPORTED = [name for name in bnsharp_cli.__all__ if not name.startswith("_") and not name.endswith("Error")]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: module_of(path))
def test_examples_run(path: Path) -> None:
    if path.stem in NEEDED:
        pytest.importorskip(NEEDED[path.stem])
    name = "bnsharp_cli" if path.parent == ROOT and path.stem == "__init__" else f"bnsharp_cli.{module_of(path)}"
    failed, tried = doctest.testmod(import_module(name), raise_on_error=False)
    assert tried
    assert not failed


@pytest.mark.parametrize("name", EXPORTED)
def test_everything_that_a_program_imports_has_an_example(name: str) -> None:
    documented = doctest.DocTestParser().get_examples(inspect.getdoc(getattr(bnsharp_cli, name)) or "")
    assert documented


@everywhere(SOURCES)
def test_docstrings_begin_with_a_phrase_that_stands_by_itself(path: Path) -> None:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for node in ast.walk(tree_of(path)):
        text = ast.get_docstring(node) if isinstance(node, documented) else None
        first = text.splitlines()[0] if text else ""
        if first and not first.startswith(SEEN_ELSEWHERE):
            assert not STUB.match(first), first
            assert len(first.split()) >= FEWEST_WORDS, first
